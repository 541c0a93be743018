"""Sequences: n-step returns of every row, the rows that count, priorities."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlx.losses import sequences, td


def window(rows: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Read a window: `.` an acted step, `T` a terminated one, `f` a final row, `-` outside the episode."""
    terminated = torch.tensor([[c == "T" for c in rows]])
    acted = torch.tensor([[c in ".T" for c in rows]])
    in_episode = torch.tensor([[c != "-" for c in rows]])
    return terminated, acted, in_episode


def test_n_step_returns_by_hand() -> None:
    # Rewards 1, 2, 4, 8, ...; gamma 1/2, n = 2: row 0 is 1 + 2/2, row 1 is 2 + 4/2, row 2 ends after its
    # step.
    terminated, acted, in_episode = window("..Tf--")
    rewards = torch.tensor([[1.0, 2.0, 4.0, 0.0, 0.0, 0.0]])
    found = sequences.sequence_n_step(rewards, terminated, acted, in_episode, 2, 0.5)
    assert found.returns[0, :3].tolist() == [2.0, 4.0, 4.0]
    assert found.discounts[0, :3].tolist() == [0.25, 0.0, 0.0]
    assert found.bootstrap_row[0, 0] == 2


def test_a_truncated_episode_bootstraps_from_its_final_row() -> None:
    terminated, acted, in_episode = window("..f---")
    found = sequences.sequence_n_step(torch.ones(1, 6), terminated, acted, in_episode, 3, 0.5)
    assert found.returns[0, :2].tolist() == [1.5, 1.0]
    assert found.discounts[0, :2].tolist() == [0.25, 0.5]
    assert found.bootstrap_row[0, :2].tolist() == [2, 2]


@given(st.lists(st.sampled_from("..Tf-"), min_size=6, max_size=9), st.integers(1, 4))
def test_every_row_is_as_if_the_window_began_there(rows: list[str], n: int) -> None:
    terminated, acted, in_episode = window("".join(rows))
    rewards = torch.arange(1.0, len(rows) + 1).unsqueeze(0)
    found = sequences.sequence_n_step(rewards, terminated, acted, in_episode, n, 0.9, 3.0)
    for t in range(len(rows) - n):
        part, whole = slice(t, t + n), slice(t, t + n + 1)
        one = td.n_step_returns(
            rewards[:, part], terminated[:, part], acted[:, whole], in_episode[:, whole], 0.9, 3.0
        )
        assert found.returns[0, t] == one.returns[0]
        assert found.discounts[0, t] == one.discounts[0]
        assert found.bootstrap_row[0, t] == one.bootstrap_row[0] + t


@pytest.mark.parametrize(
    ("rows", "learned"),
    [
        ("......", "1111"),
        ("..Tf--", "1110"),
        ("..f---", "1100"),
        ("..----", "1000"),  # a seam: nothing is known of the last step
        (".T----", "1100"),  # ... unless it ended the episode
        ("f-----", "0000"),
    ],
)
def test_which_rows_are_learned(rows: str, learned: str) -> None:
    mask = sequences.learned_rows(*window(rows), 4)
    assert "".join("1" if value else "0" for value in mask[0].tolist()) == learned


def test_priority_of_the_paper() -> None:
    # 0.9 * 3 + 0.1 * 2
    error = torch.tensor([[1.0, -2.0, 3.0, 100.0]])
    mask = torch.tensor([[True, True, True, False]])
    assert sequences.mixed_priority(error, mask, 0.9).item() == pytest.approx(2.9)
    assert sequences.mixed_priority(error, torch.zeros_like(mask), 0.9).item() == 0.0


def test_masked_mean() -> None:
    x = torch.tensor([1.0, 3.0, math.inf])
    assert sequences.masked_mean(x, torch.tensor([True, True, False])).item() == 2.0
    assert sequences.masked_mean(x, torch.zeros(3, dtype=torch.bool)).item() == 0.0


def test_shapes_are_checked() -> None:
    flags = torch.ones(2, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="acted"):
        sequences.sequence_n_step(torch.ones(2, 4), flags, flags[:, :3], flags, 1, 0.9)
    with pytest.raises(ValueError, match="too few"):
        sequences.sequence_n_step(torch.ones(2, 4), flags, flags, flags, 4, 0.9)
    with pytest.raises(ValueError, match="mask"):
        sequences.mixed_priority(torch.ones(2, 4), flags[:1], 0.9)
