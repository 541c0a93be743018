"""Estimate the memory of a run before it starts.

Bytes follow from the spec and the shape of the environment; process sizes are measured constants. Replay is
the largest part by far and is exact up to the rows that end episodes; the rest is rough.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rlx.experiment.convolutions import conv_layers
from rlx.experiment.problems import Location, Problem
from rlx.experiment.spec import ExperimentSpec

# Columns of a row besides the frame: action, reward, q_taken, q_max (4 bytes each), four flags, and what the
# shard keeps itself (place in the episode, state of the item, version of the weights, age).
_ROW_BYTES = 4 * 4 + 4 + 21

# Private memory of a process, measured with Ray 2.60 and torch 2.13 on Linux (USS, after import): with RLlib
# 394 MB, with Ray and torch 264 MB; one Atari environment 1.5 MB. Rounded up for what runs in them.
_RLLIB_PROCESS_BYTES = 450_000_000
_SHARD_PROCESS_BYTES = 300_000_000
_ENVIRONMENT_BYTES = 2_000_000
# Frames of Atari games that replay compresses are at least so many times smaller; most are far more.
_LZ4_RATIO = 4
# Previous action and reward, and the place of a state.
_RECURRENT_ROW_BYTES = 12
# Ray's own daemons: GCS, raylet, agents.
_RAY_BYTES = 500_000_000

# Online network, target network, gradients, and two running means of the optimiser.
_COPIES_OF_PARAMETERS = 5


@dataclass(frozen=True)
class EnvShape:
    """What memory depends on, of an environment.

    Attributes:
        frame_shape: one observation without stacking, e.g. (84, 84).
        dtype_bytes: bytes of one number in it (1 for uint8, 4 for float32).
        frame_stack: frames in one observation.
        num_actions: discrete actions.
    """

    frame_shape: tuple[int, ...]
    dtype_bytes: int
    frame_stack: int
    num_actions: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return math.prod(self.frame_shape) * self.dtype_bytes


@dataclass(frozen=True)
class SequenceShape:
    """What memory depends on, of an algorithm that learns sequences with a recurrent network.

    Attributes:
        length: rows of a window.
        period: rows between the starts of two windows.
        states: recurrent states kept for each window.
        lstm_size: units of the LSTM, 0 for none.
        lstm_input_size: units of the layer in front of it, 0 for none.
    """

    length: int
    period: int
    states: int
    lstm_size: int
    lstm_input_size: int

    @classmethod
    def of(cls, sequences: Any, network: Mapping[str, Any]) -> SequenceShape | None:
        """Return the shape of a plugin's sequences and what it decides of the network; None for None."""
        if sequences is None:
            return None
        return cls(
            length=sequences.length,
            period=sequences.period,
            states=len(sequences.state_offsets),
            lstm_size=network.get("lstm_size", 0),
            lstm_input_size=network.get("lstm_input_size", 0),
        )


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by part.

    Attributes:
        parts: name of a part -> bytes.
    """

    parts: dict[str, int]

    @property
    def total(self) -> int:
        """All parts together, in bytes."""
        return sum(self.parts.values())

    def table(self) -> str:
        """Return one line per part, aligned, and the sum."""
        rows = [*self.parts.items(), ("total", self.total)]
        return "\n".join(f"{name:<13} {format_bytes(count):>9}" for name, count in rows)


@dataclass(frozen=True)
class PartSizes:
    """Bytes of each part of a run, to say on which node of a cluster it can live.

    Attributes:
        driver: the run's own process, with every part that has no process of its own.
        learner, shard, runner: one of them, with its process; 0 if the driver holds it.
        daemons: Ray's own processes on a node.
        row: one row of a block, on its way from a runner to its shard.
        batch: the windows of one update, over all learners.
        weights: the acting network.
    """

    driver: int
    learner: int
    shard: int
    runner: int
    daemons: int
    row: int
    batch: int
    weights: int


def part_sizes(spec: ExperimentSpec, shape: EnvShape, sequences: SequenceShape | None = None) -> PartSizes:
    """Return what each part of a run takes; the object stores of the nodes are not in it.

    Args:
        spec: a resolved spec.
        shape: of its environment.
        sequences: of its windows, where a plugin makes it learn from sequences.
    """
    runners, learners, shards = (
        spec.env_runners.num_env_runners,
        spec.learners.num_learners,
        spec.replay.num_shards,
    )
    learner = learner_bytes(spec, shape, sequences)
    replay = replay_bytes(spec, shape, sequences)
    runner = _runner_bytes(spec, shape, sequences)
    driver = _RLLIB_PROCESS_BYTES + spec.evaluation.num_envs * _ENVIRONMENT_BYTES
    driver += (0 if learners else learner) + (0 if shards else replay) + (0 if runners else runner)
    return PartSizes(
        driver=driver,
        learner=learner + _RLLIB_PROCESS_BYTES if learners else 0,
        shard=replay // shards + _SHARD_PROCESS_BYTES if shards else 0,
        runner=runner + _RLLIB_PROCESS_BYTES if runners else 0,
        daemons=_RAY_BYTES,
        row=shape.frame_bytes + _ROW_BYTES + _extra_row_bytes(sequences),
        batch=_batch_bytes(spec, shape, sequences),
        weights=4 * num_parameters(spec, shape, sequences),
    )


def estimate(spec: ExperimentSpec, shape: EnvShape, sequences: SequenceShape | None = None) -> MemoryEstimate:
    """Estimate the memory of one run, over all its processes.

    Args:
        spec: a resolved spec.
        shape: of its environment.
        sequences: of its windows, where a plugin makes it learn from sequences.
    """
    return MemoryEstimate(
        {
            "replay": replay_bytes(spec, shape, sequences),
            "object store": object_store_bytes(spec, shape, sequences),
            "learners": max(1, spec.learners.num_learners) * learner_bytes(spec, shape, sequences),
            "runners": _runners_bytes(spec, shape, sequences),
            "processes": _processes_bytes(spec),
        }
    )


def replay_bytes(spec: ExperimentSpec, shape: EnvShape, sequences: SequenceShape | None = None) -> int:
    """Return the bytes of all shards: rows, the sum tree over them, and recurrent states."""
    rows = spec.replay.capacity
    shards = max(1, spec.replay.num_shards)
    leaves = 1 << math.ceil(math.log2(max(2, rows / shards)))
    # Numbers other than bytes of pictures hardly get smaller.
    packs = spec.replay.compression == "lz4" and shape.dtype_bytes == 1 and len(shape.frame_shape) > 1
    frame = shape.frame_bytes // (_LZ4_RATIO if packs else 1)
    states = 0
    if sequences is not None:
        rows_with_state = rows * min(sequences.period, sequences.states) // sequences.period
        # The pool of states grows by half of what it has.
        states = rows_with_state * _state_bytes(sequences) * 3 // 2 + rows * _RECURRENT_ROW_BYTES
    return rows * (frame + _ROW_BYTES) + shards * 2 * leaves * 8 + states


def object_store_bytes(spec: ExperimentSpec, shape: EnvShape, sequences: SequenceShape | None = None) -> int:
    """Return the bytes of blocks, batches and weights between processes; or Ray's size if it is given."""
    if spec.resources.object_store_memory_bytes is not None:
        return spec.resources.object_store_memory_bytes
    runners, learners = spec.env_runners, max(1, spec.learners.num_learners)
    remote = runners.num_env_runners or spec.replay.num_shards or spec.learners.num_learners
    if not remote:
        return 0
    rows = runners.num_envs_per_env_runner * (runners.rollout_length_env_steps + 1)
    row = shape.frame_bytes + _ROW_BYTES + _extra_row_bytes(sequences)
    blocks = runners.num_env_runners * runners.max_requests_in_flight * rows * row
    batches = (spec.learners.prefetch_batches + learners) * _batch_bytes(spec, shape, sequences)
    return blocks + batches + 2 * 4 * num_parameters(spec, shape, sequences)


def learner_bytes(spec: ExperimentSpec, shape: EnvShape, sequences: SequenceShape | None = None) -> int:
    """Return the bytes of one learner: parameters with all their copies, and activations of one batch."""
    batch = spec.training.batch_size // max(1, spec.learners.num_learners)
    inputs = shape.frame_stack * math.prod(shape.frame_shape)
    # Three passes (online at both ends, target at the far one); one is kept for its gradient, twice over.
    observations = batch * (sequences.length if sequences else 1)
    numbers = observations * 4 * (inputs + _activations(spec, shape, sequences))
    parameters = _COPIES_OF_PARAMETERS * 4 * num_parameters(spec, shape, sequences)
    return parameters + 4 * numbers + _batch_bytes(spec, shape, sequences)


def num_parameters(spec: ExperimentSpec, shape: EnvShape, sequences: SequenceShape | None = None) -> int:
    """Count the weights and biases of the network."""
    torso, features = _torso(spec, shape)[:2]
    if sequences is not None and sequences.lstm_size:
        units = sequences.lstm_size
        if sequences.lstm_input_size:
            torso += (features + 1) * sequences.lstm_input_size
            features = sequences.lstm_input_size
        # Four gates, each with two biases; the previous action and reward join the features.
        torso += 4 * units * (features + shape.num_actions + 1 + units + 2)
        features = units
    outputs = spec.training.num_atoms if spec.training.distributional else 1
    streams = [shape.num_actions * outputs] + ([outputs] if spec.training.dueling else [])
    head = 0
    for width in streams:
        hidden = spec.rl_module.head_hidden_size
        sizes = [features, hidden, width] if hidden else [features, width]
        head += sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    return torso + head * (2 if spec.training.noisy else 1)


def machine_memory_bytes() -> int:
    """Return the memory of this machine in bytes, or of its control group if that has less."""
    limits = [int(psutil.virtual_memory().total)]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):
            continue  # no such control group, or "max"
    return min(limits)


def memory_problems(
    spec: ExperimentSpec,
    needed: MemoryEstimate,
    origin: Callable[[str], Location],
    *,
    available_bytes: int | None = None,
) -> list[Problem]:
    """List a problem if a run needs more memory than there is.

    Args:
        spec: a resolved spec.
        needed: its estimate.
        origin: where the value at a dotted path was given (`Experiment.origin`).
        available_bytes: memory of the machine or cluster; this machine's by default.
            `resources.memory_limit_bytes` goes before it.
    """
    limit = spec.resources.memory_limit_bytes or available_bytes or machine_memory_bytes()
    if needed.total <= limit:
        return []
    largest = max(needed.parts, key=lambda part: needed.parts[part])
    path = {"replay": "replay.capacity", "object store": "resources.object_store_memory_bytes"}.get(
        largest, "training.batch_size" if largest == "learners" else "env_runners.num_env_runners"
    )
    parts = ", ".join(f"{name} {format_bytes(count)}" for name, count in needed.parts.items())
    message = f"the run needs about {format_bytes(needed.total)} ({parts}), there are {format_bytes(limit)}"
    return [Problem(origin(path), path, message, _fitting(spec, needed, limit))]


def format_bytes(count: float) -> str:
    """Show bytes in decimal units: 7.1 GB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def _fitting(spec: ExperimentSpec, needed: MemoryEstimate, limit: int) -> str:
    """Name the capacity that would fit, rounded down to two digits."""
    left = limit - (needed.total - needed.parts["replay"])
    capacity = int(spec.replay.capacity * left / needed.parts["replay"])
    if capacity < max(1, spec.training.learning_starts_env_steps):
        return ""
    unit = 10 ** max(0, len(str(capacity)) - 2)
    return f"a replay.capacity of {capacity // unit * unit} would fit"


def _state_bytes(sequences: SequenceShape) -> int:
    return 2 * 4 * sequences.lstm_size


def _extra_row_bytes(sequences: SequenceShape | None) -> int:
    """Return what a row of a recurrent run has beyond the others.

    Previous action and reward, a share of states.
    """
    if sequences is None:
        return 0
    return _RECURRENT_ROW_BYTES + sequences.states * _state_bytes(sequences) // sequences.period


def _batch_bytes(spec: ExperimentSpec, shape: EnvShape, sequences: SequenceShape | None) -> int:
    rows = sequences.length if sequences else 1 + spec.training.n_step
    states = sequences.states * _state_bytes(sequences) if sequences else 0
    window = (shape.frame_stack - 1 + rows) * (shape.frame_bytes + _ROW_BYTES)
    return spec.training.batch_size * (window + states)


def _runners_bytes(spec: ExperimentSpec, shape: EnvShape, sequences: SequenceShape | None) -> int:
    runners = max(1, spec.env_runners.num_env_runners)
    return runners * _runner_bytes(spec, shape, sequences) + spec.evaluation.num_envs * _ENVIRONMENT_BYTES


def _runner_bytes(spec: ExperimentSpec, shape: EnvShape, sequences: SequenceShape | None) -> int:
    """Return the bytes of one runner: environments, a block, the network; without its process."""
    lanes = spec.env_runners.num_envs_per_env_runner
    row = shape.frame_bytes + _ROW_BYTES + _extra_row_bytes(sequences)
    block = lanes * (spec.env_runners.rollout_length_env_steps + 1) * row
    return lanes * _ENVIRONMENT_BYTES + block + 4 * num_parameters(spec, shape, sequences)


def _processes_bytes(spec: ExperimentSpec) -> int:
    full = 1 + spec.env_runners.num_env_runners + spec.learners.num_learners
    return full * _RLLIB_PROCESS_BYTES + spec.replay.num_shards * _SHARD_PROCESS_BYTES + _RAY_BYTES


def _activations(spec: ExperimentSpec, shape: EnvShape, sequences: SequenceShape | None) -> int:
    """Count the activations of one observation."""
    _, _, torso = _torso(spec, shape)
    outputs = spec.training.num_atoms if spec.training.distributional else 1
    # Gates, cell and output of the LSTM.
    core = sequences.lstm_input_size + 6 * sequences.lstm_size if sequences else 0
    return torso + core + 2 * spec.rl_module.head_hidden_size + (shape.num_actions + 1) * outputs


def _torso(spec: ExperimentSpec, shape: EnvShape) -> tuple[int, int, int]:
    """Return parameters, features and activations of the torso."""
    if spec.rl_module.torso == "mlp" or len(shape.frame_shape) not in (2, 3):
        sizes = [shape.frame_stack * math.prod(shape.frame_shape), *spec.rl_module.hidden_sizes]
        weights = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
        return weights, sizes[-1], sum(sizes[1:])
    height, width = shape.frame_shape[:2]
    channels = shape.frame_stack * math.prod(shape.frame_shape[2:])
    weights = activations = 0
    for out, kernel, stride in conv_layers(spec.rl_module):
        weights += (channels * kernel * kernel + 1) * out
        height, width = (max(1, (side - kernel) // stride + 1) for side in (height, width))
        channels = out
        activations += channels * height * width
    return weights, channels * height * width, activations
