"""Read runs: what `rlx ls` and `rlx show` say. Changes nothing and needs no lock."""

from __future__ import annotations

import contextlib
import difflib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlx.runs.checkpoints import list_checkpoints
from rlx.runs.directory import RunDirectory, effective_state, read_manifest
from rlx.runs.errors import RlxError, RunDirectoryError, RunNotFoundError
from rlx.runs.metrics import RESULTS, read_evaluations, read_last_result, read_results
from rlx.runs.policies import BEST_FOLDER, best_policy, list_policies, rating
from rlx.runs.stopping import limits, progress


def list_runs(root: Path) -> list[dict[str, Any]]:
    """Return a summary of every run below a folder (two levels deep), newest first.

    A run that cannot be read has `state: damaged` and an `error`.
    """
    found = []
    for path in run_paths(root):
        try:
            found.append(summarize(path))
        except RlxError as error:
            found.append({"run": path.name, "path": str(path), "state": "damaged", "error": str(error)})
    return sorted(found, key=lambda run: -(run.get("created_at") or 0.0))


def run_paths(root: Path) -> list[Path]:
    """Return the run directories below a folder, two levels deep."""
    patterns = ("manifest.json", "*/manifest.json", "*/*/manifest.json")
    return sorted({file.parent for pattern in patterns for file in root.glob(pattern)})


def find_run(text: str, root: Path) -> RunDirectory:
    """Find a run by its path, its name below `root`, or an unambiguous beginning of it.

    Raises:
        RunNotFoundError: there is none, with the nearest names; or several begin so.
    """
    for path in (Path(text), root / text):
        if (path / "manifest.json").is_file():
            return RunDirectory(path)
    names = {path.name: path for path in run_paths(root)}
    begun = [name for name in names if name.startswith(text.rstrip("/"))]
    if len(begun) == 1:
        return RunDirectory(names[begun[0]])
    if begun:
        raise RunNotFoundError("several runs begin so", text, f"name one of: {', '.join(sorted(begun))}")
    near = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"rlx ls --out {root} lists runs"
    raise RunNotFoundError(f"no such run in {root}", text, hint)


def summarize(path: Path, *, now: float | None = None) -> dict[str, Any]:
    """Return state, progress and score of a run, as plain data.

    Counts are of the newest row that is recorded; `return_mean` is None before the first finished episode.
    `checkpoints` lists complete ones, oldest first.

    Raises:
        RlxError: there is no run, or a file of it is damaged.
    """
    now = time.time() if now is None else now
    manifest = read_manifest(path)
    try:
        return _summary(path, manifest, now)
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise RunDirectoryError(
            f"damaged: a file has what rlx does not write ({type(error).__name__}: {error})", str(path)
        ) from error


def _summary(path: Path, manifest: Mapping[str, Any], now: float) -> dict[str, Any]:
    row = read_last_result(path) or {}
    stop = limits(manifest.get("spec", {}).get("stop") or {})
    where = progress(stop, row)
    evaluations = read_evaluations(path)
    checkpoints = [_checkpoint(entry) for entry in list_checkpoints(path / "checkpoints")]
    updated = _updated_at(path, manifest)
    return {
        "run": path.name,
        "path": str(path),
        "name": manifest.get("name"),
        "algorithm": manifest.get("algorithm"),
        "env": manifest.get("env"),
        "seed": next(iter(manifest.get("seeds") or []), None),
        "state": effective_state(path, manifest),
        "env_steps": int(row.get("env_steps") or 0),
        "env_frames": int(row.get("env_frames") or 0),
        "updates": int(row.get("updates") or 0),
        "samples": int(row.get("samples") or 0),
        "episodes": int(row.get("episodes") or 0),
        "seconds": float(row.get("seconds") or 0.0),
        "return_mean": _real(row.get("return_mean")),
        "evaluation_return_mean": _real(evaluations[-1].get("return_mean")) if evaluations else None,
        "env_steps_per_second": row.get("env_steps_per_second"),
        "updates_per_second": row.get("updates_per_second"),
        "stop": stop,
        "progress": None if where is None else where.fraction,
        "created_at": manifest.get("created_at"),
        "updated_at": updated,
        "age_seconds": max(0.0, now - updated),
        "sessions": len(manifest.get("sessions") or []),
        "checkpoints": checkpoints,
        "last_checkpoint": checkpoints[-1]["name"] if checkpoints else None,
        "error": (manifest.get("error") or {}).get("what"),
    }


def describe(path: Path) -> dict[str, Any]:
    """Return `summarize` with manifest, evaluations, best policy and last row: what `rlx show RUN` says.

    `best` is None where no policy was kept; else it has `return_mean` beside what a checkpoint has.
    """
    manifest = read_manifest(path)
    best = best_policy(list_policies(path / BEST_FOLDER))
    return {
        **summarize(path),
        "last_row": read_last_result(path),
        "best": None if best is None else {**_checkpoint(best), "return_mean": rating(best)},
        "evaluations": read_evaluations(path),
        "manifest": manifest,
    }


def returns(path: Path) -> list[float]:
    """Return `return_mean` of every row that has one, oldest first."""
    values = [row.get("return_mean") for row in read_results(path)]
    return [float(value) for value in values if value is not None]


def _checkpoint(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.path.name,
        "path": str(entry.path),
        "env_steps": entry.env_steps,
        "updates": entry.info.get("updates"),
        "size_bytes": entry.size_bytes,
        "created_at": entry.created_at,
    }


def _real(value: Any) -> float | None:
    return None if value is None else float(value)


def _updated_at(path: Path, manifest: Mapping[str, Any]) -> float:
    history = manifest.get("state_history") or []
    times = [float(manifest.get("created_at") or 0.0), *(float(entry.get("at") or 0.0) for entry in history)]
    with contextlib.suppress(OSError):
        times.append((path / RESULTS).stat().st_mtime)
    return max(times)
