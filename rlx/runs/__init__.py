"""Runs: the directory, its metrics and checkpoints, and the loop that fills it.

Nothing here imports Ray or torch at import time. The engine comes in as an object with the interface of
`rlx.runs.engine.Engine`.
"""
