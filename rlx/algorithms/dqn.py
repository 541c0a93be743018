"""DQN: the engine with a local runner, one local shard and a fixed replay ratio.

Source: [DQN2015] algorithm 1; the values stand in the preset `dqn`.
"""

from __future__ import annotations

from typing import Any

from rlx.algorithms.config import ReplayConfig
from rlx.algorithms.engine import ReplayAlgorithm


class DQNConfig(ReplayConfig):
    """Config of `DQN`."""

    preset = "dqn"

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or DQN)


class DQN(ReplayAlgorithm):
    """Deep Q-learning from replay."""

    @classmethod
    def get_default_config(cls) -> DQNConfig:
        """Return the preset's config (RLlib hook)."""
        return DQNConfig()
