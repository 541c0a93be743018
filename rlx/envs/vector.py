"""The one interface through which a runner sees N environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rlx.envs.ids import LATENCY_ID, MEMORY_IDS
from rlx.envs.spec import EnvSpec


class EnvStep(NamedTuple):
    """What one step of N lanes returned. The arrays are new at every step: the caller may keep them."""

    frames: NDArray[Any]
    """`[N, *frame_shape]`; with `over`, the final observation of the episode."""
    rewards: NDArray[np.float32]
    """`[N]`, raw."""
    terminated: NDArray[np.bool_]
    """`[N]`, no bootstrap past this step: game over, or a lost life where the protocol says so."""
    truncated: NDArray[np.bool_]
    """`[N]`, cut by a time limit; False where the game ended by itself at the same step."""
    over: NDArray[np.bool_]
    """`[N]`, the episode has ended; the lane's next step ignores its action and returns the first frame."""


@runtime_checkable
class VectorEnv(Protocol):
    """N environments (lanes) that reset by themselves on the step after `over`.

    Lane i of `seed` draws the same random numbers as lane 0 of `seed + i`. Equal seeds and actions give
    equal results.
    """

    num_envs: int
    num_actions: int
    frames_per_step: int
    frame_shape: tuple[int, ...]
    frame_dtype: np.dtype[Any]
    frame_stack: int

    def reset(self, seed: int | None = None) -> NDArray[Any]:
        """Start every lane anew and return the first frames `[N, *frame_shape]`.

        Args:
            seed: Seed of lane 0; None: the constructor's seed at the first call, later the running random
                streams.
        """
        ...

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Advance every lane by one agent step.

        Args:
            actions: `[N]`, each in `0 .. num_actions - 1`; ignored for lanes that were `over`.
        """
        ...

    def get_state(self) -> bytes | None:
        """Return everything that `step` depends on, or None when the environment cannot give it (Atari)."""
        ...

    def set_state(self, state: bytes) -> None:
        """Continue from `get_state()` exactly. Loads a pickle: only from files that are trusted."""
        ...

    def close(self) -> None:
        """Release what the environments hold."""
        ...


@dataclass(frozen=True)
class EnvInfo:
    """What must be known of an environment before one is made."""

    frame_shape: tuple[int, ...]
    frame_dtype: np.dtype[Any]
    frame_stack: int
    num_actions: int
    frames_per_step: int
    lane_bytes: int
    """Resident memory of one lane, measured or estimated; 0 when unknown."""

    @property
    def frame_bytes(self) -> int:
        """Bytes of one stored frame."""
        return int(np.prod(self.frame_shape, dtype=np.int64)) * self.frame_dtype.itemsize

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of what the policy sees: `(S, *frame_shape)`."""
        return (self.frame_stack, *self.frame_shape)


def make_vector_env(spec: EnvSpec, num_envs: int, seed: int, num_threads: int = 1) -> VectorEnv:
    """Make N lanes of an environment.

    Args:
        spec: From `resolve_env`.
        num_envs: N, at least 1.
        seed: Lane i is seeded with `seed + i`. At least 0.
        num_threads: Emulator threads, Atari only; results do not depend on it.

    Raises:
        EnvError: The environment cannot be made, or its spaces are not supported.
    """
    if num_envs < 1 or seed < 0 or num_threads < 1:
        raise ValueError(
            f"num_envs and num_threads must be >= 1, seed >= 0: got {num_envs}, {num_threads}, {seed}"
        )
    if spec.family == "atari":
        from rlx.envs.atari import AtariLanes

        return AtariLanes(spec, num_envs, seed, num_threads)
    if spec.family == "minatar":
        from rlx.envs.minatar import MinAtarLanes

        return MinAtarLanes(spec, num_envs, seed)
    if spec.id in MEMORY_IDS:
        from rlx.envs.batched import BatchedLanes

        return BatchedLanes(spec, num_envs, seed)
    if spec.id == LATENCY_ID:
        from rlx.envs.paced import PacedLanes

        return PacedLanes(spec, num_envs, seed)
    from rlx.envs.gym_vector import GymLanes

    return GymLanes(spec, num_envs, seed)


def describe_env(spec: EnvSpec) -> EnvInfo:
    """Tell shapes and action count without making a vector environment.

    Cheap: on Atari it loads the ROM once per process (0.1 s).

    Raises:
        EnvError: As `make_vector_env`.
    """
    if spec.family == "atari":
        from rlx.envs.atari import describe_atari

        return describe_atari(spec)
    if spec.family == "minatar":
        from rlx.envs.minatar import describe_minatar

        return describe_minatar(spec)
    if spec.id in MEMORY_IDS or spec.id == LATENCY_ID:
        from rlx.envs.batched import describe_batched

        return describe_batched(spec)
    from rlx.envs.gym_vector import describe_gym

    return describe_gym(spec)
