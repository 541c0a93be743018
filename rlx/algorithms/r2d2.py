"""R2D2: Ape-X with a recurrent network, learned from sequences with stored state and burn-in.

What it adds to Ape-X is the plugin `burn_in` (`rlx/plugins/burn_in.py`), which its preset switches on, and
the preset's values. `plugins: {burn_in: {...}}` adds the same to `dqn` or `apex_dqn`.

Source: [R2D2] sections 2.3 and 3; the values stand in the preset `r2d2`.
"""

from __future__ import annotations

from typing import Any

from rlx.algorithms.apex_dqn import ApexDQN, ApexDQNConfig


class R2D2Config(ApexDQNConfig):
    """Config of `R2D2`."""

    preset = "r2d2"

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or R2D2)


class R2D2(ApexDQN):
    """Recurrent experience replay in distributed reinforcement learning."""

    @classmethod
    def get_default_config(cls) -> R2D2Config:
        """Return the preset's config (RLlib hook)."""
        return R2D2Config()
