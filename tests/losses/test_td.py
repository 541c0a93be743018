import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlx.losses import td
from rlx.replay import windows as replay_windows
from tests.losses.golden import close, golden
from tests.reference_impl import td_twin


def as_windows(rows: dict[str, list], starts: list[int], n: int) -> dict[str, torch.Tensor]:
    """Cut windows of n + 1 rows; rows past the stream's end hold garbage that must not matter."""
    pad = n + 1
    reward = np.array(rows["reward"] + [1e9] * pad, np.float32)
    terminated = np.array(rows["terminated"] + [True, False] * pad)[: len(reward)]
    acted = np.array(rows["acted"] + [False, True] * pad)[: len(reward)]
    episode = np.array(rows["episode"] + [-1] * pad)
    index = np.array(starts)[:, None] + np.arange(n + 1)
    return {
        "rewards": torch.from_numpy(reward[index[:, :n]]),
        "terminated": torch.from_numpy(terminated[index[:, :n]]),
        "acted": torch.from_numpy(acted[index]),
        "in_episode": torch.from_numpy(episode[index] == episode[index[:, :1]]),
    }


def learnable_starts(stream: list[td_twin.Episode]) -> list[tuple[int, td_twin.Episode, int]]:
    """List (row, episode, step) of all steps that there is something to learn from."""
    starts, row = [], 0
    for episode in stream:
        steps = len(episode.rewards)
        for step in range(steps):
            lost = episode.end == "seam" and step == steps - 1 and not episode.life_lost[step]
            if not lost:
                starts.append((row + step, episode, step))
        row += steps + (episode.end != "seam")
    return starts


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 7),
    gamma=st.sampled_from([0.9, 0.99, 1.0]),
    clip=st.sampled_from([None, 1.0]),
)
def test_n_step_returns_equal_the_twin(seed, n, gamma, clip):
    stream = td_twin.random_stream(random.Random(seed), episodes=8, max_steps=6)
    starts = learnable_starts(stream)
    if not starts:
        return
    windows = as_windows(td_twin.rows_of(stream), [row for row, _, _ in starts], n)
    actual = td.n_step_returns(**windows, gamma=gamma, reward_clip=clip)
    expected = [td_twin.n_step(episode, step, n, gamma, clip) for _, episode, step in starts]
    returns, discounts, rows = (torch.tensor(column) for column in zip(*expected, strict=True))
    close(actual.returns, returns.float())
    close(actual.discounts, discounts.float())
    assert actual.bootstrap_row.dtype == torch.int64
    assert actual.bootstrap_row.tolist() == rows.tolist()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 5), clip=st.sampled_from([None, 1.0]))
def test_n_step_returns_equal_the_replay_s(seed, n, clip):
    """Arrival priorities and the learner use one rule, written twice."""
    stream = td_twin.random_stream(random.Random(seed), episodes=6, max_steps=6)
    starts = [row for row, _, _ in learnable_starts(stream)]
    if not starts:
        return
    windows = as_windows(td_twin.rows_of(stream), starts, n)
    actual = td.n_step_returns(**windows, gamma=0.97, reward_clip=clip)
    last = torch.zeros(len(starts), 1)
    expected = replay_windows.n_step(
        torch.cat([windows["rewards"], last], 1).numpy(),
        torch.cat([windows["terminated"], last.bool()], 1).numpy(),
        windows["acted"].numpy(),
        windows["in_episode"].numpy(),
        n=n,
        gamma=0.97,
        reward_clip=clip,
    )
    close(actual.returns, torch.from_numpy(expected.returns))
    close(actual.discounts, torch.from_numpy(expected.discounts))
    assert torch.equal(actual.bootstrap_row, torch.from_numpy(expected.bootstrap_row))


def window(terminated, acted, in_episode, rewards=(1.0, 10.0, 100.0)):
    """Make a batch of one window with n = 3 from 0/1 lists."""
    as_bool = [torch.tensor([x], dtype=torch.bool) for x in (terminated, acted, in_episode)]
    return torch.tensor([rewards]), *as_bool


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (([0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]), (1 + 5 + 25, 0.125, 3)),  # nothing happens: row n
        (([0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]), (1 + 5 + 25, 0.125, 3)),  # truncated just at n
        (([0, 0, 0], [1, 1, 0, 1], [1, 1, 1, 0]), (1 + 5, 0.25, 2)),  # truncated: the final row
        (([0, 1, 0], [1, 1, 0, 1], [1, 1, 1, 0]), (1 + 5, 0.0, 2)),  # game over
        (([0, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]), (1 + 5, 0.0, 2)),  # a life lost, the game goes on
        (([0, 0, 1], [1, 1, 1, 0], [1, 1, 1, 1]), (1 + 5 + 25, 0.0, 3)),  # game over at the last row
        (([0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]), (1, 0.5, 1)),  # seam: r_1 is not used, row 1 is
        (([0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]), (1 + 5, 0.25, 2)),  # seam before row n
        (([0, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]), (1 + 5, 0.0, 2)),  # terminated just before a seam
        (([1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]), (1, 0.0, 1)),  # flags after the end do not matter
    ],
)
def test_n_step_ends_by_hand(case, expected):
    actual = td.n_step_returns(*window(*case), gamma=0.5)
    assert (actual.returns.item(), actual.discounts.item(), actual.bootstrap_row.item()) == expected


def test_n_step_takes_one_discount_for_each_window_and_clips_rewards():
    rewards, terminated, acted, in_episode = window([0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], (-3.0, 0.5, 7.0))
    two = [x.expand(2, -1) for x in (rewards, terminated, acted, in_episode)]
    actual = td.n_step_returns(*two, gamma=torch.tensor([0.5, 1.0]), reward_clip=1.0)
    assert actual.returns.tolist() == [-1 + 0.25 + 0.25, -1 + 0.5 + 1]
    assert actual.discounts.tolist() == [0.125, 1.0]


def test_n_step_garbage_rewards_after_the_end_do_not_spread():
    case = window([1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], (1.0, math.nan, math.inf))
    assert td.n_step_returns(*case, gamma=0.5).returns.item() == 1.0


@pytest.mark.parametrize("n", [1, 3, 5])
def test_n_step_targets_equal_rlax(n):
    x = golden("n_step")
    steps = len(x["r_t"])
    terminated = x["terminated"].tolist()
    rows = {
        "reward": [*x["r_t"].tolist(), 0.0],
        "terminated": [*terminated, False],
        "acted": [True] * steps + [False],  # the sequence is cut at its end: a truncation
        "episode": [0] * (steps + 1),
    }
    out = td.n_step_returns(**as_windows(rows, list(range(steps)), n), gamma=x["gamma"].item())
    v_t = x["v_t"][torch.arange(steps) + out.bootstrap_row - 1]
    close(out.returns + out.discounts * v_t, x[f"n_step_{n}"])


def test_n_step_refuses_windows_that_are_too_long():
    rewards, terminated, acted, in_episode = window([0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1])
    with pytest.raises(ValueError, match="acted"):
        td.n_step_returns(rewards, terminated, acted[:, :3], in_episode, 0.9)
    with pytest.raises(ValueError, match="terminated"):
        td.n_step_returns(rewards[:, :2], terminated, acted[:, :3], in_episode[:, :3], 0.9)


def test_take_rows_picks_one_row_of_each_window():
    x = torch.arange(24).view(2, 4, 3)
    assert td.take_rows(x, torch.tensor([3, 1])).tolist() == [[9, 10, 11], [15, 16, 17]]


def test_td_errors_equal_rlax():
    x = golden("td")
    target = td.q_learning_target(x["r_t"], x["discount_t"], x["q_t"])
    close(td.td_error(x["q_tm1"], x["a_tm1"], target), x["q_learning"])
    target = td.double_q_target(x["r_t"], x["discount_t"], x["q_t"], x["q_selector_t"])
    close(td.td_error(x["q_tm1"], x["a_tm1"], target), x["double_q_learning"])


def test_no_gradient_enters_the_target():
    q_tm1 = torch.randn(3, 2, requires_grad=True)
    q_t = torch.randn(3, 2, requires_grad=True)
    a_tm1 = torch.tensor([0, 1, 0])
    target = td.double_q_target(torch.ones(3), torch.full((3,), 0.9), q_t, q_t)
    td.td_error(q_tm1, a_tm1, target).sum().backward()
    assert q_t.grad is None
    assert q_tm1.grad.tolist() == [[-1, 0], [0, -1], [-1, 0]]


@pytest.mark.parametrize("delta", [1.0, 0.5])
def test_huber_equals_rlax(delta):
    x = golden("scalar")
    close(td.huber(x["x"], delta), x[f"huber_{delta:g}"])


def test_huber_gradient_is_the_clipped_error():
    x = torch.tensor([-7.0, -1.0, -0.3, 0.0, 0.4, 1.0, 5.0], requires_grad=True)
    td.huber(x).sum().backward()
    close(x.grad, x.detach().clamp(-1, 1))


def test_squared_is_half_the_square():
    assert td.squared(torch.tensor([-3.0, 2.0])).tolist() == [4.5, 2.0]


def test_importance_weights_by_hand():
    p = torch.tensor([0.5, 0.125, 0.25], dtype=torch.float64)
    # (N P)^-0.5 with N = 2: 1, 2, sqrt 2; divided by 2.
    expected = torch.tensor([0.5, 1.0, math.sqrt(0.5)], dtype=torch.float64)
    for size in (2, torch.tensor(2)):
        torch.testing.assert_close(td.importance_weights(p, size, 0.5), expected)


def test_importance_weights_of_several_shards():
    p = torch.tensor([0.1, 0.1])
    close(td.importance_weights(p, torch.tensor([10, 40]), 1.0), torch.tensor([1.0, 0.25]))


@given(
    st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=20),
    st.integers(1, 10_000_000),
    st.floats(0, 1),
)
def test_importance_weights_are_in_0_1_and_largest_for_the_rarest(probabilities, size, beta):
    p = torch.tensor(probabilities, dtype=torch.float64)
    w = td.importance_weights(p, size, beta)
    assert ((w > 0) & (w <= 1)).all()
    assert w[p.argmin()] == 1


def test_weighted_mean_divides_by_the_batch_size_and_stops_at_the_weights():
    losses = torch.tensor([1.0, 3.0], requires_grad=True)
    weights = torch.tensor([1.0, 0.5], requires_grad=True)
    loss = td.weighted_mean(losses, weights)
    loss.backward()
    assert loss.item() == 1.25
    assert losses.grad.tolist() == [0.5, 0.25]
    assert weights.grad is None
    assert td.weighted_mean(losses).item() == 2.0


def test_shapes_that_would_broadcast_are_refused():
    q, column = torch.zeros(4, 2), torch.zeros(4, 1)
    with pytest.raises(ValueError, match="r_t"):
        td.q_learning_target(column, torch.zeros(4), q)
    with pytest.raises(ValueError, match="target_tm1"):
        td.td_error(q, torch.zeros(4, dtype=torch.long), column)
    with pytest.raises(ValueError, match="weights"):
        td.weighted_mean(torch.zeros(4), column)
    with pytest.raises(ValueError, match="a: shape"):
        td.action_values(q, torch.zeros(4, 1, dtype=torch.long))
