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


def observation_space(
    frame_stack: int, frame_shape: tuple[int, ...], frame_dtype: Any, normalized: bool
) -> gym.spaces.Box:
    """Return the space of one stacked observation, see `RllibVectorEnv`."""
    if normalized:
        return gym.spaces.Box(-1.0, 1.0, (*frame_shape, frame_stack), np.float32)
    dtype = np.dtype(frame_dtype)
    low, high = (0, 255) if dtype == np.uint8 else (-np.inf, np.inf)
    return gym.spaces.Box(low, high, (frame_stack, *frame_shape), dtype.type)


class RllibVectorEnv(gym.vector.VectorEnv):
    """The engine's vector environment as gymnasium's, with stacked frames and clipped rewards.

    Observations are `[N, S, *frame_shape]`, new arrays at every step. A lost life that terminates starts
    a new episode for RLlib; returns of whole games, unclipped, are kept for `take_finished`.

    Args:
        spec: of the environment.
        num_envs: N.
        seed: until `reset` is given another one.
        reward_clip: rewards are clipped to plus or minus this; None leaves them.
        normalized: observations are float32 `[N, *frame_shape, S]` in -1..1, as those of RLlib's own Atari
            wrapper (`ray.rllib.env.wrappers.atari_wrappers.NormalizedImageEnv`), and not bytes.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self, spec: EnvSpec, num_envs: int, seed: int, reward_clip: float | None, normalized: bool = False
    ) -> None:
        self._env = make_vector_env(spec, num_envs, seed)
        self._clip = reward_clip
        self._normalized = normalized
        env = self._env
        self.num_envs = num_envs
        self._stack = FrameStack(num_envs, env.frame_stack, env.frame_shape, env.frame_dtype)
        self.single_observation_space = observation_space(
            env.frame_stack, env.frame_shape, env.frame_dtype, normalized
        )
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
        return self._observe(frames, np.ones(self.num_envs, bool)), {}

    def _observe(self, frames: np.ndarray, first: np.ndarray) -> np.ndarray:
        stacked = self._stack.push(frames, first)
        if not self._normalized:
            return stacked.copy()
        # The sum is rounded as RLlib's, and made in the memory that is returned.
        scaled: np.ndarray = np.moveaxis(stacked, 1, -1).astype(np.float32, order="C")
        scaled /= 128.0
        scaled -= 1.0
        return scaled

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
        observation = self._observe(step.frames, self._over)
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
