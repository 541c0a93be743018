"""Seeds and torch's deterministic algorithms: on where an experiment asks for them, off otherwise."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from ray.rllib.env import env_runner
from ray.rllib.utils.debug.deterministic import update_global_seed_if_necessary


def settle_determinism(deterministic: bool) -> None:
    """Switch torch's deterministic algorithms on or off in this process, after RLlib has seeded it.

    RLlib switches them on in every process that it seeds on a machine without CUDA. Then torch also fills all
    memory that it allocates, which cost 5% of the time of a learner's update (Pong, batch 128, one core) and
    helps nobody here: nothing reads memory that was not written.
    """
    if deterministic or torch.are_deterministic_algorithms_enabled():  # the switch imports torch's compiler
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextlib.contextmanager
def small_seeding() -> Iterator[None]:
    """Have RLlib seed a runner as it does, but without the deterministic algorithms: see above.

    Without CUDA it switches them on, and torch then imports its compiler: 800 modules, 67 MB and a second
    in every runner process, for a switch that `settle_determinism` sets anyway. RLlib has no hook for it, so
    the name of its function is bound anew meanwhile.
    """
    before = env_runner.update_global_seed_if_necessary
    env_runner.update_global_seed_if_necessary = seed_process
    try:
        yield
    finally:
        env_runner.update_global_seed_if_necessary = before


def seed_process(framework: str | None = None, seed: int | None = None) -> None:
    """Seed the global generators of this process, if there is a seed, as RLlib does."""
    if seed is None:
        return
    if torch.version.cuda is not None:
        update_global_seed_if_necessary(framework, seed)
        return
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
