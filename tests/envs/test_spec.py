from types import SimpleNamespace
from typing import Any

import pytest

from rlx.envs import EnvError, not_applicable, resolve_env
from rlx.envs.spec import OVERRIDES


@pytest.mark.parametrize(
    ("env_id", "sticky", "noop_max", "frame_skip", "cap"),
    [
        ("ALE/Pong-v5", 0.25, 0, 4, 108_000),
        ("PongNoFrameskip-v4", 0.0, 30, 4, 108_000),
        ("PongNoFrameskip-v0", 0.25, 0, 4, 108_000),
        ("PongDeterministic-v4", 0.0, 30, 4, 108_000),
        ("PongDeterministic-v0", 0.25, 0, 4, 108_000),
        ("MinAtar/Breakout-v1", 0.1, 0, 1, 27_000),
        ("CartPole-v1", 0.0, 0, 1, 500),
        ("rlx/Chain-v0", 0.0, 0, 1, None),
        ("rlx/StatelessCartPole-v1", 0.0, 0, 1, 500),
        ("rlx/Recall-v0", 0.0, 0, 1, None),
        ("popgym-RepeatPreviousEasy-v0", 0.0, 0, 1, None),
    ],
)
def test_what_an_id_means(
    env_id: str, sticky: float, noop_max: int, frame_skip: int, cap: int | None
) -> None:
    spec = resolve_env(env_id)
    assert spec.id == env_id
    assert spec.sticky_action_probability == sticky
    assert spec.noop_max == noop_max
    assert spec.frame_skip == spec.frames_per_step == frame_skip
    assert spec.max_episode_frames == cap
    assert not spec.life_loss_terminates
    assert not spec.full_action_space or env_id.endswith("-v0")


@pytest.mark.parametrize("env_id", ["ALE/MsPacman-v5", "MsPacmanNoFrameskip-v4"])
def test_the_atari_front_end(env_id: str) -> None:
    spec = resolve_env(env_id)
    assert (spec.game, spec.frame_stack, spec.frame_size, spec.grayscale) == ("ms_pacman", 4, 84, True)
    assert not spec.full_action_space


def test_minatar_versions_differ_in_the_action_set() -> None:
    assert resolve_env("MinAtar/Breakout-v0").full_action_space
    assert not resolve_env("MinAtar/Breakout-v1").full_action_space


def test_every_override_wins_on_atari() -> None:
    overrides: dict[str, Any] = {
        "noop_max": 7,
        "sticky_action_probability": 0.1,
        "life_loss_terminates": True,
        "max_episode_frames": 18_000,
        "full_action_space": True,
        "frame_skip": 3,
        "frame_stack": 2,
        "frame_size": 96,
        "grayscale": False,
    }
    spec = resolve_env("ALE/Pong-v5", overrides)
    assert {name: getattr(spec, name) for name in overrides} == overrides
    assert set(overrides) | {"env_config"} == set(OVERRIDES)


def test_zero_and_false_override_none_does_not() -> None:
    spec = resolve_env("PongNoFrameskip-v4", {"noop_max": 0, "grayscale": False, "frame_size": None})
    assert (spec.noop_max, spec.grayscale, spec.frame_size) == (0, False, 84)
    assert resolve_env("ALE/Pong-v5", {"sticky_action_probability": 0.0}).sticky_action_probability == 0.0


def test_overrides_may_be_an_object_with_some_of_the_names() -> None:
    section = SimpleNamespace(noop_max=5, frame_stack=None, env_config={}, something_else=1)
    spec = resolve_env("ALE/Pong-v5", section)
    assert (spec.noop_max, spec.frame_stack) == (5, 4)


def test_a_random_frame_skip_is_refused_unless_overridden() -> None:
    with pytest.raises(EnvError, match=r"'Pong-v4' draws its frame skip.*NoFrameskip-v4.*frame_skip"):
        resolve_env("Pong-v4")
    assert resolve_env("Pong-v4", {"frame_skip": 4}).sticky_action_probability == 0.0
    assert resolve_env("Pong-v0", {"frame_skip": 4}).sticky_action_probability == 0.25


@pytest.mark.parametrize(
    ("env_id", "overrides", "message"),
    [
        ("CartPole-v1", {"noop_max": 30}, r"environment\.noop_max = 30 has no meaning for 'CartPole-v1'"),
        ("CartPole-v1", {"frame_size": 84}, r"environment\.frame_size = 84 has no meaning"),
        ("MinAtar/Breakout-v1", {"frame_skip": 4}, r"environment\.frame_skip = 4 has no meaning"),
        ("ALE/Pong-v5", {"env_config": {"mode": 1}}, r"environment\.env_config = .* has no meaning"),
        ("ALE/Pong-v5", {"frame_skp": 4}, r"environment\.frame_skp: unknown key; known: noop_max"),
        ("ALE/Pong-v5", {"frame_skip": 0}, r"environment\.frame_skip = 0 must be at least 1"),
        ("ALE/Pong-v5", {"noop_max": -1}, r"environment\.noop_max = -1 must be at least 0"),
        ("ALE/Pong-v5", {"sticky_action_probability": 1.0}, r"must be in \[0, 1\)"),
    ],
)
def test_what_cannot_be_honoured_is_refused(env_id: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        resolve_env(env_id, overrides)


def test_neutral_values_are_accepted_everywhere() -> None:
    neutral = {"noop_max": 0, "sticky_action_probability": 0.0, "frame_skip": 1, "full_action_space": False}
    assert resolve_env("CartPole-v1", neutral) == resolve_env("CartPole-v1")


def test_fields_that_work_on_every_id() -> None:
    anywhere = {"frame_stack": 3, "max_episode_frames": 50, "life_loss_terminates": True}
    for env_id in ("ALE/Pong-v5", "MinAtar/Breakout-v1", "CartPole-v1"):
        assert not not_applicable(env_id) & set(anywhere)
        spec = resolve_env(env_id, anywhere)
        assert (spec.frame_stack, spec.max_episode_frames) == (3, 50)


@pytest.mark.parametrize(("cap", "steps"), [(400, 100), (401, 101), (3, 1), (4, 1), (5, 2)])
def test_the_cap_in_steps_is_rounded_up(cap: int, steps: int) -> None:
    assert resolve_env("ALE/Pong-v5", {"max_episode_frames": cap}).max_episode_steps == steps
