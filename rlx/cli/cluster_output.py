"""Printing of `rlx cluster`: the live table of nodes, jobs, status, hosts after their end."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlx.cli import output
from rlx.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from rich.table import Table


@contextlib.contextmanager
def live_nodes() -> Iterator[Callable[[Sequence[Any], str], None]]:
    """Yield what shows the rows of nodes: a table in place in a terminal, a line per change elsewhere."""
    if not sys.stderr.isatty():
        yield _NodeLines().show
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    began = time.monotonic()
    with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live:

        def show(rows: Sequence[Any], trouble: str) -> None:
            there = sum(row.is_in for row in rows)
            text = f" {there} of {len(rows)} nodes are in, {time.monotonic() - began:.0f} s"
            parts: list[Any] = [nodes_table(rows), Spinner("dots", text)]
            if trouble:
                parts.append(Text(f"autoscaler: {trouble}", style="yellow"))
            live.update(Group(*parts))

        yield show


class _NodeLines:
    """One line for every change of a node, and for every new trouble."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.last: dict[str, str] = {}
        self.trouble = ""

    def show(self, rows: Sequence[Any], trouble: str) -> None:
        """Print what has changed."""
        seconds = f"{time.monotonic() - self.began:4.0f} s"
        unnamed = 0
        for row in rows:
            unnamed += not row.address
            key = f"{row.group} {row.address or f'#{unnamed}'}"
            if self.last.get(key) != row.state:
                self.last[key] = row.state
                print(f"{seconds}  {key}: {row.state}", file=sys.stderr, flush=True)
        if trouble and trouble != self.trouble:
            self.trouble = trouble
            print(f"{seconds}  autoscaler: {trouble}", file=sys.stderr, flush=True)


def nodes_table(rows: Sequence[Any]) -> Table:
    """Make the table of nodes."""
    table = output.new_table("group", "address", "state", "CPUs", "GPUs", "memory", "machine")
    for row in rows:
        ray, machine = row.ray, row.machine
        kind = (
            "" if machine is None or not machine.type else f"{machine.type}{' spot' if machine.spot else ''}"
        )
        table.add_row(
            row.group,
            row.address or "-",
            row.state,
            "-" if ray is None else f"{ray.cpus:g}",
            "-" if ray is None else f"{ray.gpus:g}",
            "-" if ray is None else f"{ray.memory_bytes / 1e9:.1f} GB",
            kind,
        )
    return table


def up(spec: Any, rows: Sequence[Any], seconds: float, *, as_json: bool) -> None:
    """Print a cluster that is up."""
    if as_json:
        document = {"cluster": spec.name, "seconds": round(seconds, 1), "nodes": [_row(row) for row in rows]}
        output.json_document(document)
        return
    output.new_console().print(nodes_table(rows))
    price = spec.price_per_hour() if spec.provider == "aws" else None
    costs = "" if price is None else f", {price:.4g} per hour by your prices"
    print(f"{spec.name} is up: {len(rows)} nodes in {seconds:.0f} s{costs}")
    print("next: rlx cluster submit EXPERIMENT; in the end: rlx cluster down")


def not_all_in(rows: Sequence[Any]) -> None:
    """Show on stderr which nodes came and which did not."""
    from rich.console import Console

    Console(file=sys.stderr, width=200).print(nodes_table(rows))


def hosts_down(outcome: Any, *, as_json: bool) -> ExitCode:
    """Print what is left on hosts after `down`; the exit code for it."""
    ended = sum(len(state.processes) for state in outcome.before)
    if as_json:
        document = {
            "cluster": outcome.cluster,
            "ended_processes": ended,
            "hosts": [vars(state) for state in outcome.after],
            "ok": not outcome.standing,
        }
        output.json_document(document)
    else:
        left = sum(len(state.processes) for state in outcome.after)
        print(f"{outcome.cluster}: {ended} processes ended on {len(outcome.before)} hosts, {left} left")
    return _not_clean(outcome.standing)


def hosts(states: Sequence[Any], *, as_json: bool) -> ExitCode:
    """Print what of a cluster is on hosts; the exit code says whether anything is."""
    standing = [state for state in states if not state.clean]
    if as_json:
        output.json_document([vars(state) for state in states])
        return ExitCode.STILL_THERE if standing else ExitCode.OK
    if not standing:
        print(f"nothing found on {len(states)} hosts")
    return _not_clean(standing)


def _not_clean(states: Sequence[Any]) -> ExitCode:
    for state in states:
        if state.error:
            print(f"rlx: {state.host} could not be looked at: {state.error}", file=sys.stderr)
        for process in state.processes:
            print(f"rlx: {state.host}: process {process} is there", file=sys.stderr)
        for file in state.files:
            print(f"rlx: {state.host}: {file} is there", file=sys.stderr)
    return ExitCode.STILL_THERE if states else ExitCode.OK


def status(found: Any, *, as_json: bool) -> ExitCode:
    """Print nodes, jobs, runs and cost; the exit code says whether all nodes are in."""
    if as_json:
        cost = None if found.cost is None else vars(found.cost)
        document = {
            "cluster": found.name,
            "up": found.up,
            "nodes": [_row(row) for row in found.rows],
            "jobs": [_job(job) for job in found.jobs],
            "runs": found.runs,
            "cost": cost,
            "problems": found.problems,
        }
        output.json_document(document)
        return ExitCode.OK if found.up else ExitCode.CLUSTER
    console = output.new_console()
    console.print(nodes_table(found.rows))
    if found.jobs:
        console.print(_jobs_table(found.jobs))
    if found.runs:
        console.print(_runs_table(found.runs))
    if found.cost is not None:
        print(_cost_line(found.cost))
    for problem in found.problems:
        print(f"rlx: {problem}", file=sys.stderr)
    there = sum(row.is_in for row in found.rows)
    print(f"{found.name}: {there} of {sum(found.wanted.values())} nodes are in")
    return ExitCode.OK if found.up else ExitCode.CLUSTER


def _cost_line(cost: Any) -> str:
    if cost.so_far is None:
        groups = ", ".join(cost.unpriced)
        return f"cost: not known, neither the file nor AWS tells a price of {groups}"
    return (
        f"cost: about {cost.so_far:.2f} so far, {cost.per_hour:.2f} per hour; volumes and traffic not counted"
    )


def _jobs_table(jobs: Sequence[Any]) -> Table:
    table = output.new_table("job", "state", "since", "lasted", "message")
    for job in jobs:
        began = "-" if job.started_at is None else time.strftime("%H:%M:%S", time.localtime(job.started_at))
        end = job.ended_at or time.time()
        lasted = "-" if job.started_at is None else f"{end - job.started_at:.0f} s"
        table.add_row(job.id, job.state.lower(), began, lasted, _first_line(job.message) if job.ended else "")
    return table


def _runs_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    table = output.new_table("run", "state", "env steps", "updates", "steps/s", "return")
    for run in runs:
        numbers = (run.get(key) for key in ("env_steps", "updates", "env_steps_per_second", "return_mean"))
        steps, updates, rate, score = ("-" if value is None else f"{value:,.6g}" for value in numbers)
        table.add_row(str(run["run"]), str(run["state"]), steps, updates, rate, score)
    return table


def job_ended(job: Any) -> ExitCode:
    """Say how a job ended; the exit code for it."""
    print(f"{job.id}: {job.state.lower()}", file=sys.stderr)
    if job.state == "FAILED" and job.message:
        print(f"rlx: {_first_line(job.message)}", file=sys.stderr)
    return ExitCode.TRAINING_FAILED if job.state == "FAILED" else ExitCode.OK


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def _row(row: Any) -> dict[str, Any]:
    return {
        "group": row.group,
        "address": row.address,
        "state": row.state,
        "in": row.is_in,
        "id": None if row.machine is None else row.machine.id,
        "cpus": None if row.ray is None else row.ray.cpus,
        "gpus": None if row.ray is None else row.ray.gpus,
        "memory_bytes": None if row.ray is None else row.ray.memory_bytes,
    }


def _job(job: Any) -> dict[str, Any]:
    return {**vars(job), "ended": job.ended}
