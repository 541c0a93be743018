"""Compare runs with each other and with published results: `compare(...)` returns one document of plain data.

It reads files only; nothing here needs Ray or torch. `rlx/compare/comparison.py` puts the parts together.
"""
