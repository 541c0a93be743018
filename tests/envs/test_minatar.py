import logging
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from rlx.envs import EnvError, VectorEnv, describe_env, make_vector_env, resolve_env

minatar = pytest.importorskip("minatar")
GAMES = {"Asterix": 4, "Breakout": 4, "Freeway": 7, "Seaquest": 10, "SpaceInvaders": 6}
"""Game -> channels, as in the MinAtar paper's table of games."""
MINIMAL = {"Asterix": 5, "Breakout": 3, "Freeway": 3, "Seaquest": 6, "SpaceInvaders": 4}


def make(env_id: str, num_envs: int = 1, seed: int = 0, **overrides: Any) -> VectorEnv:
    return make_vector_env(resolve_env(env_id, overrides), num_envs, seed)


@pytest.mark.parametrize("game", GAMES)
def test_shapes_and_action_sets(game: str) -> None:
    for version, actions in ((0, 6), (1, MINIMAL[game])):
        info = describe_env(resolve_env(f"MinAtar/{game}-v{version}"))
        assert info.frame_shape == (10, 10, GAMES[game])
        assert (info.num_actions, info.frame_dtype, info.frame_stack, info.frames_per_step) == (
            actions,
            np.uint8,
            1,
            1,
        )


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("version", [0, 1])
def test_it_plays_as_minatars_own_environment(game: str, version: int) -> None:
    env = make(f"MinAtar/{game}-v{version}", 2, seed=9)
    module = {"SpaceInvaders": "space_invaders"}.get(game, game.lower())
    own = [minatar.Environment(module) for _ in range(2)]
    for i, environment in enumerate(own):
        environment.seed(9 + i)
        environment.reset()
    frames = env.reset()
    action_set = own[0].minimal_action_set() if version == 1 else range(6)
    pending = [False, False]
    rng = np.random.default_rng(0)
    for _ in range(400):
        actions = rng.integers(0, env.num_actions, 2)
        step = env.step(actions)
        for i, environment in enumerate(own):
            reward, ended = 0, False
            if pending[i]:
                environment.reset()
            else:
                reward, ended = environment.act(action_set[actions[i]])
            pending[i] = ended
            np.testing.assert_array_equal(step.frames[i], environment.state())
            assert (step.rewards[i], step.terminated[i], step.over[i]) == (reward, ended, ended)
    assert frames.max() == 1


def test_sticky_actions_default_and_override() -> None:
    """Count the steps at which the paddle does not do what it was told: stay, left, stay, right, ..."""

    def disobeyed(**overrides: Any) -> float:
        env = make("MinAtar/Breakout-v1", 200, **overrides)
        position = env.reset()[:, 9, :, 0].argmax(axis=1)
        wrong = []
        for action, shift in ((0, 0), (1, -1), (0, 0), (2, 1)):
            after = env.step(np.full(200, action)).frames[:, 9, :, 0].argmax(axis=1)
            wrong.append(after - position != shift)
            position = after
        return float(np.mean(wrong[1:]))

    assert disobeyed(sticky_action_probability=0.0) == 0.0
    # About 0.1 for each of 600 steps: 6 standard deviations either way.
    assert 0.03 < disobeyed() < 0.17


def test_the_cap_truncates() -> None:
    assert resolve_env("MinAtar/Freeway-v1").max_episode_frames == 27_000
    env = make("MinAtar/Freeway-v1", 2, max_episode_frames=5)
    env.reset()
    cut = [env.step(np.zeros(2, np.int64)).truncated.tolist() for _ in range(12)]
    assert [t + 1 for t, both in enumerate(cut) if both == [True, True]] == [5, 11]


def test_difficulty_ramping_is_on_unless_switched_off() -> None:
    on = make("MinAtar/SpaceInvaders-v1")
    off = make("MinAtar/SpaceInvaders-v1", env_config={"difficulty_ramping": False})
    for env, ramping in ((on, True), (off, False)):
        env.reset()
        assert env._games[0].env.ramping is ramping  # type: ignore[attr-defined]
    with pytest.raises(EnvError, match="MinAtar takes difficulty_ramping"):
        make("MinAtar/SpaceInvaders-v1", env_config={"ramping": False})


def test_a_reset_with_a_seed_forgets_the_last_action() -> None:
    env = make("MinAtar/Breakout-v1", sticky_action_probability=0.9)
    actions = np.random.default_rng(0).integers(0, 3, (20, 1))

    def play() -> list[list[int]]:
        env.reset(seed=1)
        return [env.step(row).frames.ravel().tolist() for row in actions]

    first = play()
    env.step(np.array([2]))
    assert play() == first


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("steps_before", [0, 33])
def test_a_restored_environment_continues_exactly(game: str, steps_before: int) -> None:
    original = make(f"MinAtar/{game}-v1", 3, seed=2, max_episode_frames=30)
    original.reset()
    actions = np.random.default_rng(0).integers(0, original.num_actions, (150, 3))
    for row in actions[:steps_before]:
        original.step(row)
    state = original.get_state()
    assert state is not None
    restored = make(f"MinAtar/{game}-v1", 3, seed=5, max_episode_frames=30)
    restored.set_state(state)
    for row in actions[steps_before:]:
        for a, b in zip(original.step(row), restored.step(row), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="state of 3 environments, but this object has 2"):
        make(f"MinAtar/{game}-v1", 2).set_state(state)


def test_making_games_leaves_logging_alone() -> None:
    code = (
        "import logging; from rlx.envs import describe_env, resolve_env; "
        "describe_env(resolve_env('MinAtar/Breakout-v1')); "
        "assert not logging.getLogger().handlers; assert logging.root.manager.disable == 0"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert logging.root.manager.disable == 0
