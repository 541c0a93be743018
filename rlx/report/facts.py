"""What a page says of the runs beside scores: experiment, deviations, machine, speed, commit, command."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlx.compare.budget import duration, quantity
from rlx.compare.records import number, read_json_rows
from rlx.compare.subject import Agent, Subject
from rlx.compare.tables import Table
from rlx.runs.directory import read_manifest
from rlx.runs.metrics import RESULTS


@dataclass(frozen=True)
class Experiment:
    """The experiment of an agent.

    Attributes:
        agent: its name.
        text: YAML of the resolved values; empty where it was not recorded.
        deviations: `path`, ours, the paper's; None where it cannot be told.
        why: why there is no text, or why deviations cannot be told.
    """

    agent: str
    text: str
    deviations: tuple[tuple[str, str, str], ...] | None
    why: str = ""


def experiments(agents: Sequence[Agent]) -> list[Experiment]:
    """Return the experiment of each agent, as its first run recorded it: its seeds differ in nothing else."""
    return [_experiment(agent) for agent in agents]


def throughput(agents: Sequence[Agent]) -> Table:
    """Return how fast each run was: its counts divided by its seconds, over all its sessions."""
    columns = (
        "agent", "environment", "seed", "env steps/s", "frames/s", "updates/s", "replay ratio",
        "ratio asked for", "env steps", "updates", "time",
    )  # fmt: skip
    rows = tuple(
        (agent.name, run.env, "" if run.seed is None else str(run.seed), *_speed(run))
        for agent in agents
        for run in agent.subjects
    )
    return Table(
        "Throughput", columns, rows,
        ("Counts of the last row divided by its seconds: the mean over the run, start-up excluded. "
         "Replay ratio: samples learned from per env step.",),
    )  # fmt: skip


def provenance(agents: Sequence[Agent]) -> Table:
    """Return who made each run: seed, commit, command, versions, machine."""
    columns = ("agent", "environment", "seed", "state", "commit", "command", "versions", "hardware", "path")
    rows = []
    for agent in agents:
        for run in agent.subjects:
            manifest = read_manifest(run.path) if run.tool == "rlx" else {}
            versions = manifest.get("versions") or {}
            rows.append(
                (
                    agent.name, run.env, "" if run.seed is None else str(run.seed), run.state, run.commit,
                    shlex.join(map(str, manifest.get("command") or [])),
                    ", ".join(f"{name} {version}" for name, version in versions.items()),
                    run.hardware, str(run.path),
                )
            )  # fmt: skip
    notes = [f"{run.path}: {note}" for agent in agents for run in agent.subjects for note in run.notes]
    return Table("Seeds, commits, commands, hardware", columns, tuple(rows), tuple(dict.fromkeys(notes)))


def deviation_table(found: Sequence[Experiment]) -> Table:
    """Return every value that differs from the paper."""
    rows = [(one.agent, *row) for one in found for row in one.deviations or ()]
    notes = [
        f"{one.agent}: {one.why or 'no value differs from the paper'}" for one in found if not one.deviations
    ]
    return Table(
        "Deviations from the paper", ("agent", "setting", "here", "paper"), tuple(rows), tuple(notes)
    )


def _experiment(agent: Agent) -> Experiment:
    run = agent.subjects[0]
    if run.tool != "rlx":
        return Experiment(agent.name, "", None, "made by another tool, its experiment was not read")
    spec = read_manifest(run.path).get("spec") or {}
    everything = {
        **spec,
        "env": list(agent.runs),
        "seeds": list(dict.fromkeys(one.seed for one in agent.subjects)),
    }
    found, why = _deviations(spec)
    return Experiment(agent.name, _yaml(everything), found, why)


def _deviations(spec: Mapping[str, Any]) -> tuple[tuple[tuple[str, str, str], ...] | None, str]:
    from pydantic import ValidationError

    from rlx.experiment.resolve import deviations, from_recorded
    from rlx.experiment.validate import as_yaml

    try:
        found = deviations(from_recorded(spec))
    except (ValidationError, KeyError):
        return None, "recorded by another version of rlx, so that deviations cannot be told"
    return tuple((one.path, _value(one.ours, as_yaml), _value(one.paper, as_yaml)) for one in found), ""


def _value(value: Any, write: Any) -> str:
    return str(write(list(value) if isinstance(value, tuple) else value))


def _yaml(values: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=100))


def _speed(run: Subject) -> tuple[str, ...]:
    file = run.path / RESULTS
    if run.tool != "rlx" or not file.exists():
        return _speed_of_frames(run)
    rows = read_json_rows(file)
    if not rows:
        return ("",) * 8

    def last(key: str) -> float | None:
        value = number(rows[-1], key, file)
        return None if math.isnan(value) else value

    seconds = last("seconds")
    steps, frames, updates = last("env_steps"), last("env_frames"), last("updates")
    target = last("replay_ratio_target")
    return (
        _per(steps, seconds), _per(frames, seconds), _per(updates, seconds), _number(last("replay_ratio")),
        "free" if target == 0 else _number(target), "" if steps is None else quantity(steps),
        "" if updates is None else quantity(updates), "" if seconds is None else duration(seconds),
    )  # fmt: skip


def _speed_of_frames(run: Subject) -> tuple[str, ...]:
    seconds = run.seconds
    steps = None if run.env_frames is None else run.env_frames / run.frames_per_step
    return (
        _per(steps, seconds), _per(run.env_frames, seconds), "", "", "",
        "" if steps is None else quantity(steps), "", "" if seconds is None else duration(seconds),
    )  # fmt: skip


def _per(count: float | None, seconds: float | None) -> str:
    return "" if count is None or not seconds else quantity(count / seconds)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
