"""Experiments: a YAML file, a preset and command-line options become one complete, checked spec.

Nothing here imports Ray, torch or gymnasium, `build.py` apart.
"""
