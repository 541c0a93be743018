from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space, Tuple
from gymnasium.utils import EzPickle
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from rlx.envs import EnvError, EnvSpec, VectorEnv, describe_env, make_vector_env, resolve_env
from rlx.envs.toy import Chain, decode_count_frames

Frame = NDArray[Any]


class Recorder(gymnasium.Env[Frame, int]):
    """Record the actions; observe what the test says."""

    action_space = Discrete(3, start=5)
    taken: ClassVar[list[int]] = []

    def __init__(self, low: float = -1.0, dtype: str = "float64") -> None:
        self.observation_space = Box(0 if dtype == "bool" else low, 1, (2,), np.dtype(dtype))  # type: ignore[arg-type]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Frame, dict[str, Any]]:
        return np.ones(2, self.observation_space.dtype), {}

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        self.taken.append(action)
        return np.ones(2, self.observation_space.dtype), 1.5, False, False, {}


class Shows(gymnasium.Env[Any, int]):
    """Observe the given values of the given space in turn."""

    action_space = Discrete(2)

    def __init__(self, space: Space[Any], values: list[Any]) -> None:
        self.observation_space = space
        self.values = list(values)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.values.pop(0), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.values.pop(0), 0.0, not self.values, False, {}


class EzChain(Chain, EzPickle):
    """Pickles its constructor's arguments only."""

    def __init__(self) -> None:
        EzPickle.__init__(self)
        Chain.__init__(self)


class HoldsAFunction(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.function = lambda: None


@pytest.fixture(autouse=True)
def registered() -> Any:
    classes = (Recorder, Shows, EzChain, HoldsAFunction)
    for cls in classes:
        gymnasium.register(f"{cls.__name__}-v0", entry_point=cls)
    yield
    for cls in classes:
        del gymnasium.registry[f"{cls.__name__}-v0"]


def make(env_id: str, num_envs: int = 1, seed: int = 0, **overrides: Any) -> VectorEnv:
    return make_vector_env(resolve_env(env_id, overrides), num_envs, seed)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"])
def test_it_does_what_gymnasiums_own_vector_environment_does(env_id: str) -> None:
    ours = make(env_id, 3, seed=11)
    theirs = SyncVectorEnv([lambda: gymnasium.make(env_id)] * 3, autoreset_mode=AutoresetMode.NEXT_STEP)
    np.testing.assert_array_equal(ours.reset(), theirs.reset(seed=11)[0])
    rng = np.random.default_rng(0)
    overs = 0
    for _ in range(700):
        actions = rng.integers(0, ours.num_actions, 3)
        step = ours.step(actions)
        frames, rewards, terminated, truncated, _ = theirs.step(actions)
        np.testing.assert_array_equal(step.frames, frames)
        np.testing.assert_array_equal(step.rewards, rewards)
        np.testing.assert_array_equal(step.terminated, terminated)
        np.testing.assert_array_equal(step.truncated, truncated)
        np.testing.assert_array_equal(step.over, terminated | truncated)
        overs += int(step.over.sum())
    assert overs >= 3


def balance(frames: NDArray[np.float32]) -> NDArray[np.int64]:
    """Hold CartPole's pole up."""
    return (frames @ np.array([0.02, 0.2, 1.0, 0.5]) > 0).astype(np.int64)


def test_cartpole_is_truncated_at_500_steps() -> None:
    env = make("CartPole-v1", 4, seed=0)
    frames = env.reset()
    for t in range(1, 501):
        step = env.step(balance(frames))
        assert not step.terminated.any()
        assert step.truncated.all() == step.over.all() == (t == 500)
        assert np.abs(step.frames - frames).max() < 1.0
        frames = step.frames
    after = env.step(balance(frames))
    assert np.abs(after.frames).max() <= 0.05, "a start state"
    assert not any(values.any() for values in after[1:])


def test_the_cap_can_be_overridden() -> None:
    env = make("CartPole-v1", max_episode_frames=7)
    frames = env.reset()
    truncated = []
    for _ in range(16):
        step = env.step(balance(frames))
        frames = step.frames
        truncated.append(bool(step.truncated[0]))
    assert [t + 1 for t, cut in enumerate(truncated) if cut] == [7, 15]


def test_termination_at_the_cap_is_a_termination() -> None:
    env = make("rlx/Chain-v0", max_episode_frames=4, env_config={"length": 5})
    env.reset()
    step = [env.step(np.array([1])) for _ in range(4)][-1]
    assert (step.terminated[0], step.truncated[0], step.over[0], step.rewards[0]) == (True, False, True, 1.0)


def test_actions_are_shifted_to_the_spaces_start() -> None:
    Recorder.taken.clear()
    env = make("Recorder-v0", 3)
    env.reset()
    assert env.num_actions == 3
    step = env.step(np.array([0, 2, 1]))
    assert Recorder.taken == [5, 7, 6]
    assert step.rewards.tolist() == [1.5, 1.5, 1.5]


@pytest.mark.parametrize(
    ("given", "stored"), [("float64", "float32"), ("int64", "float32"), ("bool", "uint8"), ("uint8", "uint8")]
)
def test_frame_dtypes(given: str, stored: str) -> None:
    env = make("Recorder-v0", env_config={"dtype": given, "low": 0})
    assert env.frame_dtype == np.dtype(stored)
    assert env.reset().dtype == env.step(np.array([0])).frames.dtype == np.dtype(stored)
    assert env.reset().tolist() == [[1, 1]]


COMPOSED = Dict(
    {
        "b": Discrete(2, start=-1),
        "a": Tuple((Box(0, 255, (2, 2), np.uint8), MultiDiscrete([2, 3], start=[0, 5]))),
    }
)


@pytest.mark.parametrize(
    ("space", "values", "frames"),
    [
        (Discrete(3), [0, 2], [[1, 0, 0], [0, 0, 1]]),
        (Discrete(3, start=5), [5, 7], [[1, 0, 0], [0, 0, 1]]),
        (MultiDiscrete([2, 3]), [np.array([0, 2]), np.array([1, 0])], [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]),
        (Tuple((Discrete(2), Box(-1, 1, (2,)))), [(1, np.array([0.5, -1.0]))] * 2, [[0, 1, 0.5, -1.0]] * 2),
        (
            COMPOSED,
            [{"b": 0, "a": (np.array([[9, 8], [7, 6]], np.uint8), np.array([1, 5]))}] * 2,
            [[9, 8, 7, 6, 0, 1, 1, 0, 0, 0, 1]] * 2,
        ),
    ],
    ids=["discrete", "discrete-start", "multi-discrete", "tuple", "dict"],
)
def test_other_observations_become_vectors(space: Any, values: list[Any], frames: list[Any]) -> None:
    env = make("Shows-v0", env_config={"space": space, "values": values})
    info = describe_env(resolve_env("Shows-v0", {"env_config": {"space": space, "values": values}}))
    seen = [env.reset(), env.step(np.array([0])).frames]
    assert [frame.tolist() for frame in seen] == [[row] for row in frames]
    assert {frame.dtype for frame in seen} == {np.dtype(np.float32)} == {env.frame_dtype, info.frame_dtype}
    assert env.frame_shape == info.frame_shape == (len(frames[0]),)


@pytest.mark.parametrize("env_id", ["Taxi-v3", "Blackjack-v1"])
def test_vectors_are_gymnasiums_flattened_observations(env_id: str) -> None:
    ours = make(env_id, 1, seed=3)
    theirs = gymnasium.wrappers.FlattenObservation(gymnasium.make(env_id))
    np.testing.assert_array_equal(ours.reset()[0], theirs.reset(seed=3)[0])
    over = False
    for action in np.random.default_rng(0).integers(0, ours.num_actions, 60):
        step = ours.step(np.array([action]))
        frame = theirs.reset()[0] if over else theirs.step(action)[0]
        np.testing.assert_array_equal(step.frames[0], frame)
        over = bool(step.over[0])


def test_lives_in_the_info_can_terminate() -> None:
    config = {"lengths": [7], "lives": 3, "steps_per_life": 2}
    env = make("rlx/CountFrames-v0", seed=1, env_config=config, life_loss_terminates=True)
    env.reset()
    steps = [env.step(np.zeros(1, np.int64)) for _ in range(8)]
    # Lives after steps 1..7: 3 2 2 1 1 0 0; the end of the episode at step 7, the reset at 8.
    assert [bool(s.terminated[0]) for s in steps] == [False, True, False, True, False, True, True, False]
    assert [bool(s.over[0]) for s in steps] == [False] * 6 + [True, False]
    without = make("rlx/CountFrames-v0", seed=1, env_config=config)
    without.reset()
    assert not any(without.step(np.zeros(1, np.int64)).terminated[0] for _ in range(6))


def test_wrong_env_config_is_explained() -> None:
    with pytest.raises(
        EnvError, match=r"environment\.env_config \{'lenght': 3\} does not fit 'rlx/Chain-v0'"
    ):
        make("rlx/Chain-v0", env_config={"lenght": 3})


def rollout(env: VectorEnv, actions: NDArray[np.int64]) -> list[tuple[Frame, ...]]:
    return [tuple(env.step(row)) for row in actions]


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "Acrobot-v1", "rlx/CountFrames-v0", "FrozenLake-v1", "Blackjack-v1"]
)
@pytest.mark.parametrize("steps_before", [0, 1, 17, 40])
def test_a_restored_environment_continues_exactly(env_id: str, steps_before: int) -> None:
    spec: EnvSpec = resolve_env(env_id, {"max_episode_frames": 20})
    original = make_vector_env(spec, 3, seed=4)
    original.reset()
    actions = np.random.default_rng(0).integers(0, original.num_actions, (120, 3))
    rollout(original, actions[:steps_before])
    state = original.get_state()
    assert state is not None
    expected = rollout(original, actions[steps_before:])
    restored = make_vector_env(spec, 3, seed=777)
    restored.set_state(state)
    for a, b in zip(expected, rollout(restored, actions[steps_before:]), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_state_taken_between_over_and_reset() -> None:
    env = make("rlx/Chain-v0", env_config={"length": 2})
    env.reset()
    assert env.step(np.array([1])).over[0]
    state = env.get_state()
    assert state is not None
    other = make("rlx/Chain-v0", env_config={"length": 2})
    other.set_state(state)
    step = other.step(np.array([1]))
    assert (step.rewards[0], step.over[0], step.frames.tolist()) == (0.0, False, [[1.0, 0.0]])


@pytest.mark.parametrize("env_id", ["EzChain-v0", "HoldsAFunction-v0"])
def test_what_a_pickle_would_lose_is_not_offered_as_state(env_id: str) -> None:
    env = make(env_id)
    env.reset()
    assert env.get_state() is None


def test_a_state_of_another_number_of_lanes_is_refused() -> None:
    two = make("CartPole-v1", 2)
    two.reset()
    state = two.get_state()
    assert state is not None
    with pytest.raises(ValueError, match="state of 2 environments, but this object has 3"):
        make("CartPole-v1", 3).set_state(state)


def test_lanes_and_episodes_as_count_frames_tells_them() -> None:
    env = make("rlx/CountFrames-v0", 3, seed=10)
    seen = [env.reset()] + [env.step(np.zeros(3, np.int64)).frames for _ in range(12)]
    lane, episode, step = np.moveaxis(decode_count_frames(np.array(seen)), -1, 0)
    assert (lane == [10, 11, 12]).all()
    # Lane 10 starts at lengths[10 % 5] = 1: rows (0, 0), (0, 1), then a length of 2, 3, ...
    assert list(zip(episode[:, 0], step[:, 0], strict=True))[:10] == [
        (0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (2, 3), (3, 0),
    ]  # fmt: skip
