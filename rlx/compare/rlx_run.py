"""Read a run of rlx: its learning curve, its evaluations, and who made it where."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlx.compare.budget import Series
from rlx.compare.errors import CompareError
from rlx.compare.records import Row, last_known, number, points, read_json_rows, required
from rlx.compare.subject import Subject
from rlx.compare.whole import refuse_missing_rows
from rlx.reference.atari import find_game
from rlx.reference.errors import UnknownGameError
from rlx.reference.reference import ScoreKind, ScoreProtocol
from rlx.runs.directory import RESUMABLE_SECTIONS, effective_state, read_manifest
from rlx.runs.evaluate import read_records
from rlx.runs.metrics import EVALUATIONS, RESULTS

TRAINING, EVALUATED, PLAYED = "training return", "evaluation while training", "rlx evaluate"

_TRAINING_WORDS = "mean return of the last 100 training episodes, exploration included"


def read_rlx_run(path: Path) -> Subject:
    """Read a run directory.

    Raises:
        RlxError: there is none, or a file in it is damaged.
    """
    manifest = read_manifest(path)
    for key in ("spec", "protocol"):
        if not isinstance(manifest.get(key), Mapping):
            raise CompareError(f"damaged manifest ({key} is missing)", str(path / "manifest.json"))
    env = str(manifest.get("env"))
    environment = _environment(manifest, path)
    rows = read_json_rows(path / RESULTS) if (path / RESULTS).exists() else []
    evaluations = read_json_rows(path / EVALUATIONS) if (path / EVALUATIONS).exists() else []
    records = read_records(path)
    refuse_missing_rows(path, manifest, rows, evaluations, len(records))
    curve = [_point(row, path / RESULTS) for row in rows]
    state = effective_state(path, manifest)
    settings = _settings(manifest)
    git = manifest.get("git") or {}
    score_protocol(environment, "training", _TRAINING_WORDS)
    series = (
        *_played(path, records),
        *_evaluated(path, rows, evaluations, environment),
        Series(
            TRAINING, score_protocol(environment, "training", _TRAINING_WORDS), *points(curve), reports=True
        ),
    )
    return Subject(
        path=path, tool="rlx", name=str(manifest.get("name") or path.name),
        algorithm=str(manifest.get("algorithm") or ""), env=env, game=_game(env, environment),
        seed=next(iter(manifest.get("seeds") or []), None), frames_per_step=environment["frame_skip"],
        settings=settings, series=tuple(item for item in series if len(item.score)),
        hardware=hardware_words(manifest.get("hardware") or {}),
        commit=f"{str(git.get('commit', ''))[:12]}{' with changes' if git.get('dirty') else ''}",
        state=state, env_frames=last_known(curve, 0), seconds=last_known(curve, 1),
        notes=() if state == "finished" else (f"the run is not finished: {state}",),
    )  # fmt: skip


def score_protocol(environment: Mapping[str, Any], kind: ScoreKind, words: str) -> ScoreProtocol:
    """Return how scores in an environment are measured.

    Args:
        environment: fields of `rlx.envs.spec.EnvSpec`.
        kind: training or evaluation.
        words: how the number was made.
    """
    noops, sticky = int(environment["noop_max"]), float(environment["sticky_action_probability"])
    cap = environment["max_episode_frames"]
    start = f"up to {noops} no-op starts" if noops else "no no-op starts"
    actions = f"sticky actions {sticky:g}" if sticky else "no sticky actions"
    length = f"episodes of at most {cap:,} frames" if cap else "no cap"
    return ScoreProtocol(
        "noop" if noops else "none", noops or None, sticky, cap, kind, "unstated",
        f"{start}; {actions}; {length}; {words}",
    )  # fmt: skip


def hardware_words(hardware: Mapping[str, Any]) -> str:
    """Return processor, cores and GPUs in one line."""
    if not hardware:
        return ""
    gpus = hardware.get("gpus") or []
    counted = f"{len(gpus)} GPU(s): {gpus[0]}" if gpus else "no GPU"
    return f"{hardware.get('cpu')}, {hardware.get('cpu_cores')} cores, {counted}"


def _environment(manifest: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Return the environment with nothing left open; an experiment's own section leaves defaults open."""
    recorded = (manifest.get("protocol") or {}).get("environment") or {}
    if recorded.get("frame_skip") is not None and "noop_max" in recorded:
        return dict(recorded)
    import dataclasses

    from rlx.envs.errors import EnvError
    from rlx.envs.spec import OVERRIDES, resolve_env

    try:
        known = {key: value for key, value in recorded.items() if key in OVERRIDES}
        return dataclasses.asdict(resolve_env(str(manifest.get("env")), known))
    except EnvError as error:
        raise CompareError(
            f"how its environment was played is not recorded, and cannot be found: {error}",
            str(path / "manifest.json"),
        ) from None


def _settings(manifest: Mapping[str, Any]) -> str:
    """Return all that is equal in the seeds of one agent, as text; the environment's id may differ."""
    spec = dict(manifest.get("spec") or {})
    sections = {section for section in RESUMABLE_SECTIONS if "." not in section}
    kept = {key: value for key, value in spec.items() if key not in {"env", "seeds", "name", *sections}}
    if isinstance(kept.get("debugging"), dict):
        kept["debugging"] = {k: v for k, v in kept["debugging"].items() if k != "log_level"}
    played = (manifest.get("protocol") or {}).get("environment") or {}
    atari = played.get("family") == "atari"
    how = [played.get(key) for key in ("noop_max", "sticky_action_probability")] if atari else []
    return json.dumps([kept, how], sort_keys=True, default=str)


def _game(env: str, environment: Mapping[str, Any]) -> str | None:
    from rlx.envs.ids import env_family

    if environment.get("family", env_family(env)) != "atari":
        return None
    try:
        return find_game(env).name
    except UnknownGameError:
        return None


def _point(row: Row, file: Path) -> tuple[float, float, float]:
    """Return frames, seconds and score of a row; before the first finished episode there is no score."""
    return required(row, "env_frames", file), number(row, "seconds", file), number(row, "return_mean", file)


def _evaluated(
    path: Path, results: Sequence[Row], rows: Sequence[Row], environment: Mapping[str, Any]
) -> list[Series]:
    """Return the evaluations that training made, under the environment's own protocol."""
    if not rows:
        return []
    file = path / EVALUATIONS
    clock = {row.cells.get("training_iteration"): number(row, "seconds", path / RESULTS) for row in results}
    table = [
        (
            required(row, "env_frames", file),
            clock.get(row.cells.get("training_iteration"), np.nan),
            required(row, "return_mean", file),
        )
        for row in rows
    ]
    last = rows[-1].cells
    words = f"evaluation of {last.get('episodes')} episodes, epsilon {last.get('epsilon')}"
    return [Series(EVALUATED, score_protocol(environment, "evaluation", words), *points(table))]


def _played(path: Path, records: Sequence[Mapping[str, Any]]) -> list[Series]:
    """Return the records of `rlx evaluate`: one series per protocol and epsilon, that of the newest first."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in reversed(records):
        found.setdefault((str(record["protocol"]), str(record.get("epsilon"))), []).append(record)
    return [_played_series(alike, path) for alike in found.values()]


def _played_series(records: Sequence[Mapping[str, Any]], path: Path) -> Series:
    """Make a series of one point per checkpoint: the record with the most episodes."""
    first = records[0]
    best: dict[float, Mapping[str, Any]] = {}
    try:
        for record in sorted(records, key=lambda record: int(record["episodes"])):
            best[float(record["env_frames"])] = record
        words = f"rlx evaluate, {first['episodes']} episodes, epsilon {first['epsilon']}"
        table = [
            (frames, float(record.get("training_seconds") or np.nan), float(record["return_mean"]))
            for frames, record in sorted(best.items())
        ]
        how = score_protocol(first["environment"], "evaluation", words)
    except (KeyError, TypeError, ValueError) as error:
        raise CompareError(
            f"a record of rlx evaluate lacks or garbles {error}", str(path / "evaluations"), "evaluate again"
        ) from None
    return Series(f"{PLAYED} --protocol {first['protocol']}", how, *points(table))
