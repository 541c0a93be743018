"""What every kind of vector environment has in common."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rlx.envs import EnvSpec, EnvStep, VectorEnv, describe_env, make_vector_env, resolve_env

# Short episodes on all of them: by game over, and by the cap.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("ALE/Breakout-v5", {"max_episode_frames": 300, "noop_max": 10, "life_loss_terminates": True}),
    ("MinAtar/Breakout-v1", {"max_episode_frames": 11}),
    ("MinAtar/Seaquest-v0", {}),
    ("CartPole-v1", {"max_episode_frames": 25}),
    ("rlx/CountFrames-v0", {"env_config": {"lives": 3}, "life_loss_terminates": True}),
    ("rlx/StatelessCartPole-v1", {"max_episode_frames": 25}),
    ("rlx/Recall-v0", {"env_config": {"delay": 5}}),
    ("Blackjack-v1", {}),
    ("FrozenLake-v1", {"max_episode_frames": 7}),
    ("popgym-RepeatPreviousEasy-v0", {}),
    ("popgym-NoisyPositionOnlyCartPoleEasy-v0", {"max_episode_frames": 25}),
]


@pytest.fixture(params=CASES, ids=[case[0] for case in CASES])
def spec(request: pytest.FixtureRequest) -> EnvSpec:
    return resolve_env(*request.param)


def play(
    env: VectorEnv, actions: NDArray[np.int64], lane: int | None = None, seed: int | None = None
) -> dict[str, NDArray[Any]]:
    """Reset, take the actions `[T, N]`, stack frames `[T + 1, N, ...]` and the rest `[T, N]`."""
    frames = [env.reset(seed)]
    steps = [env.step(row) for row in actions]
    result: dict[str, NDArray[Any]] = {"frames": np.array(frames + [step.frames for step in steps])}
    for name in EnvStep._fields[1:]:
        result[name] = np.array([getattr(step, name) for step in steps])
    return result if lane is None else {name: values[:, lane : lane + 1] for name, values in result.items()}


def assert_equal(a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]]) -> None:
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def random_actions(spec: EnvSpec, steps: int, lanes: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, describe_env(spec).num_actions, (steps, lanes))


def test_description_agrees_with_the_environment(spec: EnvSpec) -> None:
    info = describe_env(spec)
    env = make_vector_env(spec, 2, seed=0)
    assert isinstance(env, VectorEnv)
    frames = env.reset()
    step = env.step(np.zeros(2, np.int64))
    for name in ("frame_shape", "frame_dtype", "frame_stack", "num_actions", "frames_per_step"):
        assert getattr(env, name) == getattr(info, name), name
    for array in (frames, step.frames):
        assert array.shape == (2, *info.frame_shape)
        assert array.dtype == info.frame_dtype
    assert step.rewards.dtype == np.float32
    assert all(flags.dtype == np.bool_ and flags.shape == (2,) for flags in step[2:])
    assert info.frame_bytes == frames[0].nbytes
    assert info.observation_shape == (spec.frame_stack, *frames.shape[1:])
    env.close()


def test_equal_seeds_and_actions_give_equal_results(spec: EnvSpec) -> None:
    actions = random_actions(spec, 120, 2)
    first = play(make_vector_env(spec, 2, seed=5), actions)
    assert_equal(first, play(make_vector_env(spec, 2, seed=5), actions))
    used = make_vector_env(spec, 2, seed=99)
    play(used, actions[:33])
    assert_equal(first, play(used, actions, seed=5))


def test_a_lane_does_not_depend_on_the_others(spec: EnvSpec) -> None:
    actions = random_actions(spec, 120, 3)
    together = play(make_vector_env(spec, 3, seed=20), actions)
    assert together["over"].any()
    for lane in range(3):
        alone = play(make_vector_env(spec, 1, seed=20 + lane), actions[:, lane : lane + 1])
        assert_equal({k: v[:, lane : lane + 1] for k, v in together.items()}, alone)


def test_flags_and_resets_follow_the_contract(spec: EnvSpec) -> None:
    result = play(make_vector_env(spec, 3, seed=3), random_actions(spec, 120, 3))
    terminated, truncated, over = result["terminated"], result["truncated"], result["over"]
    assert over.any()
    assert not (truncated & ~over).any()
    assert not (over & ~terminated & ~truncated).any()
    if not spec.life_loss_terminates:
        assert not (terminated & ~over).any()
        assert not (terminated & truncated).any()
    after = over[:-1]
    for name in ("terminated", "truncated", "over"):
        assert not (result[name][1:] & after).any(), name
    assert not result["rewards"][1:][after].any()


def test_the_action_after_over_is_ignored(spec: EnvSpec) -> None:
    actions = random_actions(spec, 120, 2)
    result = play(make_vector_env(spec, 2, seed=3), actions)
    changed = actions.copy()
    after = np.zeros_like(result["over"])
    after[1:] = result["over"][:-1]
    assert after.any()
    changed[after] = (changed[after] + 1) % describe_env(spec).num_actions
    assert_equal(result, play(make_vector_env(spec, 2, seed=3), changed))


def test_arrays_stay_as_they_were_handed_out(spec: EnvSpec) -> None:
    env = make_vector_env(spec, 2, seed=0)
    kept: list[tuple[NDArray[Any], NDArray[Any]]] = [(frames := env.reset(), frames.copy())]
    for actions in random_actions(spec, 60, 2):
        step = env.step(actions)
        kept.extend((array, array.copy()) for array in step)
    for array, copy in kept:
        np.testing.assert_array_equal(array, copy)


def test_writing_into_what_was_handed_out_changes_nothing(spec: EnvSpec) -> None:
    actions = random_actions(spec, 120, 2)
    expected = play(make_vector_env(spec, 2, seed=1), actions)
    env = make_vector_env(spec, 2, seed=1)
    env.reset()
    for t, row in enumerate(actions):
        step = env.step(row)
        np.testing.assert_array_equal(step.frames, expected["frames"][t + 1])
        np.testing.assert_array_equal(step.over, expected["over"][t])
        for array in step:
            array[...] = 1


def test_a_reset_without_seed_continues_the_random_streams() -> None:
    env = make_vector_env(resolve_env("CartPole-v1"), 1, seed=0)
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(env.reset(seed=0), first)
    np.testing.assert_array_equal(env.reset(), second)


@pytest.mark.parametrize("arguments", [(0, 0, 1), (1, -1, 1), (1, 0, 0)])
def test_impossible_arguments_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="num_envs and num_threads must be >= 1"):
        make_vector_env(resolve_env("rlx/Chain-v0"), *arguments)
