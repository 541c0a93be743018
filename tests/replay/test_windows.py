from __future__ import annotations

import numpy as np
import pytest

from rlx.replay.windows import WindowSpec, absolute_td, gather_frames, locate, n_step

T, F = True, False


# gamma 0.5, n 3, rewards 1, 2, 4: worked by hand.
@pytest.mark.parametrize(
    ("terminated", "acted", "in_episode", "expected"),
    [
        pytest.param([F, F, F, F], [T, T, T, T], [T, T, T, T], (3.0, 0.125, 3), id="runs on"),
        pytest.param([T, F, F, F], [T, T, T, T], [T, T, T, T], (1.0, 0.0, 1), id="life lost at once"),
        pytest.param([F, F, T, F], [T, T, T, F], [T, T, T, T], (3.0, 0.0, 3), id="over at the last step"),
        pytest.param(
            [F, T, F, F], [T, T, F, F], [T, T, T, F], (2.0, 0.0, 2), id="over, final row, next episode"
        ),
        pytest.param([F, T, F, F], [T, T, F, F], [T, T, F, F], (2.0, 0.0, 2), id="over, then a seam"),
        pytest.param([F, F, F, F], [T, T, F, F], [T, T, T, F], (2.0, 0.25, 2), id="truncated"),
        pytest.param([F, F, F, F], [T, F, F, F], [T, T, F, F], (1.0, 0.5, 1), id="truncated at once"),
        pytest.param([F, F, F, F], [T, T, F, F], [T, T, F, F], (1.0, 0.5, 1), id="seam after two rows"),
        pytest.param([F, F, F, F], [T, T, T, F], [T, T, T, F], (2.0, 0.25, 2), id="seam after three rows"),
    ],
)
def test_n_step_by_hand(
    terminated: list[bool], acted: list[bool], in_episode: list[bool], expected: tuple[float, float, int]
) -> None:
    rewards = np.array([[1.0, 2.0, 4.0, 64.0]], np.float32)
    flags = [np.array([values]) for values in (terminated, acted, in_episode)]
    got = n_step(rewards, *flags, n=3, gamma=0.5)
    assert (got.returns[0], got.discounts[0], got.bootstrap_row[0]) == expected


def test_n_step_equals_the_learners() -> None:
    torch = pytest.importorskip("torch")
    td = pytest.importorskip("rlx.losses.td")
    rng, n, batch = np.random.default_rng(0), 4, 3000
    rewards = rng.normal(size=(batch, n + 1)).astype(np.float32) * 2
    terminated = rng.random((batch, n + 1)) < 0.15
    in_episode = np.logical_and.accumulate(rng.random((batch, n + 1)) < 0.8, axis=1)
    in_episode[:, 0] = True
    acted = in_episode & (rng.random((batch, n + 1)) < 0.85)
    acted[:, 0] = True
    ours = n_step(rewards, terminated, acted, in_episode, n, 0.97, 1.0)
    tensors = [torch.from_numpy(a) for a in (rewards[:, :n], terminated[:, :n], acted, in_episode)]
    theirs = td.n_step_returns(*tensors, 0.97, 1.0)
    np.testing.assert_allclose(ours.returns, theirs.returns.numpy(), atol=1e-5)
    np.testing.assert_allclose(ours.discounts, theirs.discounts.numpy(), atol=1e-6)
    np.testing.assert_array_equal(ours.bootstrap_row, theirs.bootstrap_row.numpy())


def test_n_step_clips_each_reward() -> None:
    rewards = np.array([[5.0, -3.0, 0.25]], np.float32)
    flags = [np.zeros((1, 3), bool), np.ones((1, 3), bool), np.ones((1, 3), bool)]
    assert n_step(rewards, *flags, n=2, gamma=0.5, reward_clip=1.0).returns[0] == 0.5
    assert n_step(rewards, *flags, n=1, gamma=0.5, reward_clip=1.0, start=1).returns[0] == -1.0


@pytest.mark.parametrize(("n", "start"), [(4, 0), (3, 1), (0, 0), (1, -1)])
def test_n_step_needs_its_rows(n: int, start: int) -> None:
    rewards = np.zeros((1, 4), np.float32)
    flags = [np.ones((1, 4), bool)] * 3
    with pytest.raises(ValueError, match="a window of 4 rows"):
        n_step(rewards, *flags, n=n, gamma=0.9, start=start)


def test_absolute_td_mixes_the_learned_steps() -> None:
    # n 1, no discount to speak of: errors are r + 0.5 * q_max[next] - q_taken: 9 (prefix), 1, 3, 2.
    columns = {
        "reward": np.array([[9.0, 1.0, 3.0, 2.0, 0.0]], np.float32),
        "terminated": np.zeros((1, 5), bool),
        "acted": np.ones((1, 5), bool),
        "q_taken": np.array([[0.0, 0.0, 0.0, 0.0, 50.0]], np.float32),
        "q_max": np.zeros((1, 5), np.float32),
    }
    inside = np.ones((1, 5), bool)
    spec = WindowSpec(length=5, prefix=1)
    got = absolute_td(columns, inside, spec, n=1, gamma=0.5, reward_clip=None, eta=0.75)
    assert got[0] == pytest.approx(0.75 * 3.0 + 0.25 * 2.0)


def test_locate_and_gather_across_the_end_of_the_ring() -> None:
    # One lane of 6 slots, rows 4..9 stored (slots 4 5 0 1 2 3); rows 4..6 and 7..9 are two episodes.
    episode_row = np.array([[2, 0, 1, 2, 0, 1]], np.int32)
    raw = np.array([[16], [17], [18], [19], [14], [15]], np.uint8)
    lanes, rows, next_row = np.zeros(3, np.int64), np.array([5, 7, 9]), np.array([10])
    slots, inside = locate(lanes, rows, 3, next_row, episode_row)
    assert inside.tolist() == [[T, T, F], [T, T, T], [T, F, F]]
    assert slots.tolist() == [[5, 0, 1], [1, 2, 3], [3, 4, 5]]
    out = np.full((3, 5, 1), 99, np.uint8)
    gather_frames(raw, lanes, rows, inside, episode_row, out)
    assert out[:, :, 0].tolist() == [[0, 14, 15, 16, 0], [0, 0, 17, 18, 19], [17, 18, 19, 0, 0]]


@pytest.mark.parametrize("wrong", [(1, 1, 0), (3, 0, 0), (3, 1, 2), (3, 1, -1)])
def test_window_specs_that_cannot_work(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="needs length >= 2"):
        WindowSpec(*wrong)
