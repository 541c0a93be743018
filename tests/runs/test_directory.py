"""The manifest, the state of dead runs, and the summaries of ls and show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlx.runs.directory import HEARTBEAT_LIMIT_SECONDS, RunDirectory, effective_state, spec_changes
from rlx.runs.errors import RunDirectoryError, RunLockedError, RunNotFoundError
from rlx.runs.launch import recorded_spec
from rlx.runs.summary import find_run, list_runs, summarize
from tests.runs.fake_engine import make_spec


def begun(path: Path) -> RunDirectory:
    directory = RunDirectory(path)
    with directory.locked():
        assert directory.prepare(make_spec()) is False
        directory.begin_session()
    return directory


def test_the_manifest_says_what_where_and_how(tmp_path: Path) -> None:
    directory = begun(tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["spec"]["training"]["lr"] == make_spec().training.lr
    assert json.loads((tmp_path / "run" / "params.json").read_text()) == manifest["spec"]
    assert set(manifest["versions"]) >= {"python", "rlx", "torch", "ray", "ale-py"}
    assert manifest["hardware"]["cpu_cores"] >= 1
    assert manifest["hardware"]["memory_bytes"] > 0
    assert manifest["seeds"] == [0]
    assert "agent steps" in manifest["units"]["env_steps"]
    assert manifest["sessions"][0]["pid"] == os.getpid()
    assert directory.state == "running"
    assert recorded_spec(directory) == make_spec()


def test_a_run_whose_process_is_gone_has_crashed(tmp_path: Path) -> None:
    directory = begun(tmp_path / "run")
    session = directory.manifest["sessions"][0]
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    assert effective_state(directory.path, directory.manifest) == "running"
    session["pid"] = dead.pid
    assert effective_state(directory.path, directory.manifest) == "crashed"
    # The id is in use again by another process: it was started at another time.
    session["pid"] = os.getpid()
    session["process_started_at"] -= 1000
    assert effective_state(directory.path, directory.manifest) == "crashed"


def test_a_run_of_another_host_is_judged_by_its_heartbeat(tmp_path: Path) -> None:
    directory = begun(tmp_path / "run")
    directory.manifest["sessions"][0]["host"] = "elsewhere"
    beat = tmp_path / "run" / ".heartbeat"
    beat.touch()
    assert effective_state(directory.path, directory.manifest) == "running"
    old = time.time() - 2 * HEARTBEAT_LIMIT_SECONDS
    os.utime(beat, (old, old))
    assert effective_state(directory.path, directory.manifest) == "crashed"


def test_a_host_that_may_have_died_is_waited_for(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    run.manifest["sessions"][-1]["host"] = "elsewhere"
    run.save()
    run._heartbeat_stop.set()
    said: list[str] = []
    beat = run.path / ".heartbeat"
    beat.touch()

    def age(seconds: float) -> None:
        at = beat.stat().st_mtime - seconds
        os.utime(beat, (at, at))

    RunDirectory(run.path).wait_until_silent(
        said.append, sleep=lambda seconds: age(HEARTBEAT_LIMIT_SECONDS / 3)
    )
    assert len(said) == 1
    assert said[0].startswith("elsewhere gave a sign of life")
    assert RunDirectory(run.path).state == "crashed"
    os.utime(beat)
    with pytest.raises(RunLockedError, match="still running on elsewhere"):
        RunDirectory(run.path).wait_until_silent(said.append, sleep=lambda seconds: age(-5))
    run.end_session("stopped")
    RunDirectory(run.path).wait_until_silent(said.append, sleep=lambda seconds: pytest.fail("waited"))


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    directory = RunDirectory(tmp_path)
    with directory.locked(), pytest.raises(RunDirectoryError, match="other files"):
        directory.prepare(make_spec(), "overwrite")
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_spec_changes_name_leaves() -> None:
    changes = dict(spec_changes({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3, "d": 4}}))
    assert changes == {"a.c": (2, 3), "a.d": (None, 4)}


def test_runs_are_found_by_path_name_and_beginning(tmp_path: Path) -> None:
    for name in ("pong-seed0", "pong-seed1", "breakout-seed0"):
        begun(tmp_path / name)
    assert find_run("pong-seed1", tmp_path).path.name == "pong-seed1"
    assert find_run(str(tmp_path / "pong-seed0"), Path("nowhere")).path.name == "pong-seed0"
    assert find_run("break", tmp_path).path.name == "breakout-seed0"
    with pytest.raises(RunNotFoundError, match="several"):
        find_run("pong", tmp_path)
    with pytest.raises(RunNotFoundError, match="did you mean breakout-seed0"):
        find_run("breakuot-seed0", tmp_path)


def test_a_damaged_manifest_does_not_hide_the_other_runs(tmp_path: Path) -> None:
    begun(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "manifest.json").write_text('{"state": "run')
    states = {run["run"]: run["state"] for run in list_runs(tmp_path)}
    assert states == {"good": "running", "bad": "damaged"}
    assert summarize(tmp_path / "good")["return_mean"] is None
