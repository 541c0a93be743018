"""Tiny environments for tests: known values, frames that say where they are from, faults on demand."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

Info = dict[str, Any]


def register_toy_envs() -> None:
    """Register `rlx/Chain-v0`, `rlx/CountFrames-v0`, `rlx/Slow-v0`, `rlx/Crash-v0` with gymnasium, once."""
    for name in ("Chain", "CountFrames", "Slow", "Crash"):
        if f"rlx/{name}-v0" not in gymnasium.registry:
            gymnasium.register(f"rlx/{name}-v0", entry_point=f"rlx.envs.toy:{name}")


class Chain(gymnasium.Env[NDArray[np.float32], int]):  # type: ignore[misc]
    """Walk a corridor: action 1 goes right, 0 left; the episode starts at the left end.

    Entering the last cell pays 1. With `terminal` it also ends the episode; without, the cell pays 1 again
    for every action 1 taken in it and only a time limit (`environment.max_episode_frames`) ends the
    episode, which tells bootstrapping at a truncation (value above 0) from stopping there. The observation
    is one-hot, float32 `[length]`.
    """

    def __init__(self, length: int = 5, terminal: bool = True) -> None:
        self.length = length
        self.terminal = terminal
        self.observation_space = Box(0.0, 1.0, (length,), np.float32)
        self.action_space = Discrete(2)
        self._cell = 0

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[NDArray[np.float32], Info]:
        super().reset(seed=seed)
        self._cell = 0
        return self._observation(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, Info]:
        self._cell, reward = chain_move(self.length, self._cell, action)
        ended = self.terminal and self._cell == self.length - 1
        return self._observation(), reward, ended, False, {}

    def _observation(self) -> NDArray[np.float32]:
        observation = np.zeros(self.length, np.float32)
        observation[self._cell] = 1.0
        return observation


def chain_move(length: int, cell: int, action: int) -> tuple[int, float]:
    """Return the next cell and the reward of `Chain`."""
    after = min(cell + 1, length - 1) if action == 1 else max(cell - 1, 0)
    return after, 1.0 if action == 1 and after == length - 1 else 0.0


def chain_optimal_values(length: int, gamma: float, terminal: bool = True) -> NDArray[np.float64]:
    """Return the optimal Q of `Chain` without a time limit, `[length, 2]`, by value iteration.

    With `terminal` the last cell's row is 0.
    """
    q = np.zeros((length, 2))
    for _ in range(100_000):
        previous = q.copy()
        for cell in range(length - 1 if terminal else length):
            for action in (0, 1):
                after, reward = chain_move(length, cell, action)
                q[cell, action] = reward + gamma * previous[after].max()
        if np.abs(q - previous).max() < 1e-12:
            break
    return q


class CountFrames(gymnasium.Env[NDArray[np.uint8], int]):  # type: ignore[misc]
    """Say in every frame which lane, episode and step it belongs to.

    A frame's first six bytes are lane, episode and step, two bytes each, high byte first; the rest are
    zeros. The lane is the seed given to `reset`, which also restarts the count of episodes (lane i of a
    vector environment made with seed s says s + i). The reward of a step is `100 * episode + step` (step
    counts from 1). Episode lengths cycle through `lengths`, shifted by the lane; every third episode
    (episode + lane divisible by 3) is truncated, the others terminate. With `lives`, a life is lost
    (`info["lives"]`) every `steps_per_life` steps.
    """

    def __init__(
        self,
        lengths: tuple[int, ...] = (1, 2, 3, 5, 8),
        frame_shape: tuple[int, ...] = (2, 3),
        num_actions: int = 3,
        lives: int = 0,
        steps_per_life: int = 2,
    ) -> None:
        self.lengths = tuple(lengths)
        self.frame_shape = tuple(frame_shape)
        self.lives = lives
        self.steps_per_life = steps_per_life
        self.observation_space = Box(0, 255, self.frame_shape, np.uint8)
        self.action_space = Discrete(num_actions)
        self._lane = 0
        self._episode = -1
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[NDArray[np.uint8], Info]:
        super().reset(seed=seed)
        if seed is not None:
            self._lane, self._episode = seed % 65_536, -1
        self._episode += 1
        self._step = 0
        return self._frame(), self._info()

    def step(self, action: int) -> tuple[NDArray[np.uint8], float, bool, bool, Info]:
        self._step += 1
        ended = self._step >= self.lengths[(self._episode + self._lane) % len(self.lengths)]
        cut = (self._episode + self._lane) % 3 == 0
        return (
            self._frame(),
            float(100 * self._episode + self._step),
            ended and not cut,
            ended and cut,
            self._info(),
        )

    def _frame(self) -> NDArray[np.uint8]:
        frame = np.zeros(self.frame_shape, np.uint8)
        numbers = np.array([self._lane, self._episode, self._step], ">u2")
        frame.reshape(-1)[:6] = np.frombuffer(numbers.tobytes(), np.uint8)
        return frame

    def _info(self) -> Info:
        return {"lives": max(self.lives - self._step // self.steps_per_life, 0)} if self.lives else {}


def decode_count_frames(frames: NDArray[np.uint8], frame_ndim: int = 2) -> NDArray[np.int64]:
    """Read lane, episode and step `[..., 3]` from `CountFrames` frames `[..., *frame_shape]`.

    A frame of zeros reads (0, 0, 0), as does lane 0's first frame: seed with 1 or more.
    """
    lead = frames.shape[: frames.ndim - frame_ndim]
    flat = frames.reshape(*lead, -1)[..., :6].astype(np.int64)
    return flat[..., 0::2] * 256 + flat[..., 1::2]


class Slow(Chain):
    """`Chain` whose every step sleeps for `step_seconds`."""

    def __init__(self, step_seconds: float = 0.01, length: int = 5, terminal: bool = True) -> None:
        super().__init__(length, terminal)
        self.step_seconds = step_seconds

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, Info]:
        time.sleep(self.step_seconds)
        return super().step(action)


class Crash(Chain):
    """`Chain` that fails at its `crash_after_steps`-th step, counted over episodes.

    `how="raise"` raises RuntimeError, `how="exit"` ends the process at once. With `once_path`, a file is
    created there at the first failure and no environment fails while it exists, so that a restarted runner
    lives on.
    """

    def __init__(
        self,
        crash_after_steps: int = 100,
        how: Literal["raise", "exit"] = "raise",
        once_path: str | None = None,
        length: int = 5,
        terminal: bool = True,
    ) -> None:
        super().__init__(length, terminal)
        self.crash_after_steps = crash_after_steps
        self.how = how
        self.once_path = once_path
        self._total_steps = 0

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, Info]:
        self._total_steps += 1
        if self._total_steps >= self.crash_after_steps and not (
            self.once_path and Path(self.once_path).exists()
        ):
            if self.once_path:
                Path(self.once_path).touch()
            if self.how == "exit":
                os._exit(1)
            raise RuntimeError(f"rlx/Crash-v0 fails at step {self._total_steps}, as it was told to")
        return super().step(action)
