"""The plan of an experiment on a cluster: made for `train --dry-run` and `submit`, and printed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlx.cli import output
from rlx.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from rlx.cluster.load import ClusterFile
    from rlx.cluster.plan import LoadWith, Plan
    from rlx.experiment.resolve import Experiment

RunnerRate = Annotated[
    float | None,
    typer.Option(
        "--env-steps-per-second-per-runner",
        metavar="N",
        min=1e-9,
        help="What the plan assumes; default: what was measured on Atari, 1,000 in all elsewhere.",
    ),
]
UpdateRate = Annotated[
    float | None,
    typer.Option(
        "--updates-per-second",
        metavar="N",
        min=1e-9,
        help="The most that learners do, for the plan; default: what the replay ratio asks for.",
    ),
]


def loader(
    experiment: str,
    settings: Sequence[str],
    *,
    seeds: Sequence[int],
    stop: Sequence[str],
    envs: Sequence[str],
) -> LoadWith:
    """Return what loads an experiment with more settings than those of the command line."""

    def load(more: Sequence[str]) -> Experiment:
        from rlx.experiment.catalog import find_experiment
        from rlx.experiment.load import load_experiment

        path = find_experiment(experiment)
        return load_experiment(path, [*settings, *more], seeds=seeds, stop=stop, envs=envs)

    return load


def check_options(*, dry_run: bool, cluster: Path | None, rates: tuple[float | None, float | None]) -> None:
    """Refuse options of `rlx train` that belong to a plan, where none is made.

    Raises:
        ClusterUsageError: with what to call instead.
    """
    from rlx.cluster.errors import ClusterUsageError

    if cluster is not None and not dry_run:
        hint = "rlx cluster submit trains on a cluster"
        raise ClusterUsageError("goes with --dry-run only", "--cluster", hint)
    if cluster is None and any(rate is not None for rate in rates):
        option = "--updates-per-second" if rates[0] is None else "--env-steps-per-second-per-runner"
        raise ClusterUsageError("goes with the plan of --dry-run on a cluster only", option)


def dry_run(
    load: LoadWith, cluster: Path, rates: tuple[float | None, float | None], *, as_json: bool
) -> ExitCode:
    """Print the plan of an experiment on a cluster, which need not be up; the exit code for it."""
    from rlx.cluster.capacity import cluster_nodes
    from rlx.cluster.load import load_cluster
    from rlx.cluster.plan import make_plan
    from rlx.cluster.plan_rates import Assumed

    file = load_cluster(cluster)
    output.notes(load(()).notes)
    return show(make_plan(load, file, cluster_nodes(file), assumed=Assumed(*rates)), as_json=as_json)


def before_submit(load: LoadWith, file: ClusterFile, machines: Any) -> tuple[str, ...]:
    """Look whether an experiment fits the cluster that is up, and say in a line what runs where.

    Returns:
        The settings to add.

    Raises:
        ExperimentError: it does not fit.
    """
    from rlx.cluster.capacity import running_nodes
    from rlx.cluster.plan import make_plan
    from rlx.experiment.problems import ExperimentError

    nodes = running_nodes(machines, Path.home())
    if nodes is None:
        return ()
    try:
        plan = make_plan(load, file, nodes, priced=False)
    except ExperimentError as error:
        # The head may have environments that this machine has not.
        output.say(f"no plan: {error.problems[0]}")
        return ()
    if plan.problems:
        raise ExperimentError(plan.problems)
    output.say(f"plan: {plan.summary()}")
    output.notes(plan.notes)
    return plan.settings


def show(plan: Plan, *, as_json: bool) -> ExitCode:
    """Print a plan, its problems on stderr; the exit code says whether there are any."""
    if as_json:
        output.json_document(facts(plan))
    else:
        print(f"{plan.experiment} on {plan.cluster}")
        output.new_console().print(_table(plan))
        output.named_lines(_pairs(plan))
        for problem in plan.problems:
            print(problem, file=sys.stderr)
    return ExitCode.USAGE if plan.problems else ExitCode.OK


def facts(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data: every node, sizes in bytes, time in seconds."""
    rates, price, duration = plan.rates, plan.price, plan.duration
    busiest = dict(zip(("node", "in", "out"), plan.busiest, strict=True)) if plan.busiest else None
    return {
        "experiment": plan.experiment,
        "cluster": plan.cluster,
        "ok": not plan.problems,
        "nodes_from": plan.nodes.source,
        "running": plan.nodes.running,
        "nodes": [_node_facts(plan, index) for index in range(len(plan.placement.nodes))],
        "rates": dataclasses.asdict(rates),
        "traffic_bytes_per_second": [
            {"from": sender, "to": receiver, **dataclasses.asdict(flow), "total": flow.total}
            for (sender, receiver), flow in plan.flows.items()
        ],
        "busiest_bytes_per_second": busiest,
        "runs": plan.runs,
        "seconds": duration.seconds,
        "seconds_from": duration.words,
        "seconds_are_least": duration.at_least,
        "price_per_hour": price.per_hour,
        "price_from": price.words,
        "cost": plan.cost,
        "settings": list(plan.settings),
        "notes": list(plan.notes),
        "problems": output.problem_facts(plan.problems),
    }


def _node_facts(plan: Plan, index: int) -> dict[str, Any]:
    node, load = plan.placement.nodes[index], plan.placement.loads[index]
    return {
        "name": node.name,
        "group": node.group,
        "type": plan.nodes.types[index],
        "cpus": node.cpus,
        "cpus_used": load.cpus,
        "gpus": node.gpus,
        "gpus_used": load.gpus,
        "memory_bytes": node.memory_bytes,
        "memory_used_bytes": load.memory_bytes,
        "memory_used_bytes_by_part": load.memory,
        "replay_bytes": plan.replay_bytes[index],
        "parts": plan.placement.parts_on(index),
    }


def _table(plan: Plan) -> Any:
    from rlx.experiment.memory import format_bytes

    table = output.new_table("nodes", "machine", "CPUs", "GPUs", "memory", "replay", "on each")
    for row in plan.rows():
        node, load = row.node, row.load
        table.add_row(
            row.names,
            row.type or "-",
            f"{load.cpus:g} of {node.cpus:g}",
            f"{load.gpus:g} of {node.gpus:g}" if node.gpus else "-",
            f"{format_bytes(load.memory_bytes)} of {format_bytes(node.memory_bytes)}",
            format_bytes(row.replay_bytes) if row.replay_bytes else "-",
            row.on_it or "nothing",
        )
    return table


def _pairs(plan: Plan) -> list[tuple[str, str]]:
    from rlx.cluster.plan_rates import figure

    rates = plan.rates
    pairs = [
        ("nodes", plan.nodes.source),
        (
            "acting",
            f"{figure(rates.env_steps_per_second)} env steps/s per runner, "
            f"{figure(rates.env_steps_per_second_in_all)} in all: {rates.sampling}",
        ),
        ("learning", f"{figure(rates.updates_per_second)} updates/s: {rates.learning}"),
        *_network(plan, _per_second),
        ("time", _time_words(plan)),
        ("cost", _cost_words(plan)),
        *(("note", note) for note in plan.notes),
    ]
    return pairs


def _network(plan: Plan, worded: Callable[[float], str]) -> list[tuple[str, str]]:
    """Say what crosses between groups of nodes at these rates, and at which node most of it meets."""
    if plan.busiest is None:
        return [("network", "nothing goes between nodes")]
    lines = []
    for (sender, receiver), flow in plan.flows.items():
        kinds = dataclasses.asdict(flow)
        named = ", ".join(f"{kind} {worded(size)}" for kind, size in kinds.items() if size)
        lines.append(("network", f"{receiver} <- {sender}: {named}"))
    name, taken, sent = plan.busiest
    return [*lines, ("network", f"busiest is {name}: {worded(taken)} in, {worded(sent)} out, at these rates")]


def _per_second(size: float) -> str:
    from rlx.experiment.memory import format_bytes

    return f"{format_bytes(size)}/s"


def _time_words(plan: Plan) -> str:
    if plan.duration.seconds is None:
        return f"not known: {plan.duration.words}"
    seconds = plan.duration.seconds
    unit, size = ("h", 3600) if seconds >= 3600 else ("min", 60) if seconds >= 60 else ("s", 1)
    return f"{_least(plan)}{seconds / size:.3g} {unit}: {plan.duration.words}"


def _least(plan: Plan) -> str:
    return "at least " if plan.duration.at_least else ""


def _cost_words(plan: Plan) -> str:
    price = plan.price
    if price.per_hour is None:
        return f"not known: {price.words}"
    in_all = ", in all not known"
    if plan.cost is not None:
        in_all = f", {_least(plan)}{plan.cost:.4g}{price.unit} in that time"
    return f"{price.per_hour:.4g}{price.unit} per hour{in_all}: {price.words}"
