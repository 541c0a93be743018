"""Built-in environments as arrays: all lanes of one advance in a few numpy operations.

A `Task` is the mathematics, functions of arrays; `BatchedLanes` adds what every environment needs: random
streams, time limit, resets, state. Each lane draws from a generator of its own, as gymnasium's environments
do, so that an episode does not depend on the number of lanes.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rlx.envs.errors import EnvError
from rlx.envs.latency import FixedLatency
from rlx.envs.memory import Bools, Floats, Ints, Recall, StatelessCartPole
from rlx.envs.spec import EnvSpec
from rlx.envs.vector import EnvInfo, EnvStep


class Task(Protocol):
    """The rules of an environment whose episode is V numbers and a count of steps."""

    num_actions: int
    frame_shape: tuple[int, ...]

    def start(self, rng: np.random.Generator) -> Floats:
        """Draw the variables of a new episode, `[V]`."""
        ...

    def advance(self, variables: Floats, steps: Ints, actions: Ints) -> tuple[Floats, Floats, Bools]:
        """Take one step in every lane.

        Args:
            variables: `[N, V]`; not written into.
            steps: `[N]`, steps taken before this one.
            actions: `[N]`, in `0 .. num_actions - 1`.

        Returns:
            New variables `[N, V]`, rewards `[N]`, and whether the episode has ended by itself, `[N]`; new
            arrays each.
        """
        ...

    def observe(self, variables: Floats, steps: Ints) -> NDArray[np.float32]:
        """Show variables `[N, V]` after `steps` `[N]` as new frames `[N, *frame_shape]`."""
        ...


TASKS: dict[str, Callable[..., Task]] = {
    "rlx/StatelessCartPole-v1": StatelessCartPole,
    "rlx/Recall-v0": Recall,
    "rlx/FixedLatency-v0": FixedLatency,
}
"""Id -> rules; `env_config` has the arguments."""


class BatchedLanes:
    """N episodes of a task, advanced together. Frames are float32."""

    def __init__(self, spec: EnvSpec, num_envs: int, seed: int) -> None:
        """Prepare the lanes; `reset` must be called before `step`."""
        self._task = make_task(spec)
        info = describe_batched(spec)
        self.spec = spec
        self.num_envs = num_envs
        self.num_actions = info.num_actions
        self.frames_per_step = info.frames_per_step
        self.frame_shape = info.frame_shape
        self.frame_dtype = info.frame_dtype
        self.frame_stack = spec.frame_stack
        self._max_steps = spec.max_episode_steps
        self._seed: int | None = seed
        self._random = [np.random.default_rng(seed + i) for i in range(num_envs)]
        self._variables: Floats = np.zeros((num_envs, 0))
        self._steps: Ints = np.zeros(num_envs, np.int64)
        self._over: Bools = np.zeros(num_envs, np.bool_)

    def reset(self, seed: int | None = None) -> NDArray[np.float32]:
        """Start every lane anew. Returns float32 `[N, *frame_shape]`."""
        base = seed if seed is not None else self._seed
        self._seed = None
        if base is not None:
            self._random = [np.random.default_rng(base + i) for i in range(self.num_envs)]
        self._variables = np.stack([self._task.start(rng) for rng in self._random])
        self._steps = np.zeros(self.num_envs, np.int64)
        self._over = np.zeros(self.num_envs, np.bool_)
        return self._task.observe(self._variables, self._steps)

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Advance every lane by one step, see `VectorEnv.step`."""
        restarted = self._over
        variables, rewards, terminated = self._task.advance(self._variables, self._steps, actions)
        steps = self._steps + 1
        for i in np.flatnonzero(restarted):
            variables[i] = self._task.start(self._random[i])
            steps[i], rewards[i], terminated[i] = 0, 0.0, False
        truncated = (steps == self._max_steps) & ~terminated
        over = terminated | truncated
        self._variables, self._steps, self._over = variables, steps, over.copy()
        return EnvStep(
            self._task.observe(variables, steps), rewards.astype(np.float32), terminated, truncated, over
        )

    def get_state(self) -> bytes:
        """Pickle the episodes with their random generators."""
        state = (self._random, self._seed, self._variables, self._steps, self._over)
        return pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)

    def set_state(self, state: bytes) -> None:
        """Continue from `get_state()` exactly."""
        random, seed, variables, steps, over = pickle.loads(state)
        if len(steps) != self.num_envs:
            raise ValueError(f"state of {len(steps)} environments, but this object has {self.num_envs}")
        self._random, self._seed, self._variables, self._steps, self._over = (
            random,
            seed,
            variables,
            steps,
            over,
        )

    def close(self) -> None:
        """Do nothing: arrays only."""


def describe_batched(spec: EnvSpec) -> EnvInfo:
    """Describe a built-in environment from its task."""
    task = make_task(spec)
    return EnvInfo(
        frame_shape=task.frame_shape,
        frame_dtype=np.dtype(np.float32),
        frame_stack=spec.frame_stack,
        num_actions=task.num_actions,
        frames_per_step=spec.frames_per_step,
        lane_bytes=0,
    )


def make_task(spec: EnvSpec) -> Task:
    """Make the rules that an id and its `env_config` name.

    Raises:
        EnvError: `env_config` does not fit.
    """
    try:
        return TASKS[spec.id](**spec.env_config)
    except (TypeError, ValueError) as error:
        raise EnvError(
            f"environment.env_config {dict(spec.env_config)!r} does not fit {spec.id!r}: {error}"
        ) from None
