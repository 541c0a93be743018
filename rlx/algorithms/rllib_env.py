"""The engine's environments as gymnasium's, for RLlib's own algorithms."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from rlx.actors.frame_stack import FrameStack
from rlx.envs.spec import EnvSpec
from rlx.envs.vector import make_vector_env

#: Keys under which `log_finished_games` logs every game since the last iteration.
GAME_RETURNS = "game_returns"
GAME_LENGTHS = "game_lengths"


class RllibVectorEnv(gym.vector.VectorEnv):
    """The engine's vector environment as gymnasium's, with stacked frames and clipped rewards.

    Observations are `[N, S, *frame_shape]`, new arrays at every step. A lost life that terminates starts
    a new episode for RLlib; returns of whole games, unclipped, are kept for `take_finished`.

    Args:
        spec: of the environment.
        num_envs: N.
        seed: until `reset` is given another one.
        reward_clip: rewards are clipped to plus or minus this; None leaves them.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, spec: EnvSpec, num_envs: int, seed: int, reward_clip: float | None) -> None:
        self._env = make_vector_env(spec, num_envs, seed)
        self._clip = reward_clip
        env = self._env
        self.num_envs = num_envs
        self._stack = FrameStack(num_envs, env.frame_stack, env.frame_shape, env.frame_dtype)
        shape = (env.frame_stack, *env.frame_shape)
        low, high = (0, 255) if env.frame_dtype == np.uint8 else (-np.inf, np.inf)
        self.single_observation_space = gym.spaces.Box(low, high, shape, env.frame_dtype.type)
        self.single_action_space = gym.spaces.Discrete(env.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.first_step_at: float | None = None
        self._finished: list[tuple[float, int]] = []

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start every lane anew."""
        frames = self._env.reset(seed)
        self._over = np.zeros(self.num_envs, bool)
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int64)
        return self._stack.push(frames, np.ones(self.num_envs, bool)).copy(), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance every lane; the step after `over` resets it."""
        step = self._env.step(np.asarray(actions, np.int64))
        if self.first_step_at is None:
            self.first_step_at = time.time()
        self._returns += step.rewards
        self._lengths += ~self._over
        for lane in np.flatnonzero(step.over):
            self._finished.append((float(self._returns[lane]), int(self._lengths[lane])))
            self._returns[lane], self._lengths[lane] = 0.0, 0
        observation = self._stack.push(step.frames, self._over).copy()
        self._over = step.over
        rewards = step.rewards if self._clip is None else step.rewards.clip(-self._clip, self._clip)
        return observation, rewards, step.terminated, step.truncated, {}

    def take_finished(self) -> list[tuple[float, int]]:
        """Return (undiscounted raw return, length in env steps) of games that ended since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def close_extras(self, **kwargs: Any) -> None:
        """Release the emulators."""
        self._env.close()


def log_finished_games(*, env_runner: Any, metrics_logger: Any, **kwargs: Any) -> None:
    """Log returns and lengths of whole games (RLlib callback `on_sample_end`)."""
    if env_runner.env is None:
        return
    for game_return, length in env_runner.env.unwrapped.take_finished():
        metrics_logger.log_value(GAME_RETURNS, game_return, reduce="item_series")
        metrics_logger.log_value(GAME_LENGTHS, length, reduce="item_series")
