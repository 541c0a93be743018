"""The one place that prints. With `--json`, standard output has JSON and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlx.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_STATE_STYLES = {
    "running": "green",
    "finished": "bold green",
    "stopped": "yellow",
    "failed": "red",
    "crashed": "bold red",
    "damaged": "bold red",
}


def as_json(value: Any) -> None:
    """Print strict JSON."""
    from rlx.runs.files import plain

    print(json.dumps(plain(value), indent=2, allow_nan=False))


def notes(texts: Sequence[str]) -> None:
    """Print remarks to stderr."""
    for text in texts:
        print(f"note: {text}", file=sys.stderr)


def text_or_file(text: str, file: Path | None) -> None:
    """Print a text, or write it to a file and say so on stderr."""
    if file is None:
        print(text, end="")
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    print(f"wrote {file}", file=sys.stderr)


def bytes_file(content: bytes, file: Path) -> None:
    """Write a file that is no text and say so on stderr."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    print(f"wrote {file}", file=sys.stderr)


def say(text: str) -> None:
    """Say on stderr what is being done."""
    print(text, file=sys.stderr)


def view(*, plain: bool, as_json: bool = False) -> Any:
    """Make the view of a run: live in a terminal, plain lines elsewhere; on stderr if stdout is for JSON."""
    from rlx.runs.view import PlainView

    if as_json:
        # A copy, because file descriptor 2 itself goes to the log while a run is on.
        return PlainView(os.fdopen(os.dup(2), "w"))
    stream = sys.stdout
    if plain or not stream.isatty():
        return PlainView(stream)
    from rich.console import Console

    from rlx.runs.live import LiveView

    return LiveView(Console(file=stream))


def run_ended(result: Any, *, debug: bool = False) -> None:
    """Say on stderr why a run failed, if it did, and whether all of it is in the bucket."""
    from rlx.cli.errors import training_failed

    if result.error is not None:
        if debug:
            import traceback

            traceback.print_exception(result.error)
        for line in training_failed(result):
            print(line, file=sys.stderr)
    if result.mirror is not None:
        print(
            f"{'' if result.mirror.complete else 'rlx: '}{result.path.name}: {result.mirror}", file=sys.stderr
        )


def training_ended(results: Sequence[Any], *, total: int, as_json: bool) -> ExitCode:
    """Print one line per run that was begun; the exit code for all of them."""
    if as_json:
        print(json.dumps([_result_facts(result) for result in results], indent=2, allow_nan=False))
    else:
        _results_table(results, total)
    if any(result.state == "failed" for result in results):
        return ExitCode.TRAINING_FAILED
    if any(result.interrupted for result in results):
        return ExitCode.INTERRUPTED
    unmirrored = any(result.mirror is not None and not result.mirror.complete for result in results)
    return ExitCode.NOT_MIRRORED if unmirrored else ExitCode.OK


def runs(summaries: Sequence[Mapping[str, Any]], root: Path, *, as_json: bool) -> None:
    """Print the runs of `rlx ls`."""
    if as_json:
        json_document(summaries)
        return
    if not summaries:
        print(f"no runs in {root}; rlx train EXPERIMENT begins one")
        return
    from rich.text import Text

    from rlx.runs.live import clock, quantity

    table = new_table("run", "state", "progress", "env steps", "return", "evaluated", "checkpoint", "age")
    for run in summaries:
        state = str(run["state"])
        progress = run.get("progress")
        table.add_row(
            str(run["run"]),
            Text(state, style=_STATE_STYLES.get(state, "")),
            "-" if progress is None else f"{100 * progress:.0f}%",
            quantity(run.get("env_steps")),
            _real(run.get("return_mean")),
            _real(run.get("evaluation_return_mean")),
            str(run.get("last_checkpoint") or "-"),
            "-" if run.get("age_seconds") is None else clock(run["age_seconds"]),
        )
    new_console().print(table)


def run(description: Mapping[str, Any], returns: Sequence[float], *, as_json: bool) -> None:
    """Print one run of `rlx show`."""
    if as_json:
        json_document(description)
        return
    from rlx.experiment.memory import format_bytes
    from rlx.runs.live import clock, sparkline

    d = description
    manifest = d["manifest"]
    versions = manifest.get("versions") or {}
    hardware = manifest.get("hardware") or {}
    git = manifest.get("git")
    stop = ", ".join(f"{key} {value:g}" for key, value in d["stop"].items())
    progress = "" if d["progress"] is None else f" ({100 * d['progress']:.1f}%)"
    pairs = [
        ("run", d["path"]),
        ("experiment", f"{d['algorithm']} on {d['env']}, seed {d['seed']}"),
        ("state", d["state"] + (f": {d['error']}" if d.get("error") else "")),
        ("stop", f"{stop}{progress}"),
        ("done", f"{d['env_steps']} env steps, {d['env_frames']} frames, {d['updates']} updates"),
        ("time", f"{clock(d['seconds'])} in {d['sessions']} session(s), last {clock(d['age_seconds'])} ago"),
        ("return", f"{_real(d['return_mean'])}  {sparkline(returns, 60)}"),
        ("evaluations", _evaluations(d["evaluations"])),
        ("commit", "none" if not git else f"{git['commit'][:12]}{' with changes' if git['dirty'] else ''}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("machine", f"{hardware.get('cpu')}, {hardware.get('cpu_cores')} cores, "
         f"{format_bytes(hardware.get('memory_bytes') or 0)}, {len(hardware.get('gpus') or [])} GPUs"),
        ("command", " ".join(manifest.get("command") or [])),
    ]  # fmt: skip
    named_lines(pairs)
    for checkpoint in d["checkpoints"]:
        size = format_bytes(checkpoint["size_bytes"])
        print(f"  {checkpoint['name']}  {checkpoint['env_steps']} env steps  {size}")
    if (best := d["best"]) is not None:
        size = format_bytes(best["size_bytes"])
        print(f"  {best['name']}  {best['env_steps']} env steps  {size}  best, {_real(best['return_mean'])}")


@contextlib.contextmanager
def progress(what: str, total: int | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr while something runs; yields what is told how much is done.

    Without a total (nobody knows the length of a game) it says how much is done, and that it goes on.
    Nothing is shown if `quiet`, or where stderr is not a terminal.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def evaluation(record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what `rlx evaluate` found."""
    if as_json:
        json_document(record)
        return
    from rlx.evaluation.protocols import PROTOCOLS
    from rlx.runs.live import clock

    interval = record["return_interval"]
    spread = "" if interval is None else f"  95% [{_real(interval[0])}, {_real(interval[1])}]"
    named_lines(
        [
            ("run", f"{record['run']}, {record['checkpoint']} ({record['env_steps']} env steps)"),
            ("protocol", f"{record['protocol']}: {PROTOCOLS[record['protocol']].title}"),
            ("episodes", f"{record['episodes']}, epsilon {record['epsilon']:g}, seed {record['seed']}, "
             f"played in {clock(record['seconds'])}"),
            ("return", f"mean {_real(record['return_mean'])}{spread}, "
             f"median {_real(record['return_median'])}, "
             f"from {_real(record['return_min'])} to {_real(record['return_max'])}"),
            ("recorded in", record["file"]),
        ]
    )  # fmt: skip


def watched(records: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print the episodes of `rlx watch`."""
    if as_json:
        json_document(records)
        return
    from rlx.evaluation.protocols import PROTOCOLS

    first = records[0]
    named_lines(
        [
            ("run", f"{first['run']}, {first['checkpoint']} ({first['env_steps']} env steps)"),
            ("protocol", f"{first['protocol']}: {PROTOCOLS[first['protocol']].title}"),
            ("policy", f"epsilon {first['epsilon']:g}, seed {first['seed']}"),
        ]
    )
    for record in records:
        print()
        named_lines(_watched_pairs(record))
        if record["video"]["cut"]:
            shown = record["video"]["seconds"]
            text = f"episode {record['episode']} is longer than its video, which was cut after {shown:.0f}s"
            notes([f"{text}; --max-seconds shows more"])


def _watched_pairs(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    from rlx.experiment.memory import format_bytes

    video, steps = record["video"], record["length"]
    lasted = "" if record["game_seconds"] is None else f", {record['game_seconds']:.1f}s of the game"
    often = sorted(record["actions"].items(), key=lambda item: -item[1])
    chosen = ", ".join(f"{name} {100 * count / steps:.0f}%" for name, count in often if count)
    random = f"; {record['random_actions']} at random" if record["random_actions"] else ""
    return [
        ("episode", f"{record['episode']}, {record['end']}"),
        ("return", f"{record['return']:g}"),
        ("length", f"{steps} env steps, {record['frames']} frames{lasted}"),
        ("value", f"mean {_real(record['value_mean'])}, from {_real(record['value_min'])} "
         f"to {_real(record['value_max'])} (greatest Q of each state)"),
        ("actions", chosen + random),
        ("video", f"{record['file']}: {video['pictures']} pictures of {video['width']}x{video['height']}, "
         f"{video['seconds']:.1f}s at {video['fps']:g} per second, {format_bytes(video['bytes'])}"),
    ]  # fmt: skip


def experiment(loaded: Any, *, as_json: bool) -> None:
    """Print a resolved experiment of `rlx show`."""
    if as_json:
        json_document(_experiment_facts(loaded))
        return
    notes(loaded.notes)
    _print_spec(loaded)
    _print_deviations(loaded)


def dry_run(loaded: Any, checks: Sequence[Any], *, as_json: bool) -> None:
    """Print what `rlx train` would do: the experiment, its runs, their needs, deviations from the paper."""
    if as_json:
        json_document({**_experiment_facts(loaded), "runs": [_check_facts(check) for check in checks]})
        return
    from rlx.experiment.memory import format_bytes

    _print_spec(loaded)
    for check in checks:
        print(f"\nrun {check.run.name}")
        protocol = ", ".join(f"{key} {value}" for key, value in check.protocol.items() if value is not None)
        named_lines(
            [
                ("environment", protocol),
                ("cores", f"{check.cpus_needed:g} busy of {check.cpus_available}; "
                 f"{check.learner_threads} torch thread(s) per learner"),
                ("memory", f"about {format_bytes(check.memory.total)} of "
                 f"{format_bytes(check.memory_available_bytes)}: "
                 + ", ".join(f"{name} {format_bytes(size)}" for name, size in check.memory.parts.items())),
            ]
        )  # fmt: skip
    _print_deviations(loaded)


def algorithms(presets: Sequence[Any], *, as_json: bool) -> None:
    """Print the algorithms."""
    rows = [
        {"name": p.name, "title": p.title, "builds_on": p.parent.name if p.parent else None} for p in presets
    ]
    if as_json:
        json_document(rows)
        return
    table = new_table("algorithm", "what it is", "builds on")
    for row in rows:
        table.add_row(row["name"], row["title"], row["builds_on"] or "-")
    new_console().print(table)


def algorithm(preset: Any, values: Mapping[tuple[str, ...], tuple[Any, str]], *, as_json: bool) -> None:
    """Print one algorithm with every value of its preset and where the value is from."""
    rows = [
        {"path": ".".join(path), "value": value, "source": source} for path, (value, source) in values.items()
    ]
    if as_json:
        json_document({"name": preset.name, "title": preset.title, "values": rows})
        return
    print(f"{preset.name}: {preset.title}")
    table = new_table("setting", "value", "source")
    for row in rows:
        table.add_row(str(row["path"]), _yaml(row["value"]), str(row["source"]))
    new_console().print(table)


def bench_rows(rows: Sequence[Mapping[str, Any]], file: Path | None) -> ExitCode:
    """Print the figures of `rlx bench`, write them as JSON, and say whether all reach their floors."""
    if file is not None:
        from rlx.runs.files import plain

        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(plain(list(rows)), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    columns = ("name", "value", "unit", "limit", "ratio", "floor", "ok")
    table = new_table(*columns)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    new_console().print(table)
    return ExitCode.BELOW_FLOOR if any(row.get("ok") is False for row in rows) else ExitCode.OK


def comparison(document: Mapping[str, Any], format: str, file: Path | None) -> ExitCode:
    """Print or write what `rlx compare` found; the exit code that its requirements ask for."""
    from rlx.compare.render import to_csv, to_html
    from rlx.runs.files import plain

    if format == "json":
        text_or_file(json.dumps(plain(document), indent=2, allow_nan=False) + "\n", file)
    elif format in ("csv", "html"):
        text_or_file(to_csv(document) if format == "csv" else to_html(document), file)
    else:
        _comparison_tables(document, file)
    return requirements(document)


def requirements(document: Mapping[str, Any]) -> ExitCode:
    """Say on stderr which requirements are not met; the exit code that they ask for."""
    from rlx.compare.comparison import met

    for outcome in document["requirements"]:
        if not outcome["met"]:
            value = outcome["reason"] or f"it is {outcome['value']:.4g}"
            print(f"rlx: not met: {outcome['requirement']} ({outcome['agent']}): {value}", file=sys.stderr)
    return ExitCode.OK if met(document) else ExitCode.REQUIREMENT_NOT_MET


def references(known: Sequence[Any], *, as_json: bool) -> None:
    """Print the published results of `rlx references`."""
    if as_json:
        json_document([_reference_facts(reference) for reference in known])
        return
    table = new_table("name", "paper", "games", "median", "mean", "protocol", "caveats")
    for reference in known:
        table.add_row(
            reference.name,
            reference.source,
            str(reference.aggregates.num_games),
            _real(reference.median_hns),
            _real(reference.mean_hns),
            _short_protocol(reference.protocol),
            " ".join(reference.caveats),
        )
    new_console().print(table)
    print("median and mean are human-normalised (1 = human), over the games that it has; rlx references NAME")


def reference(found: Any, *, as_json: bool) -> None:
    """Print one published result with its scores."""
    if as_json:
        json_document({**_reference_facts(found), **found.as_dict(), "games": list(found.games)})
        return
    named_lines(_reference_pairs(found))
    _print_reference_scores(found)


def _reference_pairs(found: Any) -> list[tuple[str, str]]:
    totals = found.aggregates
    statistics = (
        f"median {_real(totals.median_hns)}, mean {_real(totals.mean_hns)}, "
        f"capped mean {_real(totals.capped_mean_hns)}, 5th percentile {_real(totals.p5_hns)}"
    )
    printed = found.published
    return [
        ("name", f"{found.name}: {found.title}"),
        ("paper", f"{found.source} <{found.address}>"),
        ("protocol", found.protocol.words),
        ("budget", found.budget.words or "not stated"),
        ("seeds", "not stated" if found.seeds is None else str(found.seeds)),
        ("hardware", found.hardware or "not known"),
        ("over games", f"{totals.num_games}: {statistics}, {totals.games_above_human} at or above human"),
        ("printed", "nothing" if printed is None else
         f"median {_real(printed.median_hns)}, mean {_real(printed.mean_hns)} ({printed.where}): "
         f"{printed.verdict}"),
        *(("caveat", caveat) for caveat in found.caveats),
    ]  # fmt: skip


def _print_reference_scores(found: Any) -> None:
    from rlx.reference import find_game

    table = new_table("game", "score", "std over seeds", "human-normalised", "remarks")
    for name in found.games:
        others = [f"{o.where}: {o.score:g}" for o in found.other_scores if o.game == name]
        note = found.cell_notes.get(name)
        hns = find_game(name).baseline.normalise(found.scores[name])
        spread = _real(found.spreads.get(name))
        remarks = "; ".join([*others, *([note] if note else [])])
        table.add_row(name, _real(found.scores[name]), spread, _real(hns), remarks)
    new_console().print(table)


def cluster_checked(report: Any, *, as_json: bool) -> ExitCode:
    """Print what `rlx cluster check` found; the exit code for it."""
    if as_json:
        problems = problem_facts(report.problems)
        facts = [{"what": what, "text": text} for what, text in report.facts]
        json_document({"ok": not problems, "facts": facts, "problems": problems})
    else:
        named_lines(report.facts)
        for problem in report.problems:
            print(problem, file=sys.stderr)
    return ExitCode.CLUSTER if report.problems else ExitCode.OK


def problem_facts(problems: Sequence[Any]) -> list[dict[str, Any]]:
    """Return problems and their places as plain data."""
    keys = ("file", "line", "column", "path", "message", "hint")
    return [{key: getattr(problem, key) for key in keys} for problem in problems]


def cluster_facts(report: Any) -> None:
    """Say on stderr what a check found, before more is done."""
    named_lines(report.facts, sys.stderr)


def cluster_prepared(made: Any, *, as_json: bool) -> None:
    """Print what a cluster on AWS has before its first node."""
    pairs = [
        ("security_group", made.security_group),
        ("key_pair", made.key_name),
        ("private_key", str(made.key_file)),
        ("instance_profile", made.instance_profile),
    ]
    if as_json:
        json_document(dict(pairs))
    else:
        named_lines([(name.replace("_", " "), text) for name, text in pairs])


def leftovers(found: Sequence[Any], *, as_json: bool, to_stderr: bool = False) -> ExitCode:
    """Print what there is of clusters; the exit code says whether any of it costs money."""
    if as_json:
        json_document([one.as_dict() for one in found])
    else:
        stream = sys.stderr if to_stderr else sys.stdout
        _print_leftovers(found, stream)
        billing = sum(one.bills for one in found)
        print(f"{len(found)} found, {billing} of them cost money" if found else "nothing found", file=stream)
    return ExitCode.STILL_THERE if any(one.bills for one in found) else ExitCode.OK


def not_looked_at(unseen: Mapping[str, str]) -> ExitCode:
    """Name on stderr the places that could not be listed; the exit code for it."""
    for place, why in unseen.items():
        print(f"rlx: {place} could not be looked at: {why}", file=sys.stderr)
    return ExitCode.CLUSTER if unseen else ExitCode.OK


def cluster_down(outcome: Any, region: str, *, as_json: bool) -> ExitCode:
    """Print what `rlx cluster down` removed and what is left; the exit code for it."""
    standing = outcome.standing
    if as_json:
        json_document(
            {
                "cluster": outcome.cluster,
                "region": region,
                "account": outcome.account,
                "removed": [one.as_dict() for one in outcome.removed],
                "left": [
                    {**one.as_dict(), "reason": outcome.reasons.get(one.id, "")} for one in outcome.after
                ],
                "refused": outcome.unexplained,
                "ok": not standing,
            }
        )
    else:
        where = f"{region}, account {outcome.account}"
        print(f"{outcome.cluster} in {where}: {len(outcome.removed)} removed, {len(standing)} left")
        if outcome.after:
            _print_leftovers(outcome.after, sys.stdout)
    for one in standing:
        costs = "is still there and costs money" if one.bills else "is still there"
        why = outcome.reasons.get(one.id) or one.note or one.state
        print(f"rlx: {one.kind} {one.id} ({one.place}) {costs}: {why}", file=sys.stderr)
    for one in outcome.not_ours:
        print(f"rlx: {one.kind} {one.id} ({one.place}) stays: {one.note}", file=sys.stderr)
    for id, why in outcome.unexplained.items():
        print(f"rlx: {id}: {why}", file=sys.stderr)
    return ExitCode.STILL_THERE if standing else ExitCode.OK


def _print_leftovers(found: Sequence[Any], stream: Any) -> None:
    from rich.console import Console
    from rich.text import Text

    table = new_table("cluster", "place", "kind", "id", "state", "bills", "note")
    for one in found:
        bills = Text("yes", style="bold red") if one.bills else Text("no")
        table.add_row(one.cluster or "-", one.place, one.kind, one.id, one.state or "-", bills, one.note)
    if found:
        (Console(file=stream) if stream.isatty() else Console(file=stream, width=200)).print(table)


json_document = as_json


def _comparison_tables(document: Mapping[str, Any], file: Path | None) -> None:
    """Print the tables, or write them as plain text."""
    import io

    from rich.console import Console
    from rich.text import Text

    from rlx.compare.tables import tables

    buffer = io.StringIO()
    console = new_console() if file is None else Console(file=buffer, width=200)
    styles = {"above": "green", "below": "red"}
    for found in tables(document):
        table = new_table(*found.columns)
        marks = found.marks or ("",) * len(found.rows)
        for row, mark in zip(found.rows, marks, strict=True):
            table.add_row(*(Text(cell, style=styles.get(mark, "")) for cell in row))
        console.print(Text(found.title, style="bold"))
        console.print(table)
        for note in found.notes:
            console.print(Text(f"  {note}"))
        console.print()
    for note in document["notes"]:
        console.print(Text(f"note: {note}"))
    if file is not None:
        text_or_file(buffer.getvalue(), file)


def _short_protocol(protocol: Any) -> str:
    starts = f"{protocol.start}{protocol.noop_max or ''}"
    sticky = {None: "sticky?", 0.0: "no sticky"}.get(protocol.sticky_action_probability, "sticky")
    return f"{starts}, {sticky}, {protocol.score_kind}, {protocol.score_point}"


def _reference_facts(found: Any) -> dict[str, Any]:
    """Return what `rlx references --json` says of each: everything but single scores."""
    cells = ("scores", "spreads", "cell_notes", "other_scores")
    facts = {key: value for key, value in found.as_dict().items() if key not in cells}
    return {
        **facts,
        "paper": found.source,
        "games": list(found.games),
        "budget": dataclasses.asdict(found.budget),
    }


def _experiment_facts(loaded: Any) -> dict[str, Any]:
    return {
        "spec": loaded.spec.model_dump(mode="json"),
        "file": loaded.file,
        "notes": list(loaded.notes),
        "deviations": [d._asdict() for d in loaded.deviations()],
        "runs": [{"name": run.name, "env": run.env, "seed": run.seed} for run in loaded.runs()],
    }


def _check_facts(check: Any) -> dict[str, Any]:
    return {
        "name": check.run.name,
        "env": check.run.env,
        "seed": check.run.seed,
        "protocol": check.protocol,
        "memory_bytes": {**check.memory.parts, "total": check.memory.total},
        "memory_available_bytes": check.memory_available_bytes,
        "cpus_needed": check.cpus_needed,
        "cpus_available": check.cpus_available,
        "learner_torch_threads": check.learner_threads,
    }


def _print_spec(loaded: Any) -> None:
    """Print YAML with the origin of each value that the user gave as a comment."""
    for path, value in _leaves(loaded.spec.model_dump(mode="json")):
        origin = str(loaded.origin(".".join(path)))
        indent = "  " * (len(path) - 1)
        if value is _SECTION:
            print(f"{indent}{path[-1]}:")
            continue
        line = f"{indent}{path[-1]}: {_yaml(value)}"
        given = not origin.startswith(("preset ", "default"))
        print(f"{line:<60} # {origin}" if given else line)


def _print_deviations(loaded: Any) -> None:
    found = loaded.deviations()
    if not found:
        print("\nno value differs from the paper")
        return
    print("\ndiffers from the paper:")
    for deviation in found:
        print(f"  {deviation.path}: {_yaml(deviation.ours)} (paper: {_yaml(deviation.paper)})")


_SECTION = object()


def _leaves(data: Mapping[str, Any], at: tuple[str, ...] = ()) -> Sequence[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in data.items():
        path = (*at, str(key))
        if isinstance(value, Mapping) and value:
            found.append((path, _SECTION))
            found.extend(_leaves(value, path))
        else:
            found.append((path, value))
    return found


def _yaml(value: Any) -> str:
    from rlx.experiment.validate import as_yaml

    return str(as_yaml(list(value) if isinstance(value, tuple) else value))


def _result_facts(result: Any) -> dict[str, Any]:
    from rlx.runs.files import plain

    facts = {
        "run": result.path.name,
        "path": str(result.path),
        "state": result.state,
        "reason": result.reason,
        "checkpoint": result.checkpoint,
        "evaluation_return_mean": (result.evaluation or {}).get("return_mean"),
        "warnings": result.warnings,
        "mirror": None if result.mirror is None else dataclasses.asdict(result.mirror),
    }
    keys = ("env_steps", "env_frames", "updates", "seconds", "return_mean")
    return dict(plain({**facts, **{key: result.row.get(key) for key in keys}}))


def _results_table(results: Sequence[Any], total: int) -> None:
    from rich.text import Text

    from rlx.runs.live import clock, quantity

    table = new_table(
        "run", "state", "env steps", "updates", "time", "return", "evaluated", "checkpoint", "why"
    )
    for result in results:
        row = result.row
        table.add_row(
            str(result.path),
            Text(result.state, style=_STATE_STYLES.get(result.state, "")),
            quantity(row.get("env_steps")),
            quantity(row.get("updates")),
            clock(row.get("seconds") or 0.0),
            _real(row.get("return_mean")),
            _real((result.evaluation or {}).get("return_mean")),
            result.checkpoint or "-",
            result.reason,
        )
    new_console().print(table)
    if len(results) < total:
        print(f"{total - len(results)} of {total} runs were not started")


def _evaluations(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "none yet"
    last = rows[-1]
    best = max(float(row.get("return_mean") or float("-inf")) for row in rows)
    spread = _real(last.get("return_std"))
    return (
        f"{_real(last.get('return_mean'))} +- {spread} over {last.get('episodes')} episodes "
        f"at {last.get('env_steps')} env steps; best {_real(best)} of {len(rows)}"
    )


def named_lines(named: Sequence[tuple[str, str]], stream: Any = None) -> None:
    """Print one line for each (name, text), the texts below each other."""
    width = max((len(name) for name, _ in named), default=0)
    for name, text in named:
        print(f"{name:<{width}}  {text}", file=stream)


def _real(value: Any) -> str:
    return "-" if value is None else f"{float(value):.2f}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def new_table(*columns: str) -> Table:
    """Make an empty table with these columns."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index == 0 and len(columns) < 4)
    return table


def new_console() -> Console:
    """Make a console for stdout."""
    from rich.console import Console

    # A pipe has no width: do not fold its lines at 80 columns.
    return Console(file=sys.stdout) if sys.stdout.isatty() else Console(file=sys.stdout, width=200)
