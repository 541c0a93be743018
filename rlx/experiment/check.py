"""Combinations of values that cannot work, each with the place to change.

`conflicts` looks at the experiment alone; `machine_problems` at the machine it is to run on, which the caller
describes, so that the check is the same for a laptop and a cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rlx.experiment.document import Path
from rlx.experiment.layers import Layers
from rlx.experiment.problems import Location, Problem
from rlx.experiment.spec import ExperimentSpec

#: Torsos whose operations are too short for a second torch thread.
SMALL_TORSOS = ("mlp", "minatar")


@dataclass(frozen=True)
class Conflict:
    """Values that exclude each other.

    Attributes:
        paths: dotted paths of all values involved, the one to change first.
        message: what is wrong, with the numbers.
        hint: what to do.
    """

    paths: tuple[str, ...]
    message: str
    hint: str = ""


def conflicts(spec: ExperimentSpec, layers: Layers, *, ignore: Sequence[Path] = ()) -> list[Problem]:
    """List the impossible combinations of an experiment.

    Args:
        spec: a valid spec.
        layers: where its values were given.
        ignore: paths whose values are not the user's; conflicts with them are left out.
    """
    found = []
    for conflict in all_conflicts(spec):
        paths = [tuple(path.split(".")) for path in conflict.paths]
        if any(_overlap(path, other) for path in paths for other in ignore):
            continue
        found.append(_place(conflict, paths, layers.place))
    return found


def machine_problems(
    spec: ExperimentSpec,
    origin: Callable[[str], Location],
    *,
    num_cpus: int | None,
    has_cuda: bool | None = None,
) -> list[Problem]:
    """List what the machine, or cluster, does not have.

    Args:
        spec: a resolved spec.
        origin: where the value at a dotted path was given (`Experiment.origin`).
        num_cpus: cores that there are; `resources.num_cpus` goes before it. None: looked at elsewhere, as
            those of a cluster are, node by node (`rlx.experiment.placement`).
        has_cuda: whether there is a CUDA device; None if not known.
    """
    found: list[Conflict] = []
    cpus = None if num_cpus is None else spec.resources.num_cpus or num_cpus
    needed = cpus_needed(spec)
    if cpus is not None and needed > cpus:
        message = f"{_processes(spec)} need {needed:g} CPUs, there are {cpus}"
        hint = "take fewer, or set resources.num_cpus to share cores"
        found.append(Conflict(("env_runners.num_env_runners",), message, hint))
    if has_cuda is False:
        found += _cuda_conflicts(spec)
    problems = []
    for conflict in found:
        paths = [tuple(path.split(".")) for path in conflict.paths]
        problems.append(_place(conflict, paths, lambda path: origin(".".join(path))))
    return problems


def cpus_needed(spec: ExperimentSpec) -> float:
    """Count the cores that a run keeps busy: runners, learners, shards, a driver that does their work."""
    runners = spec.env_runners.num_env_runners * spec.env_runners.num_cpus_per_env_runner
    local = 0 in (spec.env_runners.num_env_runners, spec.learners.num_learners, spec.replay.num_shards)
    return runners + spec.learners.num_learners + spec.replay.num_shards + local


def learner_threads(spec: ExperimentSpec, num_cpus: int) -> int:
    """Return the torch threads of a learner: as given, or the cores that nobody else uses, at least one.

    Small networks get one: their operations are too short for a second thread to pay.
    """
    if spec.learners.num_torch_threads is not None:
        return spec.learners.num_torch_threads
    if spec.rl_module.torso in SMALL_TORSOS:
        return 1
    learners = max(1, spec.learners.num_learners)
    cpus = spec.resources.num_cpus or num_cpus
    others = cpus_needed(spec) - learners
    return max(1, int((cpus - others) // learners))


def all_conflicts(spec: ExperimentSpec) -> Iterator[Conflict]:
    """Yield every impossible combination of a spec."""
    for part in (_stop, _lists, _replay, _learning, _exploring, _processes_conflicts, _rllib):
        yield from part(spec)


def _stop(spec: ExperimentSpec) -> Iterator[Conflict]:
    if all(value is None for value in spec.stop.model_dump().values()):
        yield Conflict(("stop",), "no condition is given", "e.g. stop: {env_steps: 1000000}")
    evaluation = spec.evaluation
    # A deterministic run goes by steps alone.
    seconds = None if spec.debugging.deterministic else evaluation.interval_seconds
    never = evaluation.interval_env_steps is None and seconds is None
    if spec.stop.evaluation_return_mean is not None and never:
        message = "the run waits for a return of evaluations, but none is made while it trains"
        yield Conflict(("stop.evaluation_return_mean",), message, "set evaluation.interval_env_steps")


def _lists(spec: ExperimentSpec) -> Iterator[Conflict]:
    lists: dict[str, Sequence[object]] = {"env": spec.envs, "seeds": spec.seeds}
    for path, values in lists.items():
        twice = [str(value) for value, count in Counter(values).items() if count > 1]
        if twice:
            yield Conflict((path,), f"given twice: {', '.join(twice)}")


def _replay(spec: ExperimentSpec) -> Iterator[Conflict]:
    capacity, start = spec.replay.capacity, spec.training.learning_starts_env_steps
    if capacity < start:
        message = f"{capacity} env steps are fewer than learning_starts_env_steps, {start}"
        yield Conflict(("replay.capacity", "training.learning_starts_env_steps"), message)
    if capacity < spec.training.batch_size:
        message = f"{capacity} env steps are fewer than one batch of {spec.training.batch_size}"
        yield Conflict(("replay.capacity", "training.batch_size"), message)
    lanes = max(1, spec.env_runners.num_env_runners) * spec.env_runners.num_envs_per_env_runner
    window = spec.training.n_step + (spec.environment.frame_stack or 1)
    if capacity // lanes < window:
        message = (
            f"{capacity} env steps leave {capacity // lanes} for each of {lanes} lanes, fewer than {window}"
        )
        paths = ("replay.capacity", "env_runners.num_env_runners", "env_runners.num_envs_per_env_runner")
        yield Conflict((*paths, "training.n_step", "environment.frame_stack"), message)


def _learning(spec: ExperimentSpec) -> Iterator[Conflict]:
    training, learners = spec.training, spec.learners
    if training.distributional and training.v_min >= training.v_max:
        message = f"{training.v_min:g} is not below v_max, {training.v_max:g}"
        yield Conflict(("training.v_min", "training.v_max", "training.distributional"), message)
    if learners.num_learners > 1 and training.batch_size % learners.num_learners:
        message = f"{training.batch_size} samples do not divide into {learners.num_learners} learners"
        yield Conflict(("training.batch_size", "learners.num_learners"), message)
    if training.update_mode == "cuda_graph" and learners.device == "cpu":
        message = "cuda_graph needs a CUDA device, learners.device is cpu"
        yield Conflict(("training.update_mode", "learners.device"), message)
    if learners.num_gpus_per_learner and learners.device == "cpu":
        message = f"{learners.num_gpus_per_learner:g} GPUs per learner, but learners.device is cpu"
        yield Conflict(("learners.num_gpus_per_learner", "learners.device"), message)
    if (
        spec.rl_module.torso == "mlp"
        and not spec.rl_module.hidden_sizes
        and not spec.rl_module.head_hidden_size
    ):
        message = "an mlp without hidden layers and without head_hidden_size is linear"
        yield Conflict(("rl_module.hidden_sizes", "rl_module.head_hidden_size", "rl_module.torso"), message)


def _exploring(spec: ExperimentSpec) -> Iterator[Conflict]:
    if spec.exploration.kind == "none" and not spec.training.noisy:
        message = "nothing explores: kind is none and training.noisy is false"
        yield Conflict(("exploration.kind", "training.noisy"), message, "set exploration.kind to linear")


def _processes_conflicts(spec: ExperimentSpec) -> Iterator[Conflict]:
    if spec.learners.num_learners and not spec.replay.num_shards and not spec.algorithm.startswith("rllib/"):
        message = "learner processes cannot read replay that lies in the driver's process (num_shards 0)"
        yield Conflict(("replay.num_shards", "learners.num_learners"), message, "set replay.num_shards to 1")
    runners, shards = spec.env_runners.num_env_runners, spec.replay.num_shards
    if shards > max(1, runners):
        message = f"{shards} shards, but {max(1, runners)} runners: a shard would get no data"
        yield Conflict(("replay.num_shards", "env_runners.num_env_runners"), message)
    if spec.debugging.deterministic and (runners or shards or spec.learners.num_learners):
        message = "a deterministic run is local: num_env_runners, num_shards and num_learners must be 0"
        paths = ("debugging.deterministic", "env_runners.num_env_runners", "replay.num_shards")
        yield Conflict((*paths, "learners.num_learners"), message)


def _rllib(spec: ExperimentSpec) -> Iterator[Conflict]:
    if spec.algorithm != "rllib/DQN":
        return
    unsupported = {
        "training.optimizer": (spec.training.optimizer, "adam"),
        "training.update_mode": (spec.training.update_mode, "eager"),
        "training.precision": (spec.training.precision, "f32"),
        "replay.num_shards": (spec.replay.num_shards, 0),
        "replay.initial_priority": (spec.replay.initial_priority, "max"),
        "env_runners.precision": (spec.env_runners.precision, "f32"),
    }
    for path, (ours, only) in unsupported.items():
        if ours != only:
            yield Conflict((path, "algorithm"), f"RLlib's DQN has only {only}, not {ours}")
    if spec.plugins:
        yield Conflict(("plugins", "algorithm"), "RLlib's DQN takes no plugins")
    if spec.exploration.kind in ("ladder", "none"):
        message = f"RLlib's DQN has no {spec.exploration.kind}"
        yield Conflict(("exploration.kind", "algorithm"), message, "set it to linear or constant")


def _cuda_conflicts(spec: ExperimentSpec) -> Iterator[Conflict]:
    if spec.training.update_mode == "cuda_graph":
        yield Conflict(("training.update_mode",), "needs a CUDA device, there is none", "set it to eager")
    if spec.learners.num_gpus_per_learner:
        message = f"{spec.learners.num_gpus_per_learner:g} GPUs per learner, there are none"
        yield Conflict(("learners.num_gpus_per_learner",), message, "set it to 0")
    for section, device in (("learners", spec.learners.device), ("env_runners", spec.env_runners.device)):
        if device.startswith("cuda"):
            yield Conflict(
                (f"{section}.device",), f"{device}: there is no CUDA device", "set it to cpu or auto"
            )


def _processes(spec: ExperimentSpec) -> str:
    parts = {"runners": spec.env_runners.num_env_runners, "learners": spec.learners.num_learners}
    parts["shards"] = spec.replay.num_shards
    named = [f"{count} {name if count > 1 else name[:-1]}" for name, count in parts.items() if count]
    return ", ".join([*named, "the driver"] if 0 in parts.values() else named)


def _overlap(path: Path, other: Path) -> bool:
    shared = min(len(path), len(other))
    return path[:shared] == other[:shared]


def _place(conflict: Conflict, paths: Sequence[Path], where: Callable[[Path], Location]) -> Problem:
    """Point at the first value that the user gave; at the first one if all are presets."""
    given = [path for path in paths if not str(where(path)).startswith(("preset ", "default"))]
    # A path that is not given is placed at what surrounds it: keep to values with a place of their own.
    path = given[0] if given else paths[0]
    return Problem(where(path), ".".join(path), conflict.message, conflict.hint)
