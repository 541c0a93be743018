"""Temporal-difference targets, errors and losses as functions of tensors.

Time is in the names: ``_tm1`` belongs to the row learned from, ``_t`` to the row bootstrapped from. Nothing
here branches on data, so every function may be compiled or captured in a CUDA graph.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rlx.losses.shapes import check_shape

__all__ = [
    "NStep",
    "action_values",
    "double_q_target",
    "huber",
    "importance_weights",
    "n_step_returns",
    "q_learning_target",
    "squared",
    "take_rows",
    "td_error",
    "weighted_mean",
]


class NStep(NamedTuple):
    """What `n_step_returns` gives for a batch of windows."""

    returns: Tensor
    """``[B]`` float: sum of gamma^k r_k over the rows used."""
    discounts: Tensor
    """``[B]`` float: factor of the bootstrap value, 0 if a terminal step was met."""
    bootstrap_row: Tensor
    """``[B]`` int64 in 0..n: the row whose observation is bootstrapped from. Where the discount is 0 it is
    the row after the terminal one: a row of the window, but not one that need hold anything."""


def n_step_returns(
    rewards: Tensor,
    terminated: Tensor,
    acted: Tensor,
    in_episode: Tensor,
    gamma: float | Tensor,
    reward_clip: float | None = None,
) -> NStep:
    """Sum rewards from row 0 of each window to where the window, the episode or the stream ends.

    From row 0 on, with k the row: if row k is not terminated and row k + 1 is not of the same episode and
    stream (a seam), stop with a bootstrap at row k, discount gamma^k, without r_k. Otherwise add gamma^k r_k;
    stop with discount 0 if row k is terminated; stop with a bootstrap at row k + 1, discount gamma^(k+1), if
    row k + 1 did not act (a final row: the episode was truncated) or k + 1 = n.

    Args:
        rewards: ``[B, n]`` float, raw; more columns than n may not be passed.
        terminated: ``[B, n]`` bool.
        acted: ``[B, n + 1]`` bool; ``acted[:, 0]`` is taken to be True.
        in_episode: ``[B, n + 1]`` bool: row belongs to the episode and stream of row 0.
        gamma: discount of one step, a number or ``[B]`` (one for each window).
        reward_clip: clip rewards to +-this before summing; None leaves them.

    Returns:
        Returns, discounts and bootstrap rows, each ``[B]``. A window that starts at a seam has nothing to
        learn from (return 0, discount 1, row 0); replay creates no such item.

    Raises:
        ValueError: a shape differs.

    Source: [Rainbow] section 2 (multi-step learning) for the sum; docs/design/0001-contracts.md for the ends.
    """
    dims = check_shape(rewards, "B n", name="rewards")
    n = dims["n"]
    dims["n+1"] = n + 1
    check_shape(terminated, "B n", dims, name="terminated")
    check_shape(acted, "B n+1", dims, name="acted")
    check_shape(in_episode, "B n+1", dims, name="in_episode")
    if isinstance(gamma, Tensor):
        check_shape(gamma, "B", dims, name="gamma")
    if reward_clip is not None:
        rewards = rewards.clamp(-reward_clip, reward_clip)

    returns = torch.zeros_like(rewards[:, 0])
    discounts = torch.zeros_like(returns)
    bootstrap_row = torch.zeros_like(returns, dtype=torch.int64)
    factor: Tensor = torch.ones_like(returns)  # gamma^k
    alive = torch.ones_like(terminated[:, 0])
    for k in range(n):
        seam = alive & ~terminated[:, k] & ~in_episode[:, k + 1]
        counted = alive & ~seam
        returns = returns + torch.where(counted, factor * rewards[:, k], 0.0)
        discounts = torch.where(seam, factor, discounts)
        bootstrap_row = torch.where(counted, k + 1, bootstrap_row)
        factor = factor * gamma
        alive = counted & ~terminated[:, k]
        if k + 1 < n:
            final = alive & ~acted[:, k + 1]
            discounts = torch.where(final, factor, discounts)
            alive = alive & acted[:, k + 1]
    return NStep(returns, torch.where(alive, factor, discounts), bootstrap_row)


def take_rows(x: Tensor, row: Tensor) -> Tensor:
    """Pick one row of each window: out[b] = x[b, row[b]].

    Args:
        x: ``[B, L, ...]``.
        row: ``[B]`` int64 in 0..L-1.

    Returns:
        ``[B, ...]``.

    Raises:
        ValueError: a shape differs.
    """
    dims = check_shape(x, "B L ...", name="x")
    check_shape(row, "B", dims, name="row")
    return x[torch.arange(dims["B"], device=x.device), row]


def action_values(q: Tensor, a: Tensor) -> Tensor:
    """Pick the value of one action: out[b] = q[b, a[b]].

    Args:
        q: ``[B, A]`` (or any leading dimensions).
        a: ``[B]``, the same leading dimensions, integers in 0..A-1.

    Returns:
        ``[B]``.

    Raises:
        ValueError: the leading dimensions differ.
    """
    if q.shape[:-1] != a.shape:
        raise ValueError(
            f"a: shape {tuple(a.shape)}, expected {tuple(q.shape[:-1])}, as q without its actions"
        )
    return q.gather(-1, a.long().unsqueeze(-1)).squeeze(-1)


def q_learning_target(r_t: Tensor, discount_t: Tensor, q_t: Tensor) -> Tensor:
    """Form y = R + Gamma max_a q_t(a).

    Args:
        r_t: ``[B]``, (n-step) return.
        discount_t: ``[B]``, 0 after a terminal step.
        q_t: ``[B, A]``, values of the target network.

    Returns:
        ``[B]``. Gradients are not stopped here; `td_error` does that.

    Raises:
        ValueError: a shape differs.

    Source: [DQN2015] Methods, "Algorithm".
    """
    dims = check_shape(q_t, "B A", name="q_t")
    check_shape(r_t, "B", dims, name="r_t")
    check_shape(discount_t, "B", dims, name="discount_t")
    return r_t + discount_t * q_t.amax(-1)


def double_q_target(r_t: Tensor, discount_t: Tensor, q_t: Tensor, q_selector_t: Tensor) -> Tensor:
    """Form y = R + Gamma q_t(argmax_a q_selector_t(a)): the online network selects, the target evaluates.

    Args:
        r_t: ``[B]``, (n-step) return.
        discount_t: ``[B]``, 0 after a terminal step.
        q_t: ``[B, A]``, values of the target network.
        q_selector_t: ``[B, A]``, values of the online network at the same observations.

    Returns:
        ``[B]``. Gradients are not stopped here; `td_error` does that.

    Raises:
        ValueError: a shape differs.

    Source: [DoubleDQN] section "Double DQN".
    """
    dims = check_shape(q_t, "B A", name="q_t")
    check_shape(q_selector_t, "B A", dims, name="q_selector_t")
    check_shape(r_t, "B", dims, name="r_t")
    check_shape(discount_t, "B", dims, name="discount_t")
    return r_t + discount_t * action_values(q_t, q_selector_t.argmax(-1))


def td_error(q_tm1: Tensor, a_tm1: Tensor, target_tm1: Tensor) -> Tensor:
    """Subtract what was predicted for the action taken from its target; the target gets no gradient.

    Args:
        q_tm1: ``[B, A]``, values of the online network.
        a_tm1: ``[B]``, actions taken.
        target_tm1: ``[B]``.

    Returns:
        ``[B]``: target - q(a), positive where the prediction was too low.

    Raises:
        ValueError: a shape differs.

    Source: [DQN2015] Methods, "Algorithm".
    """
    dims = check_shape(q_tm1, "B A", name="q_tm1")
    check_shape(a_tm1, "B", dims, name="a_tm1")
    check_shape(target_tm1, "B", dims, name="target_tm1")
    return target_tm1.detach() - action_values(q_tm1, a_tm1)


def squared(x: Tensor) -> Tensor:
    """Give x^2 / 2, any shape."""
    return 0.5 * x * x


def huber(x: Tensor, delta: float = 1.0) -> Tensor:
    """Give x^2 / 2 where |x| <= delta and delta (|x| - delta / 2) beyond, any shape.

    The gradient is x clipped to +-delta, which is the error clipping of DQN for delta 1.

    Source: [DQN2015] Methods, "Training details" (error term clipped to [-1, 1]).
    """
    size = torch.abs(x)
    inner = size.clamp(max=delta)
    return inner * (size - 0.5 * inner)


def importance_weights(probabilities: Tensor, size: int | Tensor, beta: float | Tensor) -> Tensor:
    """Weigh samples against their oversampling: w = (N P)^-beta, divided by the largest in the batch.

    Args:
        probabilities: ``[B]``, P(i) > 0, with which each sample was drawn.
        size: N, how many items could have been drawn: a number, a scalar tensor, or ``[B]`` where the samples
            come from several shards (N and P then both within the sample's shard). One N for the whole batch
            cancels out.
        beta: 0 = no correction, 1 = full correction (a number or a scalar tensor).

    Returns:
        ``[B]`` in (0, 1], the dtype of ``probabilities``.

    Raises:
        ValueError: a shape differs.

    Source: [PER] section 3.4. Differs: the maximum is over the batch, not over the memory.
    """
    check_shape(probabilities, "B", name="probabilities")
    log_size = torch.log(size.to(probabilities.dtype)) if isinstance(size, Tensor) else math.log(size)
    log_w = -beta * (torch.log(probabilities) + log_size)
    return torch.exp(log_w - log_w.amax())  # logarithms: a tiny P with a large beta does not overflow


def weighted_mean(losses: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average losses over the batch, each times its importance weight: mean_i w_i L_i.

    The divisor is B and not the sum of weights, so down-weighted samples do shrink the step.

    Args:
        losses: ``[B]``.
        weights: ``[B]`` without gradient, or None for all 1.

    Returns:
        A scalar.

    Raises:
        ValueError: a shape differs.

    Source: [PER] algorithm 1, line 13. Differs: mean over the batch where it sums.
    """
    dims = check_shape(losses, "B", name="losses")
    if weights is None:
        return losses.mean()
    check_shape(weights, "B", dims, name="weights")
    return (weights.detach().to(losses.dtype) * losses).mean()
