"""Optimisers of the papers, in forms that a CUDA graph can capture. No Ray here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

if TYPE_CHECKING:
    from rlx.experiment.spec import Training

__all__ = ["OPTIMIZERS", "RMSPropCentered", "make_optimizer", "optimizer_of"]

OPTIMIZERS = ("adam", "rmsprop_centered")
"""Names that `make_optimizer` knows."""


class RMSPropCentered(Optimizer):
    """Centred RMSProp with epsilon inside the root: theta -= lr g / sqrt(E[g^2] - E[g]^2 + epsilon).

    ``torch.optim.RMSprop(centered=True)`` adds epsilon outside the root; with DQN's 0.01 its steps are
    ten times as long where gradients are small. Both averages start at 0 and decay at the same rate.

    Kept are E[g] and the variance itself, by V <- decay (V + (1 - decay) (g - E[g])^2), which equals
    E[g^2] - E[g]^2 at every step and cannot turn negative by rounding when epsilon is tiny (Ape-X: 1.5e-7).

    The step reads no value back and counts nothing, so it may be captured in a CUDA graph; give ``lr`` as a
    tensor on the parameters' device if it has to change between replays.

    Args:
        params: tensors or groups.
        lr: learning rate, a number or a scalar tensor.
        decay: of both running averages.
        epsilon: added to the variance, inside the root.

    Raises:
        ValueError: a number is out of range.

    Source: [Graves2013] section 4.2 (without its momentum); [DQN2015] extended data table 1 (lr 2.5e-4, both
    decays 0.95, epsilon 0.01); [ApeX] appendix on Atari (decay 0.95, epsilon 1.5e-7).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float | Tensor = 2.5e-4,
        decay: float = 0.95,
        epsilon: float = 0.01,
    ) -> None:
        if not isinstance(lr, Tensor) and lr < 0.0:
            raise ValueError(f"lr: {lr} is negative")
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay: {decay} is not in [0, 1)")
        if epsilon <= 0.0:
            raise ValueError(f"epsilon: {epsilon} is not positive")
        super().__init__(params, {"lr": lr, "decay": decay, "epsilon": epsilon})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient.

        Args:
            closure: recomputes the loss, if given.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                means, variances = self._averages(params)
                gradients = [p.grad for p in params]
                _step(params, gradients, means, variances, group["lr"], group["decay"], group["epsilon"])
        return loss

    def _averages(self, params: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        for p in params:
            state = self.state[p]
            if not state:
                state["grad_mean"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                state["grad_variance"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        states = [self.state[p] for p in params]
        return [s["grad_mean"] for s in states], [s["grad_variance"] for s in states]


def _step(
    params: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    variances: list[Tensor],
    lr: float | Tensor,
    decay: float,
    epsilon: float,
) -> None:
    deviations = torch._foreach_sub(gradients, means)
    torch._foreach_addcmul_(variances, deviations, deviations, value=1.0 - decay)
    torch._foreach_mul_(variances, decay)
    torch._foreach_add_(means, deviations, alpha=1.0 - decay)
    scales = torch._foreach_add(variances, epsilon)
    torch._foreach_sqrt_(scales)
    if isinstance(lr, Tensor):
        steps = torch._foreach_div(gradients, scales)
        torch._foreach_mul_(steps, lr)
        torch._foreach_sub_(params, steps)
    else:
        torch._foreach_addcdiv_(params, gradients, scales, value=-lr)


def make_optimizer(
    params: Iterable[Tensor],
    name: Literal["adam", "rmsprop_centered"] | str,
    lr: float,
    *,
    adam_epsilon: float = 1.5e-4,
    rmsprop_decay: float = 0.95,
    rmsprop_epsilon: float = 1.5e-7,
    device: torch.device | str = "cpu",
    capturable: bool = False,
) -> Optimizer:
    """Build the optimiser that a spec names.

    Args:
        params: parameters, already on ``device``.
        name: one of `OPTIMIZERS`.
        lr: learning rate.
        adam_epsilon: added to Adam's root (outside).
        rmsprop_decay: see `RMSPropCentered`.
        rmsprop_epsilon: see `RMSPropCentered`, inside the root.
        device: where the parameters are.
        capturable: the step will be captured in a CUDA graph: ``lr`` becomes a tensor on the device, so that
            ``group["lr"].fill_(x)`` changes it between replays. No effect on a CPU.

    Returns:
        The optimiser; Adam is fused (one pass over memory) on CPU and CUDA.

    Raises:
        ValueError: the name is unknown.

    Source: [Adam] algorithm 1; [Rainbow] table 1 (epsilon 1.5e-4); [ApeX] appendix on Atari.
    """
    device = torch.device(device)
    graph = capturable and device.type == "cuda"
    rate = torch.tensor(lr, dtype=torch.float32, device=device) if graph else lr
    if name == "adam":
        fused = device.type in ("cpu", "cuda")
        return torch.optim.Adam(params, lr=rate, eps=adam_epsilon, fused=fused, capturable=graph)
    if name == "rmsprop_centered":
        return RMSPropCentered(params, lr=rate, decay=rmsprop_decay, epsilon=rmsprop_epsilon)
    raise ValueError(f"optimizer: {name!r} unknown; known: {', '.join(OPTIMIZERS)}")


def optimizer_of(training: Training, params: Iterable[Tensor], device: Any) -> Optimizer:
    """Make the optimiser that the `training` section of an experiment names; see `make_optimizer`."""
    return make_optimizer(
        params,
        training.optimizer,
        lr=training.lr,
        adam_epsilon=training.adam_epsilon,
        rmsprop_decay=training.rmsprop_decay,
        rmsprop_epsilon=training.rmsprop_epsilon,
        device=device,
        capturable=training.update_mode == "cuda_graph",
    )
