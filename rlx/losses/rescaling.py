"""The value rescaling h and its inverse, and targets formed under it.

Networks that are trained on unclipped rewards learn h(Q) instead of Q; targets are computed on the real scale
and squashed again. Both directions are written in a form without cancellation, so that float32 is exact to a
few units in the last place for tiny and for huge values alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlx.losses.shapes import check_shape

__all__ = ["RESCALE_EPSILON", "inverse_rescale", "rescale", "rescaled_target"]

RESCALE_EPSILON = 1e-3
"""The epsilon of h.  Source: [R2D2] section 2.3."""


def rescale(x: Tensor, epsilon: float = RESCALE_EPSILON) -> Tensor:
    """Squash values: h(x) = sgn(x) (sqrt(|x| + 1) - 1) + epsilon x.

    Computed as x / (sqrt(|x| + 1) + 1) + epsilon x: the same, without subtracting near-equal numbers.

    Args:
        x: any shape, floating point.
        epsilon: slope kept for large |x|; it makes the inverse Lipschitz continuous.

    Returns:
        h(x), the shape of ``x``.

    Source: [Pohlen2018] section 3.2, proposition A.2; [R2D2] section 2.3.
    """
    return x / (torch.sqrt(torch.abs(x) + 1.0) + 1.0) + epsilon * x


def inverse_rescale(x: Tensor, epsilon: float = RESCALE_EPSILON) -> Tensor:
    """Undo `rescale`: h^-1(x) = sgn(x) (((sqrt(1 + 4 eps (|x| + 1 + eps)) - 1) / (2 eps))^2 - 1).

    With s the inner root, the bracket is (1 + w)^2 - 1 = w (w + 2) for w = 2 |x| / (s + 1 + 2 eps). The
    printed form subtracts near-equal numbers twice, which leaves float32 few right digits at small x; this
    one loses none, and holds for ``epsilon = 0`` too.

    Args:
        x: any shape, floating point: a squashed value.
        epsilon: the epsilon that `rescale` was called with.

    Returns:
        h^-1(x), the shape of ``x``.

    Source: [Pohlen2018] proposition A.2; [R2D2] section 2.3. Differs: same function, rearranged.
    """
    root = torch.sqrt(1.0 + 4.0 * epsilon * (torch.abs(x) + 1.0 + epsilon))
    signed_w = 2.0 * x / (root + 1.0 + 2.0 * epsilon)
    return signed_w * (torch.abs(signed_w) + 2.0)


def rescaled_target(r_t: Tensor, discount_t: Tensor, v_t: Tensor, epsilon: float = RESCALE_EPSILON) -> Tensor:
    """Form the target y = h(R + Gamma h^-1(v)) from an n-step return and a squashed bootstrap value.

    Args:
        r_t: ``[B]``, sum of discounted rewards on the real scale.
        discount_t: ``[B]``, discount of the bootstrap value, 0 after a terminal step.
        v_t: ``[B]``, bootstrap value as the network gives it (squashed).
        epsilon: see `rescale`.

    Returns:
        ``[B]``, squashed targets. Gradients are not stopped here.

    Raises:
        ValueError: a shape differs.

    Source: [R2D2] section 2.3.
    """
    dims = check_shape(r_t, "B", name="r_t")
    check_shape(discount_t, "B", dims, name="discount_t")
    check_shape(v_t, "B", dims, name="v_t")
    return rescale(r_t + discount_t * inverse_rescale(v_t, epsilon), epsilon)
