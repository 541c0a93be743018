"""Torch's deterministic algorithms: on where an experiment asks for them, off otherwise."""

from __future__ import annotations

import torch


def settle_determinism(deterministic: bool) -> None:
    """Switch torch's deterministic algorithms on or off in this process, after RLlib has seeded it.

    RLlib switches them on in every process that it seeds on a machine without CUDA. Then torch also fills all
    memory that it allocates, which cost 5% of the time of a learner's update (Pong, batch 128, one core) and
    helps nobody here: nothing reads memory that was not written.
    """
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
