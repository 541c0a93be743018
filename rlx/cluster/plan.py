"""The plan of an experiment on a cluster: who runs where, what crosses the network, how long, for how much.

Nothing is started. A figure that rests on an assumption says on which; what nobody knows stays open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlx.cluster.capacity import ClusterNodes
from rlx.cluster.load import ClusterFile
from rlx.cluster.plan_cost import Duration, Price, duration_of, price_of
from rlx.cluster.plan_rates import Assumed, Rates, figure, rates_of
from rlx.cluster.spec import AwsCluster
from rlx.experiment.placement import Flow, Load, Node, Placement, flows
from rlx.experiment.problems import ExperimentError, Problem
from rlx.experiment.resolve import Experiment
from rlx.experiment.spec import ExperimentSpec
from rlx.runs.preflight import Preflight, look

#: Loads an experiment with these settings (`PATH=VALUE`) after those of the command line.
LoadWith = Callable[[Sequence[str]], Experiment]

ON_GPU_NODE = ("learners.num_learners=1", "learners.num_gpus_per_learner=1")
#: A learner with a process of its own cannot read replay in the driver's.
_SHARD_APART = "replay.num_shards=1"


@dataclass(frozen=True)
class Row:
    """Equal nodes of a group.

    Attributes:
        names: e.g. `actors#1..8`.
        count: how many.
        type: instance type, empty for hosts.
        node, load: of each.
        on_it: what runs there, in words.
        replay_bytes: of the replay on each.
    """

    names: str
    count: int
    type: str
    node: Node
    load: Load
    on_it: str
    replay_bytes: int


@dataclass(frozen=True)
class Plan:
    """One experiment on one cluster.

    Attributes:
        experiment, cluster: their names.
        spec: the experiment as it would be handed in.
        nodes: where it goes.
        placement: of the first run; the others have the same processes.
        replay_bytes: of the replay on each node.
        rates: assumed, of the first run.
        flows: (sending group, receiving group) -> what crosses, of all their nodes together.
        busiest: name of the node with most traffic, bytes per second that it takes in, and sends.
        runs: how many follow each other.
        duration: of all of them.
        price: of the nodes.
        settings: added, as after `--set`.
        notes: what a reader should know.
        problems: what does not fit, with its place in the experiment.
    """

    experiment: str
    cluster: str
    spec: ExperimentSpec
    nodes: ClusterNodes
    placement: Placement
    replay_bytes: tuple[int, ...]
    rates: Rates
    flows: Mapping[tuple[str, str], Flow]
    busiest: tuple[str, float, float] | None
    runs: int
    duration: Duration
    price: Price
    settings: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def cost(self) -> float | None:
        """What the nodes cost until all runs are done; None if price or time is not known."""
        if self.price.per_hour is None or self.duration.seconds is None:
            return None
        return self.price.per_hour * self.duration.seconds / 3600

    def on(self, node: int) -> str:
        """Say what runs on a node."""
        return _words(self.spec, self.placement.parts_on(node))

    def rows(self) -> list[Row]:
        """Return the nodes, equal ones of a group in one row."""
        found: dict[Any, list[int]] = defaultdict(list)
        for index, (node, load) in enumerate(zip(self.placement.nodes, self.placement.loads, strict=True)):
            same = (node.group, self.nodes.types[index], replace(node, name=""), repr(load), self.on(index))
            found[same].append(index)
        return [self._row(members) for members in found.values()]

    def _row(self, members: Sequence[int]) -> Row:
        first = members[0]
        node = self.placement.nodes[first]
        return Row(
            names=_names([self.placement.nodes[index].name for index in members]),
            count=len(members),
            type=self.nodes.types[first],
            node=node,
            load=self.placement.loads[first],
            on_it=self.on(first),
            replay_bytes=self.replay_bytes[first],
        )

    def summary(self) -> str:
        """Return the plan in one line."""
        parts = [f"{row.names}: {row.on_it}" for row in self.rows() if row.on_it]
        busiest = ""
        if self.busiest is not None:
            name, taken, sent = self.busiest
            busiest = (
                f"; {name} takes in {taken / 1e6:.3g} MB/s and sends {sent / 1e6:.3g} MB/s "
                f"at {figure(self.rates.env_steps_per_second)} env steps/s per runner"
            )
        return "; ".join(parts) + busiest


def make_plan(
    load: LoadWith,
    file: ClusterFile,
    nodes: ClusterNodes,
    *,
    assumed: Assumed | None = None,
    priced: bool = True,
) -> Plan:
    """Plan an experiment on the nodes of a cluster.

    Args:
        load: loads the experiment.
        file: the cluster.
        nodes: its nodes.
        assumed: rates that are given.
        priced: whether to ask AWS for prices that the file leaves open.

    Raises:
        ExperimentError: the experiment is wrong, or its environment is not on this machine.
    """
    experiment, checks, problems, settings, notes = _chosen(load, nodes)
    unseen = [problem for problem in problems if problem.path == "env"]
    if unseen:
        raise ExperimentError(problems)
    first = checks[0]
    assert first.placement is not None
    assert first.sizes is not None
    rates = [rates_of(check.run.spec, check.run.env, assumed or Assumed()) for check in checks]
    crossing = flows(
        first.placement, experiment.spec, first.sizes, rates[0].env_steps_per_second,
        rates[0].updates_per_second,
    )  # fmt: skip
    duration = duration_of(list(zip(checks, rates, strict=True)))
    price = price_of(file.spec, nodes.counts, ask=priced)
    return Plan(
        experiment=experiment.spec.name or "experiment",
        cluster=file.spec.name,
        spec=experiment.spec,
        nodes=nodes,
        placement=first.placement,
        replay_bytes=_replay_bytes(first),
        rates=rates[0],
        flows=_by_group(first.placement, crossing),
        busiest=_busiest(first.placement, crossing),
        runs=len(checks),
        duration=duration,
        price=price,
        settings=settings,
        notes=(*notes, *_notes(file, nodes, experiment.spec, duration, price)),
        problems=tuple(dict.fromkeys(problems)),
    )


def gpu_settings(experiment: Experiment, nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return the settings that give a driver's learner a process on a GPU node.

    Empty if it has a process already, is not to use a GPU, finds one on the head, or if no worker has one.
    """
    spec = experiment.spec
    if spec.learners.num_learners or spec.learners.device not in ("auto", "cuda"):
        return ()
    if any(node.gpus for node in nodes if node.head) or not any(node.gpus >= 1 for node in nodes):
        return ()
    apart = not spec.replay.num_shards and not spec.algorithm.startswith("rllib/")
    return (*ON_GPU_NODE, *([_SHARD_APART] if apart else []))


def _chosen(
    load: LoadWith, nodes: ClusterNodes
) -> tuple[Experiment, list[Preflight], list[Problem], tuple[str, ...], list[str]]:
    """Look at the experiment as it is and, where only workers have GPUs, with its learner on one of them.

    Returns:
        The experiment that is handed in, its runs, what does not fit, the settings that were added, and
        what to say of that.
    """
    experiment = load(())
    checks, problems = look(experiment, nodes.nodes)
    settings = gpu_settings(experiment, nodes.nodes)
    if not settings:
        return experiment, checks, problems, (), []
    options = " ".join(f"--set {setting}" for setting in settings)
    where = next(node.group for node in nodes.nodes if node.gpus >= 1)
    stays = f"the learner is in the driver on the head, which has no GPU; nodes of {where} have one"
    if experiment.origin("learners.num_learners").source.startswith("--set"):
        return experiment, checks, problems, (), [f"{stays}: {options} would put it there"]
    try:
        moved = load(settings)
    except ExperimentError as error:
        return experiment, checks, problems, (), [f"{stays}, but {options} does not go: {error.problems[0]}"]
    moved_checks, moved_problems = look(moved, nodes.nodes)
    if moved_problems and not problems:
        note = f"{stays}, but with {options} it does not fit: {moved_problems[0].message}"
        return experiment, checks, problems, (), [note]
    note = (
        f"the head has no GPU and nodes of {where} have one: rlx cluster submit adds {options}, which puts "
        "the learner there; --set learners.num_learners=0 keeps it in the driver"
    )
    return moved, moved_checks, moved_problems, settings, [note]


def _replay_bytes(check: Preflight) -> tuple[int, ...]:
    """Return the replay on each node, without the processes that hold it."""
    assert check.placement is not None
    holders = check.placement.shards or (check.placement.driver,)
    each = check.memory.parts["replay"] // len(holders)
    return tuple(each * holders.count(node) for node in range(len(check.placement.nodes)))


def _by_group(placement: Placement, crossing: Mapping[tuple[int, int], Flow]) -> dict[tuple[str, str], Flow]:
    found: dict[tuple[str, str], Flow] = defaultdict(Flow)
    for (sender, receiver), flow in crossing.items():
        found[placement.nodes[sender].group, placement.nodes[receiver].group] += flow
    return dict(found)


def _busiest(
    placement: Placement, crossing: Mapping[tuple[int, int], Flow]
) -> tuple[str, float, float] | None:
    taken, sent = defaultdict[int, float](float), defaultdict[int, float](float)
    for (sender, receiver), flow in crossing.items():
        sent[sender] += flow.total
        taken[receiver] += flow.total
    if not crossing:
        return None
    node = max(range(len(placement.nodes)), key=lambda index: (taken[index] + sent[index], -index))
    return placement.nodes[node].name, taken[node], sent[node]


def _notes(
    file: ClusterFile, nodes: ClusterNodes, spec: ExperimentSpec, duration: Duration, price: Price
) -> list[str]:
    notes = []
    if spec.algorithm.startswith("rllib/"):
        notes.append("RLlib places its processes itself: this is where they would fit")
    if nodes.absent:
        lacking = ", ".join(f"{count} of {group}" for group, count in nodes.absent)
        notes.append(f"planned without nodes that are not in: {lacking}")
    if not isinstance(file.spec, AwsCluster):
        return notes
    more = sum(group.most - group.count for group in file.spec.workers.values())
    if more and not nodes.running:
        notes.append(f"planned on the nodes that are kept; up to {more} more on demand are not counted")
    hours = file.spec.budget.max_hours
    if file.spec.budget.max_cost is not None and price.most_per_hour:
        hours = min(hours, file.spec.budget.max_cost / price.most_per_hour)
    if duration.seconds is not None and duration.seconds / 3600 > hours:
        notes.append(f"the cluster ends by itself after {hours:.4g} h, before the end; --resume goes on then")
    return notes


def _words(spec: ExperimentSpec, parts: Mapping[str, int]) -> str:
    """Say what is on a node: the driver with what has no process of its own, then the others."""
    found = []
    if "driver" in parts:
        inside = {
            "learner": spec.learners.num_learners,
            "replay": spec.replay.num_shards,
            "runner": spec.env_runners.num_env_runners,
        }
        held = [name for name, processes in inside.items() if not processes]
        found.append("driver" + (f" with {' and '.join(held)}" if held else ""))
    for part in ("learners", "shards", "runners"):
        if count := parts.get(part, 0):
            found.append(f"{count} {part[:-1] if count == 1 else part}")
    return ", ".join(found)


def _names(names: Sequence[str]) -> str:
    """Shorten `actors#1`, `actors#2`, `actors#3`, `actors#5` to `actors#1..3,5`."""
    group = names[0].partition("#")[0]
    numbers = [int(number) for name in names for number in [name.partition("#")[2]] if number]
    if len(numbers) != len(names):
        return ", ".join(names)
    spans: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return f"{group}#" + ",".join(str(a) if a == b else f"{a}..{b}" for a, b in spans)
