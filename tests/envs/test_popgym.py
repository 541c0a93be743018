"""POPGym's tasks as rlx plays them: what docs/environments.md says of them is so."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rlx.envs import VectorEnv, make_vector_env, resolve_env

pytest.importorskip("popgym")

LEVELS = {"Easy": (4, 52), "Medium": (32, 104), "Hard": (64, 156)}
"""Level -> k, cards, of RepeatPrevious."""


def make(env_id: str, num_envs: int = 1, seed: int = 0, **overrides: Any) -> VectorEnv:
    return make_vector_env(resolve_env(env_id, overrides), num_envs, seed)


def episode(env: VectorEnv, answer: Any) -> tuple[list[int], NDArray[np.float32]]:
    """Play one episode with `answer(suits seen so far)`; return the suits and the rewards."""
    suits = [int(env.reset()[0].argmax())]
    rewards = []
    while True:
        step = env.step(np.array([answer(suits)]))
        rewards.append(step.rewards[0])
        suits.append(int(step.frames[0].argmax()))
        assert step.frames[0].sum() == 1.0
        if step.over[0]:
            assert step.terminated[0]
            return suits, np.array(rewards)


@pytest.mark.parametrize("level", LEVELS)
def test_repeat_previous_pays_for_the_suit_k_minus_1_frames_ago(level: str) -> None:
    k, cards = LEVELS[level]
    env = make(f"popgym-RepeatPrevious{level}-v0", seed=5)
    suits, rewards = episode(env, lambda seen: seen[-k] if len(seen) >= k else 0)
    assert len(rewards) == cards - 1
    assert np.bincount(suits).tolist() == [cards // 4] * 4
    np.testing.assert_array_equal(rewards[: k - 1], 0.0)
    np.testing.assert_allclose(rewards[k - 1 :], 1 / (cards - k), rtol=1e-6)
    assert rewards.sum() == pytest.approx(1.0)
    _, wrong = episode(env, lambda seen: (seen[-k] + 1) % 4 if len(seen) >= k else 0)
    assert wrong.sum() == pytest.approx(-1.0)


@pytest.mark.parametrize(("level", "cards"), [("Easy", 52), ("Medium", 416), ("Hard", 832)])
def test_repeat_first_pays_for_the_first_suit(level: str, cards: int) -> None:
    _, rewards = episode(make(f"popgym-RepeatFirst{level}-v0"), lambda seen: seen[0])
    assert len(rewards) == cards - 1
    np.testing.assert_allclose(rewards, 1 / (cards - 1), rtol=1e-6)


@pytest.mark.parametrize(("level", "limit"), [("Easy", 200), ("Medium", 400), ("Hard", 600)])
def test_its_cartpole_pays_a_share_of_the_limit(level: str, limit: int) -> None:
    """And moves as the built-in one."""
    env = make(f"popgym-PositionOnlyCartPole{level}-v0", 1, seed=3)
    built_in = make("rlx/StatelessCartPole-v1", 1, seed=3, max_episode_frames=limit)
    np.testing.assert_array_equal(env.reset(), built_in.reset())
    state: Any = env
    rewards = 0.0
    for t in range(1, limit + 1):
        variables = np.asarray(state._envs[0].unwrapped.state)
        action = np.array([int(variables @ np.array([0.02, 0.2, 1.0, 0.5]) > 0)])
        step, other = env.step(action), built_in.step(action)
        np.testing.assert_array_equal(step.frames, other.frames)
        assert step.rewards[0] == pytest.approx(1 / limit)
        assert step.truncated[0] == other.truncated[0] == (t == limit)
        rewards += float(step.rewards[0])
    assert rewards == pytest.approx(1.0)


@pytest.mark.parametrize(
    "task",
    [
        "RepeatPreviousEasy",
        "AutoencodeEasy",
        "CountRecallEasy",
        "NoisyPositionOnlyCartPoleEasy",
        "MultiarmedBanditEasy",
    ],
)
@pytest.mark.parametrize("steps_before", [0, 30, 51])
def test_a_restored_environment_continues_exactly(task: str, steps_before: int) -> None:
    original = make(f"popgym-{task}-v0", 2, seed=4)
    original.reset()
    actions = np.random.default_rng(0).integers(0, original.num_actions, (300, 2))
    for row in actions[:steps_before]:
        original.step(row)
    state = original.get_state()
    assert state is not None
    restored = make(f"popgym-{task}-v0", 2, seed=777)
    restored.set_state(state)
    for row in actions[steps_before:]:
        for a, b in zip(original.step(row), restored.step(row), strict=True):
            np.testing.assert_array_equal(a, b)
