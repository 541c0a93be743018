"""Categorical (C51) value distributions: support, projection, losses.

A distribution is over K fixed atoms v_min = z_0 < ... < z_{K-1} = v_max, equally spaced; a network gives one
logit for each action and atom, ``[B, A, K]``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlx.losses.shapes import check_shape

__all__ = [
    "action_logits",
    "categorical_projection",
    "categorical_target",
    "categorical_td_loss",
    "cross_entropy",
    "expected_values",
    "kl_divergence",
    "support",
]


def support(v_min: float, v_max: float, num_atoms: int, device: torch.device | str | None = None) -> Tensor:
    """Give the atoms z_i = v_min + i (v_max - v_min) / (K - 1).

    Args:
        v_min: smallest return that can be represented.
        v_max: largest, above ``v_min``.
        num_atoms: K, at least 2.
        device: where to put them.

    Returns:
        ``[K]`` float32.

    Raises:
        ValueError: ``v_min >= v_max`` or fewer than 2 atoms.

    Source: [C51] section 4.
    """
    if num_atoms < 2:
        raise ValueError(f"num_atoms: {num_atoms}, needs at least 2")
    if not v_min < v_max:
        raise ValueError(f"v_min: {v_min} is not below v_max {v_max}")
    return torch.linspace(v_min, v_max, num_atoms, dtype=torch.float32, device=device)


def expected_values(logits: Tensor, atoms: Tensor) -> Tensor:
    """Give the mean of each distribution: Q = sum_i z_i softmax(logits)_i.

    Args:
        logits: ``[..., K]``.
        atoms: ``[K]``.

    Returns:
        ``[...]``, for instance ``[B, A]`` from ``[B, A, K]``.

    Raises:
        ValueError: the number of atoms differs.

    Source: [C51] section 4.
    """
    dims = check_shape(atoms, "K", name="atoms")
    check_shape(logits, "... K", dims, name="logits")
    return (torch.softmax(logits, -1) * atoms).sum(-1)


def action_logits(logits: Tensor, a: Tensor) -> Tensor:
    """Pick one action's distribution: out[b] = logits[b, a[b]].

    Args:
        logits: ``[B, A, K]``.
        a: ``[B]``, integers in 0..A-1.

    Returns:
        ``[B, K]``.

    Raises:
        ValueError: a shape differs.
    """
    dims = check_shape(logits, "B A K", name="logits")
    check_shape(a, "B", dims, name="a")
    index = a.long()[:, None, None].expand(-1, 1, dims["K"])
    return logits.gather(1, index).squeeze(1)


def categorical_projection(values: Tensor, probabilities: Tensor, atoms: Tensor) -> Tensor:
    """Move probability mass from arbitrary places to the atoms, splitting it between the two neighbours.

    Each value is clipped to [v_min, v_max]; at distance d (in units of the atoms' spacing) from atom i it
    gives that atom max(0, 1 - d) of its mass. That is the floor/ceil split; it keeps the mass of a value that
    lies on an atom, which splitting by ``ceil(b) - b`` and ``b - floor(b)`` would lose.

    Args:
        values: ``[B, J]``, where the mass is.
        probabilities: ``[B, J]``, how much; rows sum to 1.
        atoms: ``[K]``, equally spaced, ascending.

    Returns:
        ``[B, K]``; rows sum to 1. For ``J = 1`` with probability 1 this is a two-hot encoding.

    Raises:
        ValueError: a shape differs.

    Source: [C51] equation 7.
    """
    dims = check_shape(values, "B J", name="values")
    check_shape(probabilities, "B J", dims, name="probabilities")
    check_shape(atoms, "K", dims, name="atoms")
    last = dims["K"] - 1
    position = ((values - atoms[0]) * (last / (atoms[-1] - atoms[0]))).clamp(0.0, float(last))
    index = torch.arange(dims["K"], dtype=values.dtype, device=values.device)
    share = (1.0 - torch.abs(position[:, None, :] - index[:, None])).clamp_(min=0.0)
    return (share * probabilities[:, None, :]).sum(-1)


def categorical_target(
    r_t: Tensor,
    discount_t: Tensor,
    logits_t: Tensor,
    atoms: Tensor,
    q_selector_t: Tensor | None = None,
) -> Tensor:
    """Project the distribution of R + Gamma Z_t(a*) on the atoms.

    Args:
        r_t: ``[B]``, (n-step) return.
        discount_t: ``[B]``, 0 after a terminal step.
        logits_t: ``[B, A, K]``, distributions of the target network.
        atoms: ``[K]``.
        q_selector_t: ``[B, A]``, mean values of the online network, which choose a* (double Q-learning);
            None: the target network's own means choose.

    Returns:
        ``[B, K]`` probabilities, without gradient.

    Raises:
        ValueError: a shape differs.

    Source: [C51] algorithm 1; [Rainbow] section 3 for the n-step double form.
    """
    dims = check_shape(logits_t, "B A K", name="logits_t")
    check_shape(r_t, "B", dims, name="r_t")
    check_shape(discount_t, "B", dims, name="discount_t")
    check_shape(atoms, "K", dims, name="atoms")
    if q_selector_t is None:
        q_selector_t = expected_values(logits_t, atoms)
    check_shape(q_selector_t, "B A", dims, name="q_selector_t")
    probabilities = torch.softmax(action_logits(logits_t, q_selector_t.argmax(-1)), -1)
    values = r_t[:, None] + discount_t[:, None] * atoms
    return categorical_projection(values, probabilities, atoms).detach()


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Give -sum_i target_i log softmax(logits)_i for each sample.

    Args:
        logits: ``[B, K]``.
        target: ``[B, K]`` probabilities.

    Returns:
        ``[B]``.

    Raises:
        ValueError: a shape differs.

    Source: [C51] algorithm 1, last line.
    """
    dims = check_shape(logits, "B K", name="logits")
    check_shape(target, "B K", dims, name="target")
    return -(target * torch.log_softmax(logits, -1)).sum(-1)


def kl_divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Give KL(target || softmax(logits)): the cross-entropy less the target's own entropy, at least 0.

    Its gradient is the cross-entropy's. As a priority it goes to 0 when the prediction is right, which the
    cross-entropy does not.

    Args:
        logits: ``[B, K]``.
        target: ``[B, K]`` probabilities; a 0 adds nothing.

    Returns:
        ``[B]``.

    Raises:
        ValueError: a shape differs.

    Source: [Rainbow] section 3 (the loss that prioritises).
    """
    entropy = -torch.xlogy(target, target).sum(-1)
    return (cross_entropy(logits, target) - entropy).clamp(min=0.0)


def categorical_td_loss(
    logits_tm1: Tensor,
    a_tm1: Tensor,
    r_t: Tensor,
    discount_t: Tensor,
    logits_t: Tensor,
    atoms: Tensor,
    q_selector_t: Tensor | None = None,
) -> Tensor:
    """Give the cross-entropy of the action taken against the projected (double) target, sample by sample.

    Args:
        logits_tm1: ``[B, A, K]``, distributions of the online network.
        a_tm1: ``[B]``, actions taken.
        r_t: ``[B]``, (n-step) return.
        discount_t: ``[B]``, 0 after a terminal step.
        logits_t: ``[B, A, K]``, distributions of the target network; no gradient goes into them.
        atoms: ``[K]``.
        q_selector_t: see `categorical_target`.

    Returns:
        ``[B]`` losses.

    Raises:
        ValueError: a shape differs.

    Source: [C51] algorithm 1; [Rainbow] section 3.
    """
    target = categorical_target(r_t, discount_t, logits_t, atoms, q_selector_t)
    return cross_entropy(action_logits(logits_tm1, a_tm1), target)
