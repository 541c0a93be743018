"""Videos of episodes: the strip of figures beside a picture, and files in WebP and MP4.

Pictures are uint8 arrays `[H, W, 3]`. No environment and no policy is known here. Importing this package
imports nothing else.
"""
