"""Atari games: ale-py's C++ vector environment, held to the engine's contract.

What ale-py 0.12.1 does and this adapter changes:

- Its `life_loss_info` flag and the end of a game are the same bit. Here lost lives are read from the life
  counters (fewer than a step ago), so that `terminated` by a life and `over` cannot be confused.
- At its own frame cap it stops before the last raw frame is captured, and the frame it returns is a mixture
  of older ones. A truncated episode bootstraps from that frame, so the cap is kept here and the lane is
  reset by hand.
- It draws `0 .. noop_max - 1` no-ops; here `noop_max` itself can be drawn.

What it does and this adapter leaves: when the game ends inside a step, the final frame holds what was
captured before the end. Nothing bootstraps from it. FIRE is not pressed at a reset (the papers' starts are
no-ops only): in games that wait for FIRE the agent has to learn to press it. Frames are pooled (maximum of
the last two raw frames), grey and area-resized by ale-py.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlx.envs.errors import EnvError
from rlx.envs.spec import EnvSpec
from rlx.envs.vector import EnvInfo, EnvStep

# Measured: resident memory of a process after making 16 lanes of Pong, per lane.
LANE_BYTES = 1_400_000
_NO_CAP = 2**30
_MAX_SEED = 2**31 - 1


class AtariLanes:
    """N emulators stepped together in C++.

    Frames are views of memory that ale-py allocates at every step: nothing is copied in Python.
    """

    def __init__(
        self, spec: EnvSpec, num_envs: int, seed: int, num_threads: int = 1, *, screen: bool = False
    ) -> None:
        """Start the emulators; `reset` must be called before `step`.

        With `screen`, frames are the console's screen in colour and in its own size, uint8 `[N, H, W, 3]`,
        for people to see; all else is as without.
        """
        from ale_py.vector_env import AtariVectorEnv

        info = describe_atari(spec)
        if screen:
            info = dataclasses.replace(info, frame_shape=(*_screen_size(spec.game), 3))
        self.spec = spec
        self.num_envs = num_envs
        self.num_actions = info.num_actions
        self.frames_per_step = spec.frames_per_step
        self.frame_shape = info.frame_shape
        self.frame_dtype = info.frame_dtype
        self.frame_stack = spec.frame_stack
        self._seed: int | None = seed
        self._max_steps = spec.max_episode_steps or _NO_CAP
        self._lives = np.zeros(num_envs, np.int32)
        self._steps = np.zeros(num_envs, np.int64)
        self._over = np.zeros(num_envs, np.bool_)
        self._capped = np.zeros(num_envs, np.bool_)
        self._env = AtariVectorEnv(
            spec.game,
            num_envs,
            num_threads=num_threads,
            max_num_frames_per_episode=_NO_CAP,
            repeat_action_probability=spec.sticky_action_probability,
            full_action_space=spec.full_action_space,
            autoreset_mode="NextStep",
            img_height=info.frame_shape[0],
            img_width=info.frame_shape[1],
            grayscale=spec.grayscale and not screen,
            stack_num=1,
            frameskip=spec.frame_skip,
            maxpool=True,
            noop_max=spec.noop_max + 1 if spec.noop_max else 0,
            episodic_life=False,
            life_loss_info=False,
            reward_clipping=False,
            use_fire_reset=False,
        )

    def reset(self, seed: int | None = None) -> NDArray[np.uint8]:
        """Start every lane anew. Returns uint8 `[N, *frame_shape]`. Seeds are used modulo 2^31 - 1."""
        base = seed if seed is not None else self._seed
        self._seed = None
        seeds = None if base is None else (base + np.arange(self.num_envs)) % _MAX_SEED
        frames, info = self._env.reset(seed=seeds)
        self._lives = info["lives"]
        self._steps[:] = 0
        self._over[:] = False
        self._capped[:] = False
        return frames[:, 0]  # type: ignore[no-any-return]

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Advance every lane by `frame_skip` emulator frames, see `VectorEnv.step`."""
        restarted = self._over
        if restarted.any():
            actions = np.where(restarted, 0, actions)
        frames, rewards, game_over, _, info = self._env.step(actions)
        if self._capped.any():
            frames, info = self._restart_capped(frames, rewards, game_over)
        self._steps += 1
        self._steps[restarted] = 0
        capped = (self._steps >= self._max_steps) & ~game_over
        lives = info["lives"]
        terminated = game_over
        if self.spec.life_loss_terminates:
            terminated = game_over | ((lives < self._lives) & ~restarted)
        over = game_over | capped
        self._lives = lives
        self._capped = capped
        self._over = over.copy()
        return EnvStep(frames[:, 0], rewards.astype(np.float32), terminated, capped.copy(), over)

    def _restart_capped(
        self, frames: NDArray[np.uint8], rewards: NDArray[np.int32], game_over: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Reset the lanes that hit the cap; the step they have just taken with the others is thrown away."""
        rewards[self._capped] = 0
        game_over[self._capped] = False
        frames, info = self._env.reset(options={"reset_mask": self._capped})
        return frames, info

    def get_state(self) -> None:
        """Return None: ale-py's vector class cannot save its emulators."""
        return None

    def set_state(self, state: bytes) -> None:
        """Raise: there is no state to set."""
        raise EnvError(f"environment {self.spec.id!r}: an emulator's state cannot be restored")

    def close(self) -> None:
        """Stop the emulator threads."""
        del self._env


def describe_atari(spec: EnvSpec) -> EnvInfo:
    """Describe a game from its ROM, without an emulator thread."""
    assert spec.game is not None
    assert spec.frame_size is not None
    shape = (spec.frame_size, spec.frame_size) + (() if spec.grayscale else (3,))
    minimal, full = _action_counts(spec.game)
    return EnvInfo(
        frame_shape=shape,
        frame_dtype=np.dtype(np.uint8),
        frame_stack=spec.frame_stack,
        num_actions=full if spec.full_action_space else minimal,
        frames_per_step=spec.frames_per_step,
        lane_bytes=LANE_BYTES,
    )


def atari_action_names(spec: EnvSpec) -> tuple[str, ...]:
    """Return ale-py's names of a game's actions, in the order of their numbers: `NOOP`, `FIRE`, ..."""
    ale = _game(spec.game)
    actions = ale.getLegalActionSet() if spec.full_action_space else ale.getMinimalActionSet()
    return tuple(str(action.name) for action in actions)


def _action_counts(game: str) -> tuple[int, int]:
    """Return the sizes of the game's minimal and of the full action set."""
    ale = _game(game)
    return len(ale.getMinimalActionSet()), len(ale.getLegalActionSet())


def _screen_size(game: str | None) -> tuple[int, int]:
    """Return height and width of the console's picture: 210 x 160, in some games 250 x 160."""
    height, width = _game(game).getScreenDims()
    return height, width


@functools.lru_cache(maxsize=2)
def _game(game: str | None) -> Any:
    """Load a game, to ask what it is like."""
    import ale_py
    from ale_py import roms

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.loadROM(roms.get_rom_path(game))
    return ale
