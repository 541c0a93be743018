"""Names of what replay keeps for networks that remember; docs/design/0002-sequences.md has their meaning."""

from __future__ import annotations

NO_ACTION = -1
"""The previous action at an episode's first row.

An all-zero one-hot, which also says that an episode starts.
"""

PREVIOUS_ACTION = "previous_action"
"""Column, int32: the action of the row before, `NO_ACTION` at an episode's first row."""

PREVIOUS_REWARD = "previous_reward"
"""Column, float32: the raw reward of the row before, 0 at an episode's first row."""

PREVIOUS_COLUMNS = {PREVIOUS_ACTION: ("int32", ()), PREVIOUS_REWARD: ("float32", ())}
"""Name -> dtype and shape of a row."""

STORED_STATE = "stored_state"
"""Sparse column, float32 ``[2, H]``: the state (h, c) that the actor had before a row."""
