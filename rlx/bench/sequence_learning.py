"""How much of a bare torch loop's speed the learner of sequences keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from rlx.bench import experiments
from rlx.bench.figure import Context, Device, Figure, Row, medians, row
from rlx.bench.filled import filled_shard
from rlx.bench.learning import FLOOR, BareUpdate, bare_side, learner_side, make_learner
from rlx.experiment.build import build_config
from rlx.experiment.spec import ExperimentSpec
from rlx.networks.q_network import QNetworkConfig
from rlx.networks.recurrent import RecurrentQNetwork
from rlx.plugins.burn_in import BurnInSettings

#: Sequences of an update on the CPU and on a GPU (the paper's).
CPU_BATCH, GPU_BATCH = 4, 64


class BareSequenceUpdate(BareUpdate):
    """A hand-written update of the same network on tensors made beforehand, time first.

    Burn-in of both networks without gradient, one unroll each, double n-step targets on rescaled values from
    sums of rewards made beforehand. No replay, no stored states, no episode ends, no priorities, no metrics.

    Args:
        spec: the experiment of the learner that it is held against.
        network: shape of the network.
        device: where it runs.
        batch_size: B.
    """

    network_class = RecurrentQNetwork
    num_batches = 2

    def __init__(
        self, spec: ExperimentSpec, network: QNetworkConfig, device: Device, batch_size: int
    ) -> None:
        self.sizes = BurnInSettings.model_validate(spec.plugins["burn_in"])
        super().__init__(spec, network, device, batch_size)

    def _batch(self, network: QNetworkConfig, size: int) -> dict[str, torch.Tensor]:
        learned, n = self.sizes.unroll, self.training.n_step
        rows = (self.sizes.burn_in + learned + n, size)
        batch = {
            "obs": torch.randint(
                0, 256, (*rows, network.frame_stack, *network.frame_shape), dtype=torch.uint8
            ),
            "previous_action": torch.randint(0, network.num_actions, rows),
            "previous_reward": torch.rand(rows),
            "state": torch.randn(2, size, network.lstm_size),
            "action": torch.randint(0, network.num_actions, (learned, size, 1)),
            "returns": torch.rand(learned, size),
            "weight": torch.rand(size),
        }
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def update(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Do one update; return |TD error| `[T, B]`."""
        rows, learned, n = self.sizes.burn_in, self.sizes.unroll, self.training.n_step
        inputs = [batch[name] for name in ("obs", "previous_action", "previous_reward")]
        bf16 = self.training.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            with torch.no_grad():
                before = [x[:rows] for x in inputs]
                _, online_state = self.online(*before, batch["state"])
                _, target_state = self.target(*before, batch["state"])
                next_q = self.target(*(x[rows:] for x in inputs), target_state)[0].q
            q = self.online(*(x[rows:] for x in inputs), online_state)[0].q
        best = q.detach()[n:].argmax(-1, keepdim=True)
        value = _unsquash(next_q[n:].gather(-1, best).squeeze(-1))
        wanted = _squash(batch["returns"] + self.training.gamma**n * value)
        error = wanted - q[:learned].gather(-1, batch["action"]).squeeze(-1)
        self.optimizer.zero_grad(set_to_none=True)
        (batch["weight"] * 0.5 * error.square().sum(0)).mean().backward()
        torch.nn.utils.clip_grad_norm_(self.online.parameters(), self.training.grad_clip_norm or torch.inf)
        self.optimizer.step()
        return error.detach().abs()


def _squash(x: torch.Tensor) -> torch.Tensor:
    return x.sign() * ((x.abs() + 1).sqrt() - 1) + 1e-3 * x


def _unsquash(x: torch.Tensor) -> torch.Tensor:
    return x.sign() * ((((1 + 4e-3 * (x.abs() + 1 + 1e-3)).sqrt() - 1) / 2e-3).square() - 1)


def _measure(
    name: str, device: Device, batch_size: int, mode: str, precision: str, floor: float | None
) -> Callable[[Context], Iterator[Row]]:
    def measure(context: Context) -> Iterator[Row]:
        size = 2 if context.budget.quick else batch_size
        spec = _spec(context, size, mode, precision)
        config = build_config(spec)
        shard = filled_shard(replace(config.shard_config(0), min_items=1))
        learner = make_learner(spec, shard=shard)
        bare = BareSequenceUpdate(spec, config.network_config(), device, size)
        sides = [learner_side(learner), bare_side(bare, device)]
        # An update takes a second on a CPU.
        budget = context.budget.scaled(seconds=3.0) if device == "cpu" else context.budget
        ours, limit = medians(sides, budget, context.progress)
        yield row(name, ours * size, "sequences/s", limit=limit * size, floor=floor)

    return measure


def _spec(context: Context, batch_size: int, mode: str, precision: str) -> ExperimentSpec:
    spec = experiments.sequence_learning(batch_size, update_mode=mode, precision=precision)
    learners = spec.learners.model_copy(update={"device": context.device})
    changes: dict[str, Any] = {"learners": learners}
    if context.budget.quick:
        small = {**spec.plugins["burn_in"], "burn_in": 2, "unroll": 4, "period": 2, "lstm_size": 16}
        changes |= {
            "replay": spec.replay.model_copy(update={"capacity": 2000}),
            "plugins": {"burn_in": small},
        }
    return spec.model_copy(update=changes)


def _figure(name: str, device: Device, batch_size: int, mode: str, precision: str) -> Figure:
    floor = FLOOR if device == "cpu" else None
    return Figure(name, _measure(name, device, batch_size, mode, precision, floor), floor, device=device)


FIGURES = (
    _figure(f"learner_sequences_per_second_batch_{CPU_BATCH}", "cpu", CPU_BATCH, "eager", "f32"),
    _figure("gpu_learner_sequences_per_second_eager_f32", "cuda", GPU_BATCH, "eager", "f32"),
    _figure("gpu_learner_sequences_per_second_eager_bf16", "cuda", GPU_BATCH, "eager", "bf16"),
    _figure("gpu_learner_sequences_per_second_graph_bf16", "cuda", GPU_BATCH, "cuda_graph", "bf16"),
)
