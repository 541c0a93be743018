"""Rainbow: DQN with six additions, each a switch of `training` or `replay`.

double, dueling, distributional, noisy, n_step > 1 in `training`; prioritized in `replay`.

Source: [Rainbow] section 3; the values stand in the preset `rainbow`.
"""

from __future__ import annotations

from typing import Any

from rlx.algorithms.dqn import DQN, DQNConfig


class RainbowConfig(DQNConfig):
    """Config of `Rainbow`."""

    preset = "rainbow"

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or Rainbow)


class Rainbow(DQN):
    """DQN with all six parts of Rainbow."""

    @classmethod
    def get_default_config(cls) -> RainbowConfig:
        """Return the preset's config (RLlib hook)."""
        return RainbowConfig()
