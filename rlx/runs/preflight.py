"""What can be known about a run before it starts: environment, memory, cores, what the machine lacks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlx.experiment.check import cpus_needed, learner_threads, machine_problems
from rlx.experiment.memory import (
    EnvShape,
    MemoryEstimate,
    PartSizes,
    SequenceShape,
    estimate,
    machine_memory_bytes,
    memory_problems,
    part_sizes,
)
from rlx.experiment.placement import Node, Placement, place, placed_learner_threads
from rlx.experiment.problems import ExperimentError, Problem
from rlx.experiment.resolve import Experiment, RunSpec
from rlx.experiment.spec import ExperimentSpec
from rlx.plugins import PluginSet, make_plugin, make_plugins
from rlx.runs.noise import captured, quiet_libraries
from rlx.runs.provenance import cpu_cores


@dataclass(frozen=True)
class Preflight:
    """One run and what it needs. `protocol` is the environment's, with nothing left open.

    `placement` says what goes where on the nodes of a cluster, `sizes` how large each part is; None on one
    machine.
    """

    run: RunSpec
    protocol: dict[str, Any]
    shape: EnvShape
    memory: MemoryEstimate
    cpus_needed: float
    cpus_available: int
    memory_available_bytes: int
    learner_threads: int
    placement: Placement | None = None
    sizes: PartSizes | None = None


def preflight(experiment: Experiment) -> list[Preflight]:
    """Look at every run of an experiment; starts nothing but one environment of each id.

    The machine is this one, or, if RAY_ADDRESS is set, the nodes of that cluster, which is joined.

    Raises:
        ExperimentError: with everything that is missing: environments, cores, memory, devices.
    """
    checks, problems = look(experiment, _cluster_nodes(experiment.spec))
    if problems:
        raise ExperimentError(problems)
    return checks


def look(experiment: Experiment, nodes: Sequence[Node] | None) -> tuple[list[Preflight], list[Problem]]:
    """Look at every run of an experiment, on these nodes of a cluster or, without any, on this machine.

    Returns:
        What is known of each run (not of those whose environment is not there), and all that is missing.
    """
    checks: list[Preflight] = []
    problems: list[Problem] = []
    for run in experiment.runs():
        done = next((check for check in checks if check.run.env == run.env), None)
        if done is not None:
            checks.append(dataclasses.replace(done, run=run))
            continue
        try:
            check = _check(run, nodes)
        except ValueError as error:
            problems.append(Problem(experiment.origin("env"), "env", str(error)))
            continue
        checks.append(check)
        problems += _network_problems(experiment, check)
        if check.placement is not None:
            short = check.placement.shortages
            problems += [Problem(experiment.origin(s.path), s.path, s.message, s.hint) for s in short]
            continue
        problems += memory_problems(
            run.spec, check.memory, experiment.origin, available_bytes=check.memory_available_bytes
        )
    stack = max((check.shape.frame_stack for check in checks), default=1)
    problems += _plugin_problems(experiment, stack)
    problems += machine_problems(
        experiment.spec,
        experiment.origin,
        num_cpus=cpu_cores() if nodes is None else None,
        has_cuda=_has_cuda(experiment.spec, nodes),
    )
    return checks, problems


def _cluster_nodes(spec: ExperimentSpec) -> list[Node] | None:
    """Return the nodes of the cluster that RAY_ADDRESS names; None without one, and Ray is not imported."""
    if not os.environ.get("RAY_ADDRESS"):
        return None
    quiet_libraries()
    from rlx.experiment.build import cluster_nodes

    with captured(Path(os.devnull)):  # what Ray says when it joins
        return cluster_nodes(spec)


def _check(run: RunSpec, nodes: Sequence[Node] | None) -> Preflight:
    from rlx.envs import describe_env, resolve_env

    spec = run.spec
    env = resolve_env(run.env, spec.environment)
    info = describe_env(env)
    shape = EnvShape(
        frame_shape=tuple(info.frame_shape),
        dtype_bytes=info.frame_dtype.itemsize,
        frame_stack=info.frame_stack,
        num_actions=info.num_actions,
    )
    sequences = _sequence_shape(spec)
    if nodes is not None:
        sizes = part_sizes(spec, shape, sequences)
        placement = place(spec, nodes, sizes)
        return Preflight(
            run=run,
            protocol=dataclasses.asdict(env),
            shape=shape,
            memory=estimate(spec, shape, sequences),
            cpus_needed=cpus_needed(spec),
            cpus_available=int(sum(node.cpus for node in nodes)),
            memory_available_bytes=sum(node.memory_bytes for node in nodes),
            learner_threads=placed_learner_threads(spec, placement),
            placement=placement,
            sizes=sizes,
        )
    cpus = cpu_cores()
    return Preflight(
        run=run,
        protocol=dataclasses.asdict(env),
        shape=shape,
        memory=estimate(spec, shape, sequences),
        cpus_needed=cpus_needed(spec),
        cpus_available=spec.resources.num_cpus or cpus,
        memory_available_bytes=spec.resources.memory_limit_bytes or machine_memory_bytes(),
        learner_threads=learner_threads(spec, cpus),
    )


def _sequence_shape(spec: ExperimentSpec) -> SequenceShape | None:
    """Return what memory depends on of a plugin's sequences; None without, or if the plugins are wrong."""
    try:
        plugins = make_plugins(spec.plugins)
        sequences = plugins.only("sequences", spec.training.n_step)
        network = plugins.merged("network")
    except ValueError:
        return None  # `_plugin_problems` says it
    return SequenceShape.of(sequences, network)


def _plugin_problems(experiment: Experiment, frame_stack: int) -> list[Problem]:
    """Name plugins that nobody registered and settings that do not fit."""
    problems, made = [], []
    values = experiment.spec.model_dump()
    for name, settings in experiment.spec.plugins.items():
        where = f"plugins.{name}"
        try:
            made.append(make_plugin(name, settings))
        except ValueError as error:
            problems.append(Problem(experiment.origin(where), where, str(error)))
            continue
        found = made[-1].conflicts(values)
        problems += [Problem(experiment.origin(where), where, message) for message in found]
    together = PluginSet(tuple(made))
    try:
        sequences = together.only("sequences", experiment.spec.training.n_step)
        together.only("module_class")
        together.only("learner_class")
        together.merged("network")
        together.merged("replay")
    except ValueError as error:
        problems.append(Problem(experiment.origin("plugins"), "plugins", str(error)))
        return problems
    if sequences is not None:
        problems += _short_rings(experiment, sequences.length, frame_stack)
    elif experiment.spec.algorithm == "r2d2" and (experiment.spec.replay.samples_per_env_step or 1.0) < 0.1:
        where = "plugins.burn_in"
        message = "without it, batch_size and samples_per_env_step count single steps, but have R2D2's values"
        hint = "set them, or take algorithm apex_dqn"
        problems.append(Problem(experiment.origin("plugins"), where, message, hint))
    return problems


def _short_rings(experiment: Experiment, length: int, frame_stack: int) -> list[Problem]:
    """Refuse lanes that do not hold two windows of `length` rows, or hold none when learning starts."""
    spec = experiment.spec
    runners, shards = max(1, spec.env_runners.num_env_runners), max(1, spec.replay.num_shards)
    # A shard that serves one runner more than another has less for each lane.
    lanes = -(-runners // shards) * spec.env_runners.num_envs_per_env_runner
    rows, needed = spec.replay.capacity // shards // lanes, 2 * (length + frame_stack)
    problems = []
    if rows < needed:
        where = "replay.capacity"
        message = (
            f"{spec.replay.capacity} env steps leave {rows} rows for a lane; windows of {length} rows "
            f"need {needed}"
        )
        hint = f"at least {needed * lanes * shards}"
        problems.append(Problem(experiment.origin(where), where, message, hint))
    every = runners * spec.env_runners.num_envs_per_env_runner
    starts = spec.training.learning_starts_env_steps
    if spec.learners.num_learners > 1 and starts < every * length:
        where = "training.learning_starts_env_steps"
        message = f"{starts} env steps are less than a window of {length} rows in each of {every} lanes"
        hint = f"several learners wait for each other's batches: at least {every * length}"
        problems.append(Problem(experiment.origin(where), where, message, hint))
    return problems


def _network_problems(experiment: Experiment, check: Preflight) -> list[Problem]:
    """Refuse a convolutional torso for observations that are not images."""
    torso = experiment.spec.rl_module.torso
    shape = check.shape.frame_shape
    if torso == "mlp" or len(shape) >= 2:
        return []
    where = "rl_module.torso"
    message = f"{torso!r} needs images, but {check.run.env} gives vectors of shape {shape}"
    return [Problem(experiment.origin(where), where, message, "use mlp")]


def _has_cuda(spec: ExperimentSpec, nodes: Sequence[Node] | None) -> bool | None:
    """Ask torch, which takes two seconds to import, only if the spec needs a CUDA device.

    In a cluster, look at its nodes.
    """
    devices = (spec.learners.device, spec.env_runners.device)
    if not (
        any(device.startswith("cuda") for device in devices)
        or spec.learners.num_gpus_per_learner
        or spec.training.update_mode == "cuda_graph"
    ):
        return None
    if nodes is not None:
        return any(node.gpus for node in nodes)
    import torch

    return bool(torch.cuda.is_available())
