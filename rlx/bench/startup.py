"""From a command to its first environment step."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rlx.bench.figure import Context, Figure, Row, row
from rlx.errors import RlxError
from rlx.experiment.catalog import find_experiment

LIMIT_SECONDS = 15.0
_NAME = "seconds_to_first_env_step"
_TIMEOUT_SECONDS = 180.0


def seconds_to_first_env_step(experiment: str) -> float:
    """Run `rlx train EXPERIMENT` in a fresh interpreter; return the seconds its manifest names.

    Raises:
        RlxError: the run failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with tempfile.TemporaryDirectory(prefix="rlx-bench-") as folder:
        command = [sys.executable, "-m", "rlx.cli.main", "train", str(find_experiment(experiment))]
        command += ["--out", folder, "--plain", "--stop", "env_steps=200"]
        # What comes after the first step is not measured.
        for setting in (
            "evaluation.at_end=false",
            "checkpointing.at_end=false",
            "reporting.interval_seconds=0.5",
        ):
            command += ["--set", setting]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, env=environment, check=False
        )
        manifests = list(Path(folder).glob("*/manifest.json"))
        if done.returncode != 0 or not manifests:
            said = (done.stderr or done.stdout).strip().splitlines()[-3:]
            raise RlxError(f"rlx train ended with {done.returncode}: {' '.join(said)}", experiment)
        session = json.loads(manifests[0].read_text())["sessions"][-1]
    return float(session[_NAME])


def _startup(context: Context) -> Iterator[Row]:
    times = []
    repeats = 1 if context.budget.quick else 3
    for turn in range(repeats):
        times.append(seconds_to_first_env_step("cartpole-apex"))
        context.progress((turn + 1) / repeats)
    value = statistics.median(times)
    yield row(_NAME, value, "seconds", limit=LIMIT_SECONDS, floor=1.0, less_is_better=True)


FIGURES = (Figure(_NAME, _startup, 1.0),)
