"""Small run directories with chosen numbers, written by the code that writes real ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlx.envs.spec import resolve_env
from rlx.evaluation.protocols import find_protocol, with_protocol
from rlx.runs.directory import RunDirectory
from rlx.runs.metrics import MetricsWriter
from tests.runs.fake_engine import make_spec

Point = tuple[float, float, float | None]
"""Frames, seconds, score."""


def make_run(
    root: Path,
    points: Sequence[Point],
    *,
    name: str = "ours",
    env: str = "BreakoutNoFrameskip-v4",
    seed: int = 0,
    evaluations: Sequence[tuple[float, float]] = (),
    state: str = "finished",
    **sections: Any,
) -> Path:
    """Write a run: its curve, and evaluations `(frames, score)` at frames that the curve has."""
    spec = make_spec(name=name, env=env, seeds=[seed], **sections)
    path = root / f"{name}-{env.replace('/', '-')}-seed{seed}"
    directory = RunDirectory(path)
    path.mkdir(parents=True, exist_ok=True)
    resolved = resolve_env(env, spec.environment)
    directory.prepare(spec, protocol=dataclasses.asdict(resolved))
    directory.set_state(state)
    writer = MetricsWriter(path, tensorboard=False)
    iterations = {}
    for iteration, (frames, seconds, score) in enumerate(points, 1):
        iterations[frames] = iteration
        steps = int(frames / resolved.frames_per_step)
        row = {"training_iteration": iteration, "seconds": seconds, "return_mean": score}
        writer.write({**row, "env_steps": steps, "env_frames": frames})
    for frames, score in evaluations:
        row = {"training_iteration": iterations[frames], "env_frames": frames, "episodes": 10}
        writer.write_evaluation({**row, "epsilon": 0.001, "return_mean": score, "returns": [score]})
    writer.close()
    return path


def add_record(
    run: Path, score: float, frames: float, *, protocol: str = "noop30", checkpoint: int = 1, **changes: Any
) -> Path:
    """Write what `rlx evaluate` leaves."""
    manifest = json.loads((run / "manifest.json").read_text())
    env = resolve_env(manifest["env"])
    played = with_protocol(env, find_protocol(protocol, env.family))
    record = {
        "run": run.name, "env": env.id, "checkpoint": f"checkpoint_{checkpoint:06}", "protocol": protocol,
        "env_frames": frames, "training_seconds": frames / 1000, "epsilon": 0.001, "episodes": 100,
        "environment": dataclasses.asdict(played), "return_mean": score, "returns": [score],
        "created_at": 1.0, **changes,
    }  # fmt: skip
    folder = run / "evaluations"
    folder.mkdir(exist_ok=True)
    file = folder / f"{protocol}-{checkpoint}-{record['episodes']}.json"
    file.write_text(json.dumps(record))
    return file


def line(last_frames: float, last_seconds: float, last_score: float, rows: int = 50) -> list[Point]:
    """Return a curve that rises linearly from its first row to its last."""
    parts = [(index + 1) / rows for index in range(rows)]
    return [(last_frames * part, last_seconds * part, last_score * part) for part in parts]
