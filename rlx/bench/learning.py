"""How much of a bare torch loop's speed a learner keeps, on the CPU and on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional

from rlx.bench import experiments
from rlx.bench.figure import Context, Device, Figure, Rate, Row, medians, row
from rlx.bench.filled import filled_shard
from rlx.experiment.build import build_config
from rlx.experiment.spec import ExperimentSpec
from rlx.learners.optimizers import optimizer_of
from rlx.learners.q_learner import QLearner
from rlx.networks.q_network import QNetwork, QNetworkConfig

FLOOR = 0.85

Update = Callable[[], Any]


class BareUpdate:
    """A hand-written update of the same network, loss and optimiser, on tensors made beforehand.

    No replay, no importance weights from probabilities, no n-step sums, no priorities, no metrics.

    Args:
        spec: the experiment of the learner that it is held against.
        network: shape of the Q network.
        device: where it runs.
        batch_size: B.
    """

    network_class: type[Any] = QNetwork
    num_batches = 4
    """Batches that the loop turns over, so that it does not learn from its cache."""

    def __init__(
        self, spec: ExperimentSpec, network: QNetworkConfig, device: Device, batch_size: int
    ) -> None:
        training = spec.training
        self.training = training
        self.device = torch.device(device)
        self.online = self.network_class(network).to(self.device)
        self.target = self.network_class(network).to(self.device).requires_grad_(False)
        for module in (self.online, self.target):
            module.to(memory_format=torch.channels_last)
        self.optimizer = optimizer_of(training, self.online.parameters(), self.device)
        self.batches = [self._batch(network, batch_size) for _ in range(self.num_batches)]
        self.calls = 0

    def _batch(self, network: QNetworkConfig, size: int) -> dict[str, torch.Tensor]:
        shape = (size, network.frame_stack, *network.frame_shape)
        batch = {
            "obs": torch.randint(0, 256, shape, dtype=torch.uint8),
            "next_obs": torch.randint(0, 256, shape, dtype=torch.uint8),
            "action": torch.randint(0, network.num_actions, (size, 1)),
            "reward": torch.rand(size),
            "discount": torch.full((size,), self.training.gamma**self.training.n_step),
            "weight": torch.rand(size),
        }
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def update(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Do one update; return |TD error| `[B]`."""
        bf16 = self.training.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            q = self.online(batch["obs"]).q.gather(1, batch["action"]).squeeze(1)
            with torch.no_grad():
                next_q = self.target(batch["next_obs"]).q
                chooser = self.online(batch["next_obs"]).q if self.training.double else next_q
        next_value = next_q.gather(1, chooser.argmax(1, keepdim=True)).squeeze(1)
        wanted = batch["reward"] + batch["discount"] * next_value
        if self.training.loss == "huber":
            losses = functional.huber_loss(q, wanted, reduction="none")
        else:
            losses = 0.5 * (q - wanted).square()
        self.optimizer.zero_grad(set_to_none=True)
        (batch["weight"] * losses).mean().backward()
        if self.training.grad_clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.online.parameters(), self.training.grad_clip_norm)
        self.optimizer.step()
        return (wanted - q).detach().abs()

    def __call__(self) -> None:
        """Update on the next batch."""
        self.update(self.batches[self.calls % self.num_batches])
        self.calls += 1


class GraphedBareUpdate(BareUpdate):
    """The same, captured once in a CUDA graph; every call copies a batch to the graph's and replays it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.static = {name: tensor.clone() for name, tensor in self.batches[0].items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.update(self.static)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.update(self.static)

    def __call__(self) -> None:
        """Replay the update on the next batch."""
        for name, tensor in self.batches[self.calls % self.num_batches].items():
            self.static[name].copy_(tensor, non_blocking=True)
        self.graph.replay()
        self.calls += 1


def make_learner(spec: ExperimentSpec, *, shard: Any) -> QLearner:
    """Build the engine's learner outside of an algorithm and connect it to a shard in this process."""
    config = build_config(spec)
    module_spec = config.get_multi_rl_module_spec(spaces=config.module_spaces())
    learner: QLearner = config.get_default_learner_class()(config=config, module_spec=module_spec)
    learner.build()
    learner.connect([shard])
    return learner


def learner_side(learner: QLearner) -> Rate:
    """Return updates/s of a learner's `learn`: sampling, staging, updating, reporting priorities."""

    def rate(seconds: float) -> float:
        started = time.perf_counter()
        report = learner.learn(1_000_000_000, seconds)
        _synchronize(learner._device)
        return report.updates / (time.perf_counter() - started)

    return rate


def bare_side(update: Update, device: Device) -> Rate:
    """Return updates/s of a bare loop."""

    def rate(seconds: float) -> float:
        started = time.perf_counter()
        updates = 0
        while updates == 0 or time.perf_counter() - started < seconds:
            update()
            updates += 1
            if device == "cuda" and updates % 50 == 0:
                _synchronize(device)  # else the queue of kernels grows and the clock is not theirs
        _synchronize(device)
        return updates / (time.perf_counter() - started)

    return rate


def _synchronize(device: Any) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def _spec(
    context: Context, batch_size: int, update_mode: str = "eager", precision: str = "f32"
) -> ExperimentSpec:
    spec = experiments.learning(batch_size, update_mode=update_mode, precision=precision)
    learners = spec.learners.model_copy(update={"device": context.device, "num_gpus_per_learner": 0.0})
    replay_section = (
        spec.replay.model_copy(update={"capacity": 2000}) if context.budget.quick else spec.replay
    )
    return spec.model_copy(update={"learners": learners, "replay": replay_section})


def _shard(spec: ExperimentSpec) -> Any:
    config = build_config(spec).shard_config(0)
    return filled_shard(replace(config, min_items=1))


def _on_cpu(batch_size: int) -> Callable[[Context], Iterator[Row]]:
    def measure(context: Context) -> Iterator[Row]:
        size = min(batch_size, 16) if context.budget.quick else batch_size
        spec = _spec(context, size)
        learner = make_learner(spec, shard=_shard(spec))
        bare = BareUpdate(spec, learner.config.network_config(), "cpu", size)
        sides = [learner_side(learner), bare_side(bare, "cpu")]
        budget = context.budget if batch_size <= 32 else context.budget.scaled(seconds=2.0)
        ours, limit = medians(sides, budget, context.progress)
        yield row(_name(batch_size), ours, "updates/s", limit=limit, floor=FLOOR)

    return measure


def _name(batch_size: int) -> str:
    return f"learner_updates_per_second_batch_{batch_size}"


#: Name -> update mode, precision, and whether the bare loop it is held against is graphed as well.
GPU_MODES = {
    "gpu_learner_updates_per_second_eager_f32": ("eager", "f32", False),
    "gpu_learner_updates_per_second_eager_bf16": ("eager", "bf16", False),
    "gpu_learner_updates_per_second_compile_bf16": ("compile", "bf16", False),
    "gpu_learner_updates_per_second_graph_f32": ("cuda_graph", "f32", True),
    "gpu_learner_updates_per_second_graph_bf16": ("cuda_graph", "bf16", True),
}


def measure_mode(context: Context, name: str) -> Iterator[Row]:
    """Measure one update mode on the context's device; on a CPU the graphed bare loop runs eagerly."""
    mode, precision, graphed = GPU_MODES[name]
    size = 8 if context.budget.quick else 512
    spec = _spec(context, size, mode, precision)
    learner = make_learner(spec, shard=_shard(spec))
    bare_class = GraphedBareUpdate if graphed and context.device == "cuda" else BareUpdate
    bare = bare_class(spec, learner.config.network_config(), context.device, size)
    sides = [learner_side(learner), bare_side(bare, context.device)]
    if mode == "compile":
        learner.learn(1)  # compiles, which may take longer than a warm-up
    ours, limit = medians(sides, context.budget, context.progress)
    yield row(name, ours, "updates/s", limit=limit)


def _on_gpu(name: str) -> Callable[[Context], Iterator[Row]]:
    return lambda context: measure_mode(context, name)


FIGURES = (
    Figure(_name(32), _on_cpu(32), FLOOR),
    Figure(_name(512), _on_cpu(512), FLOOR),
    *(Figure(name, _on_gpu(name), device="cuda") for name in GPU_MODES),
)
