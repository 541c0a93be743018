from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from rlx.envs import EnvError, VectorEnv, describe_env, make_vector_env, resolve_env
from rlx.envs.memory import Recall, StatelessCartPole, cart_pole_step


def make(env_id: str, num_envs: int = 1, seed: int = 0, **overrides: Any) -> VectorEnv:
    return make_vector_env(resolve_env(env_id, overrides), num_envs, seed)


def balance(state: NDArray[np.float64]) -> NDArray[np.int64]:
    """Hold the pole up, from all four variables."""
    return (state @ np.array([0.02, 0.2, 1.0, 0.5]) > 0).astype(np.int64)


@pytest.mark.parametrize("lanes", [1, 3, 17])
@pytest.mark.parametrize("random_actions", [0.1, 1.0])
def test_it_is_cartpole_without_velocities(lanes: int, random_actions: float) -> None:
    """Same seeds and actions: same rewards, ends, restarts and the two components, to the last bit.

    With few random actions, episodes reach the time limit.
    """
    ours = make("rlx/StatelessCartPole-v1", lanes, seed=11)
    theirs = SyncVectorEnv(
        [lambda: gymnasium.make("CartPole-v1")] * lanes, autoreset_mode=AutoresetMode.NEXT_STEP
    )
    full, _ = theirs.reset(seed=11)
    np.testing.assert_array_equal(ours.reset(), full[:, [0, 2]])
    rng = np.random.default_rng(0)
    terminations = truncations = 0
    for _ in range(1_100):
        actions = np.where(rng.random(lanes) < random_actions, rng.integers(0, 2, lanes), balance(full))
        step = ours.step(actions)
        full, rewards, terminated, truncated, _ = theirs.step(actions)
        np.testing.assert_array_equal(step.frames, full[:, [0, 2]])
        np.testing.assert_array_equal(step.rewards, rewards)
        np.testing.assert_array_equal(step.terminated, terminated)
        np.testing.assert_array_equal(step.truncated, truncated & ~terminated)
        np.testing.assert_array_equal(step.over, terminated | truncated)
        terminations += int(step.terminated.sum())
        truncations += int(step.truncated.sum())
    assert (truncations if random_actions < 1 else terminations) >= lanes


def test_one_step_from_any_state_is_gymnasiums() -> None:
    """Beyond the limits too, left and right of the track, where few episodes come."""
    rng = np.random.default_rng(1)
    states = rng.uniform(-1, 1, (500, 4)) * [2.5, 3.0, 0.25, 3.0]
    actions = rng.integers(0, 2, 500)
    after, rewards, ended = StatelessCartPole().advance(states, np.zeros(500, np.int64), actions)
    own: Any = gymnasium.make("CartPole-v1").unwrapped
    own.reset()
    for i in range(500):
        own.state, own.steps_beyond_terminated = states[i], None
        _, reward, terminated, _, _ = own.step(actions[i])
        np.testing.assert_array_equal(after[i], own.state)
        assert (rewards[i], ended[i]) == (reward, terminated)
    assert {bool((after[ended, 0] > 2.4).any()), bool((after[ended, 0] < -2.4).any())} == {True}


def test_a_push_from_rest_by_hand() -> None:
    """At rest: push = 10 / 1.1, a'' = -push / (0.5 (4/3 - 0.1 / 1.1)), x'' = push - 0.05 a'' / 1.1."""
    after = cart_pole_step(np.zeros((1, 4)), np.array([10.0]))[0]
    push = 10 / 1.1
    angle_acc = -push / (0.5 * (4 / 3 - 0.1 / 1.1))
    expected = [0.0, 0.02 * (push - 0.05 * angle_acc / 1.1), 0.0, 0.02 * angle_acc]
    np.testing.assert_allclose(after, expected, rtol=1e-12)


def test_cartpole_itself_still_shows_velocities() -> None:
    assert describe_env(resolve_env("CartPole-v1")).frame_shape == (4,)
    assert describe_env(resolve_env("rlx/StatelessCartPole-v1")).frame_shape == (2,)


def test_recall_by_hand() -> None:
    """Delay 2, three symbols: frames of one episode, the reward of each answer, the next episode."""
    env = make("rlx/Recall-v0", 3, seed=2, env_config={"delay": 2, "symbols": 3})
    first = env.reset()
    symbols = first[:, :3].argmax(axis=1)
    np.testing.assert_array_equal(first, np.eye(4)[symbols])
    wrong = (symbols + 1) % 3
    waiting = env.step(symbols)
    asked = env.step(wrong)
    ended = env.step(np.array([symbols[0], wrong[1], symbols[2]]))
    assert (waiting.frames == 0).all()
    assert (asked.frames == [0, 0, 0, 1]).all()
    assert (ended.frames == 0).all()
    assert [s.rewards.tolist() for s in (waiting, asked, ended)] == [[0, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert [s.terminated.all() for s in (waiting, asked, ended)] == [False, False, True]
    after = env.step(symbols)
    assert (after.frames[:, :3].sum(axis=1) == 1).all()
    assert not any(values.any() for values in after[1:])


def test_recall_without_delay_asks_at_once() -> None:
    env = make("rlx/Recall-v0", env_config={"delay": 0})
    frame = env.reset()
    assert (frame[0, :4].sum(), frame[0, 4]) == (1, 1)
    step = env.step(frame[:, :4].argmax(axis=1))
    assert (step.rewards[0], step.over[0]) == (1.0, True)


def test_all_symbols_are_equally_likely() -> None:
    env = make("rlx/Recall-v0", 3_000, seed=0)
    counts = env.reset().sum(axis=0)
    # 750 of each are expected, with a standard deviation of 24.
    assert (np.abs(counts[:4] - 750) < 120).all()
    assert counts[4] == 0


@pytest.mark.parametrize(
    ("env_id", "config", "message"),
    [
        ("rlx/Recall-v0", {"delay": -1}, "delay = -1 must be a whole number of at least 0"),
        ("rlx/Recall-v0", {"delay": 2.5}, "delay = 2.5 must be a whole number"),
        ("rlx/Recall-v0", {"symbols": 1}, "symbols = 1 must be a whole number of at least 2"),
        ("rlx/Recall-v0", {"lag": 3}, "unexpected keyword argument 'lag'"),
        ("rlx/StatelessCartPole-v1", {"length": 3}, "takes no arguments"),
    ],
)
def test_wrong_env_config_is_explained(env_id: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=rf"env_config \{{.*\}} does not fit '{env_id}': .*{message}"):
        make(env_id, env_config=config)


def test_advancing_leaves_its_arguments_alone() -> None:
    for task in (StatelessCartPole(), Recall()):
        variables = np.stack([task.start(np.random.default_rng(i)) for i in range(4)])
        before = variables.copy()
        after, _, _ = task.advance(variables, np.zeros(4, np.int64), np.ones(4, np.int64))
        after += 1
        np.testing.assert_array_equal(variables, before)
