from typing import Any

import numpy as np
import pytest

from rlx.envs import EnvSpec, EnvStep, make_vector_env, resolve_env
from rlx.envs.batched import TASKS, BatchedLanes
from rlx.envs.ids import LATENCY_ID, MEMORY_IDS

OVERRIDES: dict[str, dict[str, Any]] = {
    "rlx/StatelessCartPole-v1": {"max_episode_frames": 15},
    "rlx/Recall-v0": {"env_config": {"delay": 3}},
    "rlx/FixedLatency-v0": {"env_config": {"length": 5}},
}


@pytest.fixture(params=list(OVERRIDES))
def spec(request: pytest.FixtureRequest) -> EnvSpec:
    return resolve_env(request.param, OVERRIDES[request.param])


def test_every_built_in_id_has_rules() -> None:
    assert set(TASKS) == {*MEMORY_IDS, LATENCY_ID} == set(OVERRIDES)
    for env_id in TASKS:
        assert isinstance(make_vector_env(resolve_env(env_id), 1, 0), BatchedLanes)


def rollout(env: BatchedLanes, actions: np.ndarray) -> list[EnvStep]:
    return [env.step(row) for row in actions]


@pytest.mark.parametrize("steps_before", [0, 1, 4, 15, 16, 47])
def test_a_restored_environment_continues_exactly(spec: EnvSpec, steps_before: int) -> None:
    """Also between `over` and the reset, and through many resets after it."""
    original = BatchedLanes(spec, 3, seed=4)
    original.reset()
    actions = np.random.default_rng(0).integers(0, original.num_actions, (150, 3))
    rollout(original, actions[:steps_before])
    state = original.get_state()
    expected = rollout(original, actions[steps_before:])
    assert sum(int(step.over.sum()) for step in expected) > 10
    restored = BatchedLanes(spec, 3, seed=777)
    restored.set_state(state)
    for a, b in zip(expected, rollout(restored, actions[steps_before:]), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_state_taken_before_the_first_reset_has_the_seed(spec: EnvSpec) -> None:
    other = BatchedLanes(spec, 2, seed=9)
    other.set_state(BatchedLanes(spec, 2, seed=1).get_state())
    np.testing.assert_array_equal(other.reset(), BatchedLanes(spec, 2, seed=1).reset())


def test_a_state_of_another_number_of_lanes_is_refused(spec: EnvSpec) -> None:
    state = BatchedLanes(spec, 2, seed=0).get_state()
    with pytest.raises(ValueError, match="state of 2 environments, but this object has 3"):
        BatchedLanes(spec, 3, seed=0).set_state(state)


def test_a_reset_without_seed_continues_the_random_streams(spec: EnvSpec) -> None:
    env = BatchedLanes(spec, 8, seed=0)
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(env.reset(seed=0), first)
    np.testing.assert_array_equal(env.reset(), second)


def test_the_global_generator_is_irrelevant(spec: EnvSpec) -> None:
    np.random.seed(1)  # noqa: NPY002
    first = BatchedLanes(spec, 2, seed=0).reset()
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(BatchedLanes(spec, 2, seed=0).reset(), first)


def test_termination_at_the_cap_is_a_termination() -> None:
    env = BatchedLanes(
        resolve_env("rlx/Recall-v0", {"max_episode_frames": 4, "env_config": {"delay": 3}}), 1, seed=0
    )
    env.reset()
    step = rollout(env, np.zeros((4, 1), np.int64))[-1]
    assert (step.terminated[0], step.truncated[0], step.over[0]) == (True, False, True)


def test_the_cap_truncates_again_and_again() -> None:
    env = BatchedLanes(
        resolve_env("rlx/Recall-v0", {"max_episode_frames": 3, "env_config": {"delay": 9}}), 2, seed=0
    )
    env.reset()
    steps = rollout(env, np.zeros((12, 2), np.int64))
    assert [t + 1 for t, step in enumerate(steps) if step.truncated.all()] == [3, 7, 11]
    assert not any(step.terminated.any() for step in steps)
