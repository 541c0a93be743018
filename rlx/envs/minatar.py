"""MinAtar's five games, batched in one object.

Frames are MinAtar's `(10, 10, channels)` occupancy planes as uint8 0/1. Sticky actions (0.1 per step) and
difficulty ramping are on as shipped; `env_config: {difficulty_ramping: false}` switches the latter off. As
shipped, the action that a sticky step repeats is carried over an episode's end.

Source: [MinAtar]; defaults of the package.
"""

from __future__ import annotations

import functools
import logging
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlx.envs.errors import EnvError
from rlx.envs.registry import require_minatar
from rlx.envs.spec import EnvSpec
from rlx.envs.vector import EnvInfo, EnvStep

LANE_BYTES = 20_000


class MinAtarLanes:
    """N MinAtar games, each with a `RandomState` of its own."""

    def __init__(self, spec: EnvSpec, num_envs: int, seed: int) -> None:
        """Prepare the games; `reset` must be called before `step`."""
        info = describe_minatar(spec)
        self.spec = spec
        self.num_envs = num_envs
        self.num_actions = info.num_actions
        self.frames_per_step = info.frames_per_step
        self.frame_shape = info.frame_shape
        self.frame_dtype = info.frame_dtype
        self.frame_stack = spec.frame_stack
        self._actions = _action_set(spec)
        self._max_steps = spec.max_episode_steps
        self._seed: int | None = seed
        self._games: list[Any] = []
        self._steps = [0] * num_envs
        self._over = [False] * num_envs

    def reset(self, seed: int | None = None) -> NDArray[np.uint8]:
        """Start every lane anew. Returns uint8 `[N, 10, 10, channels]`. Seeds are used modulo 2^32."""
        base = seed if seed is not None else self._seed
        self._seed = None
        if base is not None:
            # New objects: MinAtar's reset keeps the last action, which a sticky step would repeat.
            self._games = [_make(self.spec, (base + i) % 2**32) for i in range(self.num_envs)]
        for game in self._games:
            game.reset()
        self._steps = [0] * self.num_envs
        self._over = [False] * self.num_envs
        return np.array([game.state() for game in self._games], np.uint8)

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Advance every lane by one step, see `VectorEnv.step`."""
        n = self.num_envs
        frames = np.empty((n, *self.frame_shape), np.uint8)
        rewards = np.zeros(n, np.float32)
        terminated = np.zeros(n, np.bool_)
        truncated = np.zeros(n, np.bool_)
        for i, action in enumerate(actions.tolist()):
            game = self._games[i]
            if self._over[i]:
                game.reset()
                self._steps[i] = 0
            else:
                rewards[i], terminated[i] = game.act(self._actions[action])
                self._steps[i] += 1
                truncated[i] = self._steps[i] == self._max_steps and not terminated[i]
            frames[i] = game.state()
        over = terminated | truncated
        self._over = over.tolist()
        return EnvStep(frames, rewards, terminated, truncated, over)

    def get_state(self) -> bytes:
        """Pickle the games with their random generators."""
        return pickle.dumps(
            (self._games, self._seed, self._steps, self._over), protocol=pickle.HIGHEST_PROTOCOL
        )

    def set_state(self, state: bytes) -> None:
        """Continue from `get_state()` exactly."""
        games, seed, steps, over = pickle.loads(state)
        if len(steps) != self.num_envs:
            raise ValueError(f"state of {len(steps)} environments, but this object has {self.num_envs}")
        self._games, self._seed, self._steps, self._over = games, seed, steps, over

    def close(self) -> None:
        """Drop the games."""
        self._games = []


def describe_minatar(spec: EnvSpec) -> EnvInfo:
    """Describe a game from one instance of it."""
    return EnvInfo(
        frame_shape=tuple(int(size) for size in _make(spec, 0).state_shape()),
        frame_dtype=np.dtype(np.uint8),
        frame_stack=spec.frame_stack,
        num_actions=len(_action_set(spec)),
        frames_per_step=spec.frames_per_step,
        lane_bytes=LANE_BYTES,
    )


def minatar_actions(spec: EnvSpec) -> tuple[str, ...]:
    """Return MinAtar's letter for each action in the order of their numbers, of `n l u r d f`."""
    letters = "nlurdf"
    return tuple(letters[action] for action in _action_set(spec))


def _action_set(spec: EnvSpec) -> list[int]:
    game = _make(spec, 0)
    return list(range(game.num_actions())) if spec.full_action_space else list(game.minimal_action_set())


def _make(spec: EnvSpec, seed: int) -> Any:
    try:
        game = _environment_class(spec.id)(spec.game, spec.sticky_action_probability, **spec.env_config)
    except TypeError as error:
        raise EnvError(
            f"environment.env_config {dict(spec.env_config)!r} does not fit {spec.id!r}: "
            "MinAtar takes difficulty_ramping"
        ) from error
    game.seed(seed)
    return game


@functools.cache
def _environment_class(env_id: str) -> Any:
    require_minatar(env_id)
    # MinAtar warns through the root logger, and so configures it, when plotting packages are missing.
    handler = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        from minatar.environment import Environment
    finally:
        logging.disable(previous)
        root.removeHandler(handler)
    return Environment
