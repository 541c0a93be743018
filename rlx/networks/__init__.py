"""Torsos, heads, and the module that RLlib holds."""
