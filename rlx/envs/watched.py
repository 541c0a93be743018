"""One environment that is played and seen: a lane, and a camera that takes a picture of each of its states.

- Atari: ale-py's vector class, which policies play in, renders nothing. A second object of it, with the same
  seed and actions, does the same game whatever the size and colour of its frames, no-op starts and sticky
  actions included. It has colours and the screen's own size, and every reward and end is compared with the
  first one's: the picture shows the very game that is played, and not one like it.
- MinAtar: the planes that the policy sees, one colour each.
- CartPole, `rlx/Chain-v0` and its like: drawn from the observation.
- Others of gymnasium: what the environment renders as `rgb_array`; else the observation, if it is an image.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlx.envs.drawing import Picture, draw_cart_pole, draw_cells, draw_image, draw_planes
from rlx.envs.errors import EnvError
from rlx.envs.spec import EnvSpec
from rlx.envs.vector import EnvStep, VectorEnv, make_vector_env

#: Frames per second of the console.
ATARI_HERTZ = 60.0

_MINATAR_ACTIONS = {"n": "NOOP", "l": "LEFT", "u": "UP", "r": "RIGHT", "d": "DOWN", "f": "FIRE"}
_ACTION_NAMES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("CartPole-v0", "CartPole-v1", "rlx/Chain-v0", "rlx/Slow-v0", "rlx/Crash-v0"), ("LEFT", "RIGHT")
    ),
    "MountainCar-v0": ("LEFT", "NOOP", "RIGHT"),
    "Acrobot-v1": ("TORQUE -1", "TORQUE 0", "TORQUE 1"),
    "LunarLander-v3": ("NOOP", "FIRE LEFT", "FIRE MAIN", "FIRE RIGHT"),
}
#: Drawn here although gymnasium could, so that a picture does not depend on whether pygame is installed.
_DRAWINGS: dict[str, Callable[[NDArray[Any]], Picture]] = {
    **dict.fromkeys(("CartPole-v0", "CartPole-v1"), draw_cart_pole),
    **dict.fromkeys(("rlx/Chain-v0", "rlx/Slow-v0", "rlx/Crash-v0"), draw_cells),
}


class Camera(Protocol):
    """Take the picture of the state that a lane has just come to."""

    def reset(self, seed: int | None, frames: NDArray[Any]) -> Picture:
        """Return the picture of a first state, whose observation is `frames[0]`."""
        ...

    def step(self, actions: NDArray[np.int64], step: EnvStep) -> Picture:
        """Return the picture of the state that these actions `[1]` led to."""
        ...

    def close(self) -> None:
        """Release what the camera holds."""
        ...


class WatchedEnv:
    """A `VectorEnv` of one lane that keeps the pictures of its last two states.

    Attributes:
        before: picture of the state in which the last action was taken; None after `reset`.
        after: picture of the state now, uint8 `[H, W, 3]`.
        action_names: one for each action.
        steps_per_second: env steps in a second of the game; None where the game has no clock.
    """

    def __init__(
        self, lane: VectorEnv, camera: Camera, action_names: tuple[str, ...], steps_per_second: float | None
    ) -> None:
        self._lane = lane
        self._camera = camera
        self.action_names = action_names
        self.steps_per_second = steps_per_second
        self.num_envs = lane.num_envs
        self.num_actions = lane.num_actions
        self.frames_per_step = lane.frames_per_step
        self.frame_shape = lane.frame_shape
        self.frame_dtype = lane.frame_dtype
        self.frame_stack = lane.frame_stack
        self.before: Picture | None = None
        self.after: Picture | None = None

    def reset(self, seed: int | None = None) -> NDArray[Any]:
        """Start anew and return the first frame `[1, *frame_shape]`."""
        frames = self._lane.reset(seed)
        self.before, self.after = None, self._camera.reset(seed, frames)
        return frames

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Advance by one step, see `VectorEnv.step`; then `before` and `after` are on both sides of it."""
        step = self._lane.step(actions)
        self.before, self.after = self.after, self._camera.step(actions, step)
        return step

    def get_state(self) -> None:
        """Return None: a camera's state cannot be saved."""
        return None

    def set_state(self, state: bytes) -> None:
        """Raise: there is no state to set."""
        raise EnvError("a watched environment's state cannot be restored")

    def close(self) -> None:
        """Release the lane and the camera."""
        self._lane.close()
        self._camera.close()


def make_watched_env(spec: EnvSpec, seed: int) -> WatchedEnv:
    """Make one lane that plays exactly as lane 0 of `make_vector_env(spec, n, seed)`, with pictures.

    Args:
        spec: From `resolve_env`.
        seed: At least 0.

    Raises:
        EnvError: As `make_vector_env`; or nothing can draw this environment.
    """
    if spec.family == "atari":
        from rlx.envs.atari import AtariLanes, atari_action_names

        lane = make_vector_env(spec, 1, seed)
        camera = TwinCamera(AtariLanes(spec, 1, seed, screen=True))
        return WatchedEnv(lane, camera, atari_action_names(spec), ATARI_HERTZ / spec.frame_skip)
    if spec.family == "minatar":
        from rlx.envs.minatar import minatar_actions

        names = tuple(_MINATAR_ACTIONS[letter] for letter in minatar_actions(spec))
        return WatchedEnv(make_vector_env(spec, 1, seed), FrameCamera(draw_planes), names, None)
    return _watched_gym(spec, seed)


class TwinCamera:
    """A second environment that does what the first one does, and whose observations are the pictures."""

    def __init__(self, twin: VectorEnv) -> None:
        self._twin = twin

    def reset(self, seed: int | None, frames: NDArray[Any]) -> Picture:
        """Reset the twin in the same way."""
        picture: Picture = self._twin.reset(seed)[0]
        return picture

    def step(self, actions: NDArray[np.int64], step: EnvStep) -> Picture:
        """Step the twin.

        Raises:
            RuntimeError: the two have come apart, so that the picture would be of another game.
        """
        seen = self._twin.step(actions)
        for name in ("rewards", "terminated", "truncated", "over"):
            played, shown = getattr(step, name)[0], getattr(seen, name)[0]
            if played != shown:
                raise RuntimeError(
                    f"the emulator that is seen came apart from the one that is played: {name} {shown}, "
                    f"not {played}"
                )
        picture: Picture = seen.frames[0]
        return picture

    def close(self) -> None:
        """Close the twin."""
        self._twin.close()


class FrameCamera:
    """Draw the observation."""

    def __init__(self, draw: Callable[[NDArray[Any]], Picture]) -> None:
        self._draw = draw

    def reset(self, seed: int | None, frames: NDArray[Any]) -> Picture:
        """Draw the first observation."""
        return self._draw(frames[0])

    def step(self, actions: NDArray[np.int64], step: EnvStep) -> Picture:
        """Draw the observation after the step."""
        return self._draw(step.frames[0])

    def close(self) -> None:
        """Do nothing."""


class RenderCamera:
    """Ask the environment itself, through `render`."""

    def __init__(self, render: Callable[[], Picture]) -> None:
        self._render = render

    def reset(self, seed: int | None, frames: NDArray[Any]) -> Picture:
        """Render the first state."""
        return self._render()

    def step(self, actions: NDArray[np.int64], step: EnvStep) -> Picture:
        """Render the state after the step."""
        return self._render()

    def close(self) -> None:
        """Do nothing: the lane closes the environment."""


def _watched_gym(spec: EnvSpec, seed: int) -> WatchedEnv:
    from rlx.envs.gym_vector import GymLanes

    plain = GymLanes(spec, 1, seed)
    watched = functools.partial(
        WatchedEnv, action_names=_gym_action_names(spec, plain), steps_per_second=plain.steps_per_second
    )
    if spec.id in _DRAWINGS:
        return watched(plain, FrameCamera(_DRAWINGS[spec.id]))
    if "rgb_array" in plain.render_modes:
        plain.close()
        config = {**spec.env_config, "render_mode": "rgb_array"}
        lane = GymLanes(dataclasses.replace(spec, env_config=config), 1, seed)
        return watched(lane, RenderCamera(lane.render))
    if plain.frame_dtype == np.uint8 and _is_image(plain.frame_shape):
        return watched(plain, FrameCamera(draw_image))
    plain.close()
    raise EnvError(
        f"environment {spec.id!r} cannot be drawn: it renders no rgb_array, and its observations "
        f"{plain.frame_shape} are no images; rlx evaluate plays it without pictures"
    )


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))


def _gym_action_names(spec: EnvSpec, lanes: Any) -> tuple[str, ...]:
    names = _ACTION_NAMES.get(spec.id, ())
    if len(names) == lanes.num_actions:
        return names
    return tuple(str(action) for action in range(lanes.num_actions))
