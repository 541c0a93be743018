"""How one update runs: eagerly, compiled, or replayed from a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from rlx.learners.staging import Batch

if TYPE_CHECKING:
    from rlx.learners.replay_learner import ReplayLearner

Statistics = dict[str, torch.Tensor]
Update = Callable[[Batch, int], Statistics]


def make_update(learner: ReplayLearner, mode: str) -> Update:
    """Return the update function of a mode: staged batch and replay size -> statistics.

    Statistics hold `priority` (|TD error| `[B]`), `loss`, `grad_norm` and what the loss reports, all
    detached: numbers, or `[2]`, a sum and how many it is over. Modes:

    * `eager`: as written.
    * `compile`: forward pass and loss through `torch.compile`; the optimiser step stays eager.
    * `cuda_graph`: the whole update captured once and replayed; on a CPU the same static buffers are
      used and the update runs eagerly, so that the path can be tested there.
    """
    if mode == "eager":
        return EagerUpdate(learner)
    if mode == "compile":
        return EagerUpdate(learner, forward_loss=torch.compile(learner.forward_loss, dynamic=False))
    if mode == "cuda_graph":
        return GraphedUpdate(learner)
    raise ValueError(f"unknown update_mode {mode!r}; known: eager, compile, cuda_graph")


class EagerUpdate:
    """Prepare, forward, backward, step."""

    def __init__(self, learner: ReplayLearner, forward_loss: Callable[..., Any] | None = None) -> None:
        self.learner = learner
        self.forward_loss = forward_loss or learner.forward_loss

    def __call__(self, batch: Batch, size: int) -> Statistics:
        """Do one update."""
        loss, statistics = self.forward_loss(self.learner.prepare(batch, size))
        statistics["grad_norm"] = self.learner.backward_and_step(loss)
        return statistics


class GraphedUpdate:
    """Replay one captured update on static buffers.

    The first `WARM_UP_UPDATES` calls run eagerly on a side stream, as capture demands; every call is
    a real update of its own batch, the capture itself is not one.
    """

    WARM_UP_UPDATES = 3

    def __init__(self, learner: ReplayLearner) -> None:
        self.learner = learner
        self.eager = EagerUpdate(learner)
        self.cuda = learner.staging.cuda
        self.static: Batch = {}
        self.size = torch.zeros((), device=learner.staging.device)
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.outputs: Statistics = {}

    def _load(self, batch: Batch, size: int) -> None:
        if not self.static:
            self.static = {name: torch.empty_like(tensor) for name, tensor in batch.items()}
        for name, tensor in batch.items():
            self.static[name].copy_(tensor, non_blocking=True)
        self.size.fill_(float(size))

    def __call__(self, batch: Batch, size: int) -> Statistics:
        """Do one update."""
        self._load(batch, size)
        self.calls += 1
        if not self.cuda:
            return self._run()
        if self.graph is None:
            if self.calls <= self.WARM_UP_UPDATES:
                return self._warm_up()
            self._capture()
        assert self.graph is not None
        self.graph.replay()
        return {name: value.clone() for name, value in self.outputs.items()}

    def _run(self) -> Statistics:
        return self.eager(self.static, self.size)  # type: ignore[arg-type]

    def _warm_up(self) -> Statistics:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            statistics = self._run()
        torch.cuda.current_stream().wait_stream(side)
        return statistics

    def _capture(self) -> None:
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = self._run()
