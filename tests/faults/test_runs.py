"""Runs of the real engine that meet a NaN, a full disk, or kill -9."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rlx.experiment.build import build_engine
from rlx.replay.snapshot import SnapshotJob
from rlx.runs.checkpoints import list_checkpoints
from rlx.runs.directory import RunDirectory, read_manifest
from rlx.runs.errors import NonFiniteLossError
from rlx.runs.loop import RunResult, train
from rlx.runs.metrics import read_results
from tests.engines import DETERMINISTIC, R2D2_LOCAL, RAINBOW, SMALL, merged, small_spec
from tests.plugins.toys import Predictor
from tests.runs.fake_engine import RecordingView

FEW_CHECKPOINTS = {
    "checkpointing": {"interval_seconds": None, "interval_env_steps": 1000, "keep_last": 20},
    "evaluation": {"interval_env_steps": 100_000, "at_end": False},
}


def run(path: Path, *layers: dict[str, Any], if_exists: str = "fail") -> tuple[RunResult, RecordingView]:
    view = RecordingView()
    spec = small_spec(DETERMINISTIC, FEW_CHECKPOINTS, *layers)
    result = train(spec, RunDirectory(path), build_engine, view, if_exists=if_exists, tensorboard=False)
    return result, view


@pytest.mark.usefixtures("ray_started")
def test_nan_stops_the_run_and_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    assert Predictor.name == "predictor"
    broken = {
        "plugins": {"predictor": {"nan_after_updates": 300}},
        "stop": {"env_steps": 50_000},
    }
    result, _ = run(tmp_path / "run", broken)
    assert result.state == "failed"
    assert isinstance(result.error, NonFiniteLossError)
    good = list_checkpoints(tmp_path / "run" / "checkpoints")[-1].path.name
    assert good in result.reason
    assert "loss became nan at update 301" in result.reason
    rows = read_results(tmp_path / "run")
    assert rows
    assert all(np.isfinite(row["loss"]) for row in rows if row.get("loss") is not None)
    manifest = read_manifest(tmp_path / "run")
    assert manifest["state"] == "failed"

    # What the checkpoint holds is fine: without the fault the run goes on from it.
    fixed = {"plugins": {"predictor": {}}, "stop": {"env_steps": rows[-1]["env_steps"] + 500}}
    from rlx.algorithms.engine import ReplayAlgorithm

    algo = build_engine(small_spec(DETERMINISTIC, FEW_CHECKPOINTS, fixed), tmp_path)
    assert isinstance(algo, ReplayAlgorithm)
    algo.restore(tmp_path / "run" / "checkpoints" / good)
    assert np.isfinite(algo.train()["rlx"]["loss"])
    algo.stop()


@pytest.mark.usefixtures("ray_started")
def test_nan_in_a_learner_process_stops_the_run_too(tmp_path: Path) -> None:
    broken = {
        "plugins": {"predictor": {"nan_after_updates": 30}},
        "learners": {"num_learners": 1},
        "replay": {"num_shards": 1},
        "debugging": {"deterministic": False},
    }
    result, _ = run(tmp_path / "run", broken)
    assert result.state == "failed"
    assert isinstance(result.error, NonFiniteLossError)
    assert "loss became nan at update 31" in result.reason
    assert not any("died" in warning for warning in result.warnings), "not taken for a dead process"


@pytest.mark.usefixtures("ray_started")
def test_full_disk_under_a_checkpoint_does_not_stop_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = SnapshotJob._run, []

    def full_once(self: SnapshotJob) -> None:
        calls.append(self)
        if len(calls) == 2:
            self._error = OSError(errno.ENOSPC, "No space left on device")
            return
        original(self)

    monkeypatch.setattr(SnapshotJob, "_run", full_once)
    result, _ = run(tmp_path / "run", {"stop": {"env_steps": 4000}})
    assert result.state == "finished"
    assert len(calls) >= 3
    assert any("disk full" in warning for warning in result.warnings), result.warnings
    names = [c.path.name for c in list_checkpoints(tmp_path / "run" / "checkpoints")]
    assert len(names) == len(calls) - 1
    assert not [p for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.startswith(".tmp")]
    assert read_results(tmp_path / "run")[-1]["env_steps"] >= 4000


@pytest.mark.usefixtures("ray_started")
def test_full_disk_under_the_small_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = Path.write_bytes, []

    def full_once(self: Path, data: bytes) -> int:
        if self.name == "state.pkl" and self.parent.name == "rlx":
            calls.append(self)
            if len(calls) == 1:
                raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", full_once)
    result, _ = run(tmp_path / "run", {"stop": {"env_steps": 3000}})
    assert result.state == "finished"
    assert len(calls) >= 2
    assert any("disk full" in warning for warning in result.warnings), result.warnings
    assert list_checkpoints(tmp_path / "run" / "checkpoints")


def command(*arguments: str, cwd: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        [sys.executable, "-m", "rlx.cli.main", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def final_weights(run_dir: Path) -> dict[str, np.ndarray]:
    import torch

    from rlx.experiment.resolve import from_mapping

    del torch
    spec = from_mapping(read_manifest(run_dir)["spec"])
    algo = build_engine(spec, run_dir)
    algo.restore(list_checkpoints(run_dir / "checkpoints")[-1].path)
    from tests.engines import state_of

    weights = state_of(algo)
    algo.stop()
    return weights


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_started")
@pytest.mark.parametrize("algorithm", [RAINBOW, R2D2_LOCAL], ids=["rainbow", "r2d2"])
def test_kill_9_and_resume_equals_an_uninterrupted_run(algorithm: dict[str, Any], tmp_path: Path) -> None:
    """With R2D2, lanes are in the middle of sequences at the checkpoint and at the kill."""
    ends = {"name": "twin", "stop": {"env_steps": 6000}}
    experiment = merged(SMALL, DETERMINISTIC, FEW_CHECKPOINTS, algorithm, ends)
    (tmp_path / "twin.yaml").write_text(yaml.safe_dump(experiment))
    whole = command("train", "twin.yaml", "--out", "whole", cwd=tmp_path)
    assert whole.wait(400) == 0, whole.stderr.read() if whole.stderr else ""

    killed = command("train", "twin.yaml", "--out", "killed", cwd=tmp_path)
    deadline = time.monotonic() + 300
    checkpoints: list[Any] = []
    while not checkpoints:
        time.sleep(0.05)
        assert killed.poll() is None
        assert time.monotonic() < deadline
        found = next((tmp_path / "killed").glob("*/checkpoints"), None)
        checkpoints = list_checkpoints(found) if found else []
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    (run_dir,) = (tmp_path / "killed").iterdir()
    recorded = read_results(run_dir)
    assert recorded[-1]["env_steps"] < 6000, "was killed in the middle"
    resumed = command("resume", str(run_dir), cwd=tmp_path)
    assert resumed.wait(400) == 0, resumed.stderr.read() if resumed.stderr else ""

    (whole_dir,) = (tmp_path / "whole").iterdir()
    one, other = final_weights(whole_dir), final_weights(run_dir)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    keys = ("env_steps", "updates", "samples", "episodes", "return_mean", "loss")
    rows = [[[row.get(key) for key in keys] for row in read_results(d)] for d in (whole_dir, run_dir)]
    assert rows[0] == rows[1], "the metrics of the two halves are those of the whole"
