"""Replay: rings of rows, items, the sum tree, windows, snapshots, the rate limiter."""
