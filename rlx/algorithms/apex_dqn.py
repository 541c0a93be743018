"""Ape-X DQN: many runners with a ladder of epsilons, shared prioritised replay, a free-running learner.

What it adds to DQN is in its preset: runners and shards in processes of their own, `exploration.kind:
ladder`, priorities computed on arrival (`replay.initial_priority: td_error`), large batches.

Source: [ApeX] section 3, algorithms 1 and 2; the values stand in the preset `apex_dqn`.
"""

from __future__ import annotations

from typing import Any

from rlx.algorithms.dqn import DQN, DQNConfig


class ApexDQNConfig(DQNConfig):
    """Config of `ApexDQN`."""

    preset = "apex_dqn"

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or ApexDQN)


class ApexDQN(DQN):
    """Distributed prioritised experience replay with double dueling Q-learning."""

    @classmethod
    def get_default_config(cls) -> ApexDQNConfig:
        """Return the preset's config (RLlib hook)."""
        return ApexDQNConfig()
