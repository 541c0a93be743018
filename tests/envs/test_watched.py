"""What is seen is what is played: against the vector environment, and against one emulator written out."""

from __future__ import annotations

import collections
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rlx.envs import EnvError, make_vector_env, resolve_env
from rlx.envs.atari import AtariLanes
from rlx.envs.drawing import draw_cart_pole, draw_planes
from rlx.envs.watched import TwinCamera, WatchedEnv, make_watched_env
from tests.reference_impl.atari_twin import AtariTwin, mean_weights

STICKY = {"noop_max": 30, "sticky_action_probability": 0.25}


def watched(env_id: str, seed: int = 5, **overrides: Any) -> WatchedEnv:
    return make_watched_env(resolve_env(env_id, overrides), seed)


@pytest.mark.parametrize(
    ("env_id", "overrides"),
    [
        # Short episodes, so that several starts are seen too.
        ("BreakoutNoFrameskip-v4", {**STICKY, "max_episode_frames": 100, "life_loss_terminates": True}),
        ("ALE/Pong-v5", {"max_episode_frames": 80}),
        ("MinAtar/Breakout-v1", {"max_episode_frames": 20}),
        ("CartPole-v1", {"max_episode_frames": 20}),
        ("rlx/CountFrames-v0", {}),
    ],
)
def test_the_lane_is_lane_0_of_the_vector_environment(env_id: str, overrides: dict[str, Any]) -> None:
    seen = watched(env_id, **overrides)
    oracle = make_vector_env(resolve_env(env_id, overrides), 2, 5)
    np.testing.assert_array_equal(seen.reset(), oracle.reset()[:1])
    starts = 0
    rng = np.random.default_rng(1)
    for _ in range(60):
        actions = rng.integers(0, seen.num_actions, 1)
        step, expected = seen.step(actions), oracle.step(actions.repeat(2))
        for name, found in step._asdict().items():
            np.testing.assert_array_equal(found, getattr(expected, name)[:1], err_msg=name)
        starts += int(step.over[0])
    assert starts >= 2
    seen.close()


@pytest.mark.parametrize(
    ("env_id", "game", "noops"),
    [("SpaceInvadersNoFrameskip-v4", "space_invaders", 6), ("ALE/Pong-v5", "pong", 6)],
)
def test_the_atari_screen_is_that_of_one_emulator(env_id: str, game: str, noops: int) -> None:
    """Byte for byte, with sticky actions and no-ops; seed 5 draws 6 of them."""
    env = watched(env_id, **STICKY)
    twin = AtariTwin(game, 5, sticky=0.25, noops=noops)
    first = env.reset()
    seen = twin.start
    rng = np.random.default_rng(0)
    for _ in range(40):
        np.testing.assert_array_equal(env.after, seen.screen)
        # Rounding of the same means: ale-py adds float32 numbers.
        difference = np.abs(first[0].astype(int) - seen.observation)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.001
        before = env.after
        action = int(rng.integers(env.num_actions))
        step, seen = env.step(np.array([action])), twin.step(action)
        assert env.before is before
        assert step.rewards[0] == seen.reward
        assert step.over[0] == seen.over
        first = step.frames
    off_by_one = AtariTwin(game, 5, sticky=0.25, noops=noops - 1)
    moved = [off_by_one.step(1).screen for _ in range(3)]
    assert not np.array_equal(moved[-1], env.after)
    env.close()


@pytest.mark.parametrize("end", [{"max_episode_frames": 80}, {}])
def test_the_screen_is_that_of_the_observation_also_in_later_episodes(end: dict[str, int]) -> None:
    """Every new start draws other no-ops: cut episodes, and games that end."""
    env = watched("BreakoutNoFrameskip-v4", **STICKY, **end)
    frames, starts = env.reset(), 0
    rng = np.random.default_rng(0)
    weights = mean_weights(210, 84), mean_weights(160, 84).T
    for _ in range(70 if end else 420):
        step = env.step(rng.integers(env.num_actions, size=1))
        starts += int(step.over[0])
        frames = step.frames
        if not step.over[0]:
            assert env.after is not None
            # What the console's colours are in grey, within two steps of rounding.
            grey = weights[0] @ (env.after @ [0.2989, 0.587, 0.114]) @ weights[1]
            assert np.abs(grey - frames[0]).max() < 2
    assert starts >= 2


def test_emulators_that_come_apart_are_an_error() -> None:
    spec = resolve_env("SpaceInvadersNoFrameskip-v4", {"noop_max": 0})
    lane, camera = make_vector_env(spec, 1, 0), TwinCamera(AtariLanes(spec, 1, 0, screen=True))
    env = WatchedEnv(lane, camera, (), None)
    env.reset()
    # The one that is seen does not shoot: sooner or later a reward is missing.
    camera._twin.step = lambda actions, step=camera._twin.step: step(np.zeros(1, np.int64))  # type: ignore[method-assign,misc]
    with pytest.raises(RuntimeError, match=r"came apart .*: rewards 0\.0, not"):
        collections.deque((env.step(np.array([1])) for _ in range(200)), maxlen=0)


def test_names_of_actions_and_speeds() -> None:
    pong = watched("PongNoFrameskip-v4")
    assert pong.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
    assert pong.steps_per_second == 15
    full = watched("ALE/Pong-v5", full_action_space=True, frame_skip=2)
    assert (len(full.action_names), full.action_names[-1]) == (18, "DOWNLEFTFIRE")
    assert full.steps_per_second == 30
    breakout = watched("MinAtar/Breakout-v1")
    assert breakout.action_names == ("NOOP", "LEFT", "RIGHT")
    assert breakout.steps_per_second is None
    cart_pole = watched("CartPole-v1")
    assert (cart_pole.action_names, cart_pole.steps_per_second) == (("LEFT", "RIGHT"), 50)
    assert watched("rlx/CountFrames-v0").action_names == ("0", "1", "2")


def test_minatar_and_cart_pole_are_drawn_from_what_the_policy_sees() -> None:
    for env_id, draw in (("MinAtar/Breakout-v1", draw_planes), ("CartPole-v1", draw_cart_pole)):
        env = watched(env_id)
        frames = env.reset()
        np.testing.assert_array_equal(env.after, draw(frames[0]))
        first = env.after
        for _ in range(5):
            step = env.step(np.array([1]))
            np.testing.assert_array_equal(env.after, draw(step.frames[0]))
        assert not np.array_equal(first, env.after)


class Numbered(gymnasium.Env):  # type: ignore[type-arg]
    """Render the number of the step as a grey; `missing` lacks the package to do it."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012
    observation_space, action_space = Box(0.0, 1.0, (2,)), Discrete(2)

    def __init__(self, render_mode: str | None = None, missing: bool = False) -> None:
        self.render_mode, self.missing, self.steps = render_mode, missing, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.zeros(2, np.float32), 1.0, self.steps == 3, False, {}

    def render(self) -> Any:
        if self.missing:
            raise gymnasium.error.DependencyNotInstalled("pip install painter")
        return np.full((4, 6, 3), self.steps, np.uint8)


class Unseen(Numbered):
    """Render nothing."""

    metadata = {"render_modes": []}  # noqa: RUF012


@pytest.fixture(autouse=True)
def registered() -> Any:
    for kind in (Numbered, Unseen):
        gymnasium.register(f"Test{kind.__name__}-v0", entry_point=kind)
    yield
    for kind in (Numbered, Unseen):
        del gymnasium.registry[f"Test{kind.__name__}-v0"]


def test_what_renders_itself_is_asked_for_every_state() -> None:
    env = watched("TestNumbered-v0")
    env.reset()
    seen = [env.after]
    for _ in range(4):
        env.step(np.array([0]))
        seen.append(env.after)
    assert [int(picture[0, 0, 0]) for picture in seen if picture is not None] == [0, 1, 2, 3, 0]
    assert env.steps_per_second == 4


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(EnvError, match=r"'TestUnseen-v0' cannot be drawn: it renders no rgb_array"):
        watched("TestUnseen-v0")
    env = watched("TestNumbered-v0", env_config={"missing": True})
    with pytest.raises(EnvError, match="package that is missing: pip install painter"):
        env.reset()
