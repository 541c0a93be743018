"""What sequences of steps need beyond `td.py`: n-step returns of every row, and one priority for them all.

``[B, T]`` here, batch first, as replay stores windows. Nothing branches on data.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlx.losses.shapes import check_shape
from rlx.losses.td import n_step_returns

__all__ = ["SequenceNStep", "learned_rows", "masked_mean", "mixed_priority", "sequence_n_step"]


class SequenceNStep(NamedTuple):
    """What `sequence_n_step` gives for rows 0..m-1 of B windows."""

    returns: Tensor
    """``[B, m]`` float: sum of gamma^k r over the rows used."""
    discounts: Tensor
    """``[B, m]`` float: factor of the bootstrap value, 0 if a terminal step was met."""
    bootstrap_row: Tensor
    """``[B, m]`` int64: the row of the window that is bootstrapped from, in 0..m+n-1."""


def sequence_n_step(
    rewards: Tensor,
    terminated: Tensor,
    acted: Tensor,
    in_episode: Tensor,
    n: int,
    gamma: float | Tensor,
    reward_clip: float | None = None,
) -> SequenceNStep:
    """Form the n-step return of each of the first T - n rows: `td.n_step_returns` started at every row.

    Every row has its n steps unless the episode ends first, since a window brings n rows more than are
    learned.

    Args:
        rewards: ``[B, T]`` float, raw, T > n.
        terminated, acted, in_episode: ``[B, T]`` bool.
        n: steps.
        gamma: discount of one step, a number or ``[B]``.
        reward_clip: clip rewards to +-this before summing; None leaves them.

    Returns:
        Each ``[B, T - n]``. Of rows that are not learned from (`learned_rows`) it means nothing.

    Raises:
        ValueError: a shape differs, or T <= n.

    Source: [R2D2] section 2.3 (n-step targets, n = 5).
    """
    dims = check_shape(rewards, "B T", name="rewards")
    for name, value in (("terminated", terminated), ("acted", acted), ("in_episode", in_episode)):
        check_shape(value, "B T", dims, name=name)
    batch, learned = dims["B"], dims["T"] - n
    if learned < 1 or n < 1:
        raise ValueError(f"rewards: {dims['T']} rows are too few for n = {n}")
    if isinstance(gamma, Tensor):
        gamma = gamma.repeat_interleave(learned)

    def windows(x: Tensor) -> Tensor:
        return x.unfold(1, n + 1, 1).reshape(batch * learned, n + 1)

    found = n_step_returns(
        windows(rewards)[:, :-1],
        windows(terminated)[:, :-1],
        windows(acted),
        windows(in_episode),
        gamma,
        reward_clip,
    )
    returns, discounts, row = (x.view(batch, learned) for x in found)
    return SequenceNStep(returns, discounts, row + torch.arange(learned, device=row.device))


def learned_rows(terminated: Tensor, acted: Tensor, in_episode: Tensor, learned: int) -> Tensor:
    """Tell which of the first rows of a window are steps with a known outcome.

    A row counts if it is of the episode and acted, and is not the last before a seam without having
    terminated.

    Args:
        terminated, acted, in_episode: ``[B, T]`` bool, T > learned.
        learned: m.

    Returns:
        ``[B, m]`` bool.
    """
    rows = in_episode[:, :learned] & acted[:, :learned]
    return rows & (terminated[:, :learned] | in_episode[:, 1 : learned + 1])


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Average all of x where the mask is True; 0 where it is nowhere. Any shape, the same for both."""
    return torch.where(mask, x, 0.0).sum() / mask.sum().clamp(min=1)


def mixed_priority(td_error: Tensor, mask: Tensor, eta: float) -> Tensor:
    """Give p = eta max_t |delta_t| + (1 - eta) mean_t |delta_t| over the rows of the mask.

    Args:
        td_error: ``[B, m]``.
        mask: ``[B, m]`` bool; a sequence without any True gets 0.
        eta: share of the maximum.

    Returns:
        ``[B]``, not negative.

    Raises:
        ValueError: a shape differs.

    Source: [R2D2] section 2.3 (eta = 0.9).
    """
    dims = check_shape(td_error, "B m", name="td_error")
    check_shape(mask, "B m", dims, name="mask")
    size = torch.where(mask, td_error.abs(), 0.0)
    mean = size.sum(1) / mask.sum(1).clamp(min=1)
    return eta * size.amax(1) + (1.0 - eta) * mean
