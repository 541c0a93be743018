import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from rlx.actors.frame_stack import FrameStack


def expected_observation(
    frames: list[NDArray[np.uint8]], first: list[NDArray[np.bool_]], stack: int
) -> NDArray[np.uint8]:
    """The rule, one lane and one frame at a time: the episode's last S frames, zeros before its first."""
    lanes = len(frames[0])
    observation = np.zeros((lanes, stack, *frames[0].shape[1:]), np.uint8)
    for lane in range(lanes):
        for back in range(stack):
            t = len(frames) - 1 - back
            if t < 0:
                break
            observation[lane, stack - 1 - back] = frames[t][lane]
            if first[t][lane]:
                break
    return observation


@given(
    st.integers(1, 5).flatmap(
        lambda lanes: st.tuples(
            st.integers(1, 5),
            st.lists(hnp.arrays(np.bool_, (lanes,)), min_size=1, max_size=15),
        )
    )
)
def test_observations_are_the_last_frames_of_the_episode(case: tuple[int, list[NDArray[np.bool_]]]) -> None:
    stack, first = case
    lanes = len(first[0])
    rng = np.random.default_rng(0)
    frames = [rng.integers(1, 256, (lanes, 2, 3), dtype=np.uint8) for _ in first]
    stacker = FrameStack(lanes, stack, (2, 3), np.uint8)
    for t in range(len(first)):
        observation = stacker.push(frames[t], first[t])
        np.testing.assert_array_equal(
            observation, expected_observation(frames[: t + 1], first[: t + 1], stack)
        )
        assert observation is stacker.observation
        assert observation.flags.c_contiguous


def test_before_any_frame_all_is_zero() -> None:
    stack = FrameStack(2, 4, (3,), np.float32)
    assert stack.observation.shape == (2, 4, 3)
    assert stack.observation.dtype == np.float32
    assert not stack.observation.any()


def test_an_observation_survives_one_push() -> None:
    stack = FrameStack(1, 2, (), np.int64)
    no = np.zeros(1, bool)
    before = stack.push(np.array([1]), no)
    after = stack.push(np.array([2]), no)
    assert (before.tolist(), after.tolist()) == ([[0, 1]], [[1, 2]])


def test_the_pushed_array_is_copied() -> None:
    stack = FrameStack(1, 2, (2,), np.uint8)
    frames = np.array([[1, 2]], np.uint8)
    stack.push(frames, np.array([True]))
    frames[:] = 9
    assert stack.observation.tolist() == [[[0, 0], [1, 2]]]


def test_state_round_trip() -> None:
    stack = FrameStack(2, 3, (2,), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(5):
        stack.push(rng.integers(0, 9, (2, 2), dtype=np.uint8), np.zeros(2, bool))
    state = stack.get_state()
    other = FrameStack(2, 3, (2,), np.uint8)
    other.set_state(state)
    for _ in range(4):
        frames, first = rng.integers(0, 9, (2, 2), dtype=np.uint8), rng.random(2) < 0.3
        np.testing.assert_array_equal(stack.push(frames, first), other.push(frames, first))
    state[:] = 200
    assert not (other.observation == 200).any()


def test_what_does_not_fit_is_refused() -> None:
    stack = FrameStack(2, 3, (4,), np.uint8)
    with pytest.raises(ValueError, match="do not fit a stack"):
        stack.push(np.zeros((2, 5), np.uint8), np.zeros(2, bool))
    with pytest.raises(ValueError, match="do not fit a stack"):
        stack.push(np.zeros((2, 4), np.uint8), np.zeros(1, bool))
    with pytest.raises(ValueError, match="does not fit"):
        stack.set_state(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(ValueError, match="at least 1"):
        FrameStack(0, 1, (), np.uint8)
