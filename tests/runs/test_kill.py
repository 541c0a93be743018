"""kill -9 of the whole program: it is seen as crashed, and resuming ends where an undisturbed run ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from rlx.runs.checkpoints import list_checkpoints
from rlx.runs.directory import RunDirectory
from rlx.runs.metrics import read_results

ROOT = Path(__file__).resolve().parents[2]


def start(path: Path, mode: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.runs.kill_me", str(path), mode]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_rows(path: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(read_results(path)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def weights(output: str) -> str:
    return next(line for line in output.splitlines() if line.startswith("weights"))


def test_kill_minus_nine_and_resume(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", "once")
    killed = start(tmp_path / "killed", "forever")
    path = tmp_path / "killed"
    wait_for_rows(path, 5)
    assert RunDirectory(path).state == "running"
    second = start(path, "resume")
    output, _ = second.communicate(timeout=30)
    assert second.returncode != 0
    assert "RunLockedError" in output
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert RunDirectory(path).state == "crashed"
    recorded = [(row["session"], row["env_steps"]) for row in read_results(path)]
    last = list_checkpoints(path / "checkpoints")[-1].env_steps

    output, _ = start(path, "resume").communicate(timeout=30)
    assert f"resumed from checkpoint_{last // 200:06d} at {last} env steps" in output
    rows = [(row["session"], row["env_steps"]) for row in read_results(path)]
    assert [steps for _, steps in rows] == list(range(100, 2001, 100))
    discarded = (path / "result.discarded.json").exists()
    kept = [entry for entry in recorded if entry in rows]
    assert kept == [entry for entry in recorded if entry[1] <= last]
    assert discarded == (len(kept) < len(recorded))
    assert weights(output) == weights(whole.communicate(timeout=30)[0])
    history = [entry["state"] for entry in RunDirectory(path).manifest["state_history"]]
    assert history == ["created", "running", "crashed", "running", "finished"]


def test_a_half_written_checkpoint_of_a_killed_program_is_removed(tmp_path: Path) -> None:
    start(tmp_path / "run", "once").communicate(timeout=30)
    torn = tmp_path / "run" / "checkpoints" / ".tmp-checkpoint_000099"
    torn.mkdir()
    (torn / "half").write_bytes(b"x" * 1000)
    output, _ = start(tmp_path / "run", "resume").communicate(timeout=30)
    assert "removed half-written checkpoints: .tmp-checkpoint_000099" in output
    assert not torn.exists()
