"""The algorithms of rlx and the registry that names them. Nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

#: name in an experiment -> (module, config class).
REGISTRY: dict[str, tuple[str, str]] = {
    "dqn": ("rlx.algorithms.dqn", "DQNConfig"),
    "rainbow": ("rlx.algorithms.rainbow", "RainbowConfig"),
    "r2d2": ("rlx.algorithms.r2d2", "R2D2Config"),
    "apex_dqn": ("rlx.algorithms.apex_dqn", "ApexDQNConfig"),
}


def config_class(name: str) -> type[Any]:
    """Return the AlgorithmConfig class of an algorithm.

    Raises:
        KeyError: if there is none of that name.
    """
    module, attribute = REGISTRY[name]
    return getattr(importlib.import_module(module), attribute)
