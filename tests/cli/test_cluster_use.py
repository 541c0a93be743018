"""Using a cluster as a shell sees it: exit codes and words, with an ssh that stays on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlx.cli.exit_codes import ExitCode
from rlx.cluster import jobs, up
from rlx.cluster.versions import local_versions
from tests.cli.commands import rlx
from tests.cluster.head import Lab, lab

__all__ = ["lab"]  # fixture

EXPERIMENT = str(Path(__file__).resolve().parents[2] / "experiments/cartpole-apex.yaml")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(up, "_POLL_SECONDS", 0.01)


def test_submit_and_follow(lab: Lab) -> None:
    lab.dashboard.logs = "env_steps=1\n"
    words = ["--set", "training.gama=0.9", "--seed", "3", "--name", "mine", "--follow"]
    done = rlx("cluster", "submit", EXPERIMENT, "-c", str(lab.path), *words)
    assert done.exit_code == ExitCode.USAGE  # checked before anything is handed in
    assert "training.gama" in done.stderr
    assert lab.commands() == []
    done = rlx("cluster", "submit", EXPERIMENT, "-c", str(lab.path), *words[2:])
    assert done.exit_code == ExitCode.OK, done.output
    (id,) = lab.dashboard.jobs
    assert done.stdout == f"{id}\nenv_steps=1\n"
    assert f"{id}: succeeded" in done.stderr
    assert "--seed 3 --name mine --if-exists fail" in lab.dashboard.jobs[id]["entrypoint"]
    found = rlx("cluster", "submit", EXPERIMENT, "-c", str(lab.path), "--name", "more", "--json")
    assert json.loads(found.stdout)["job"].startswith("more-")


def test_submit_what(lab: Lab) -> None:
    for words in ([], [EXPERIMENT, "--resume", "run"]):
        done = rlx("cluster", "submit", *words, "-c", str(lab.path))
        assert done.exit_code == ExitCode.USAGE
        assert "expected either EXPERIMENT or --resume RUN" in done.stderr
    done = rlx("cluster", "submit", "--resume", "a b", "--stop", "updates=7", "-c", str(lab.path))
    assert done.exit_code == ExitCode.OK
    (job,) = lab.dashboard.jobs.values()
    assert "/bin/rlx resume 'a b' --out " in job["entrypoint"]
    assert job["entrypoint"].endswith("--plain --stop updates=7")


def test_logs(lab: Lab) -> None:
    assert rlx("cluster", "logs", "-c", str(lab.path)).exit_code == ExitCode.USAGE  # no job yet
    lab.dashboard.add_job("a", message="worker lost\nmore")
    lab.dashboard.logs = "one\n"
    done = rlx("cluster", "logs", "-c", str(lab.path))
    assert (done.exit_code, done.stdout) == (ExitCode.OK, "one\n")
    lab.dashboard.log_is_over = "FAILED"
    done = rlx("cluster", "logs", "-f", "a", "-c", str(lab.path))
    assert (done.exit_code, done.stdout) == (ExitCode.TRAINING_FAILED, "one\n")
    assert done.stderr == "a: failed\nrlx: worker lost\n"


def test_ctrl_c_while_following_leaves_the_job(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    lab.dashboard.add_job("a")
    monkeypatch.setattr("rlx.cluster.api.HeadApi.tail", interrupted)
    done = rlx("cluster", "logs", "-f", "-c", str(lab.path))
    assert done.exit_code == ExitCode.OK
    assert "a goes on; rlx cluster logs -f a follows it again" in done.stderr
    assert lab.dashboard.jobs["a"]["status"] == "RUNNING"


def test_stop(lab: Lab) -> None:
    lab.dashboard.add_job("a")
    done = rlx("cluster", "stop", "-c", str(lab.path))
    assert done.exit_code == ExitCode.OK
    assert done.stderr.endswith("a: stopped\n")
    assert rlx("cluster", "stop", "b", "-c", str(lab.path)).exit_code == ExitCode.USAGE


def test_status(lab: Lab) -> None:
    lab.dashboard.add_job("a", "FAILED", end_time=5000)  # without a message
    lab.program(Path(str(lab.spec.environment)) / "bin/rlx", "echo '[]'")
    done = rlx("cluster", "status", "-c", str(lab.path))
    assert done.exit_code == ExitCode.OK, done.output
    assert f"{lab.spec.name}: 2 of 2 nodes are in" in done.stdout
    lab.dashboard.addresses = ["127.0.1.1"]
    found = rlx("cluster", "status", "-c", str(lab.path), "--json")
    assert found.exit_code == ExitCode.CLUSTER
    document = json.loads(found.stdout)
    assert [node["in"] for node in document["nodes"]] == [True, False]
    assert document["jobs"][0]["ended"] is True


@pytest.mark.parametrize("verb", ["submit", "logs", "stop", "fetch"])
def test_a_head_that_is_away(lab: Lab, verb: str) -> None:
    lab.unreachable("127.0.1.1")
    done = rlx("cluster", verb, *([EXPERIMENT] if verb == "submit" else []), "-c", str(lab.path))
    assert done.exit_code == ExitCode.CLUSTER
    assert "rlx: 127.0.1.1: ssh: connect to host: No route to host" in done.stderr


def test_fetch(lab: Lab) -> None:
    done = rlx("cluster", "fetch", "--checkpoints", "some", "-c", str(lab.path))
    assert done.exit_code == ExitCode.USAGE
    lab.program(Path(str(lab.spec.environment)) / "bin/rlx", "echo '[]'")
    done = rlx("cluster", "fetch", "-c", str(lab.path))
    assert done.exit_code == ExitCode.OK
    assert "no run in" in done.stderr
    assert rlx("cluster", "fetch", "x", "-c", str(lab.path)).exit_code == ExitCode.USAGE


@pytest.fixture
def fit(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Hosts with which nothing is wrong, whose dashboard is silent until `ray up` was called."""
    here = local_versions()
    lab.program(Path(str(lab.spec.environment)) / "bin/python", f"echo {here.python} {here.ray} {here.rlx}")
    lab.program(lab.folder / "bin/df", "echo; echo 'x 9 9 99000000 1% /'")
    lab.program(lab.folder / "bin/rsync", "")
    (lab.folder / "port").write_text("1")

    def started(*_: Any) -> None:
        lab.token.parent.mkdir(parents=True, exist_ok=True)
        lab.token.write_text("secret-of-lab")
        (lab.folder / "port").write_text(str(lab.dashboard.port))

    monkeypatch.setattr(up, "_run_launcher", started)
    return lab


def test_up_and_down(fit: Lab) -> None:
    asked = rlx("cluster", "up", str(fit.path))
    assert asked.exit_code == ExitCode.USAGE
    assert "nobody to ask; --yes starts without asking" in asked.stderr
    dry = rlx("cluster", "up", str(fit.path), "--dry-run")
    assert dry.exit_code == ExitCode.OK
    done = rlx("cluster", "up", str(fit.path), "--yes")
    assert done.exit_code == ExitCode.OK, done.output
    assert f"{fit.spec.name} is up: 2 nodes" in done.stdout
    again = rlx("cluster", "up", str(fit.path), "--yes")
    assert again.exit_code == ExitCode.CLUSTER
    assert "is up already" in again.stderr
    down = rlx("cluster", "down", str(fit.path), "--yes")
    assert down.exit_code == ExitCode.OK, down.output
    assert not fit.token.exists()


def test_up_without_a_node(fit: Lab) -> None:
    fit.dashboard.addresses = ["127.0.1.1"]
    done = rlx("cluster", "up", str(fit.path), "--yes", "--wait", "1")
    assert done.exit_code == ExitCode.CLUSTER
    assert "not all nodes came: 1 of workers missing" in done.stderr


def test_ctrl_c_in_up_says_what_still_runs(fit: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(up, "_run_launcher", interrupted)
    done = rlx("cluster", "up", str(fit.path), "--yes")
    assert done.exit_code == ExitCode.INTERRUPTED
    assert "what was started still runs" in done.stderr


def test_down_with_a_host_that_is_away(fit: Lab) -> None:
    fit.unreachable("127.0.1.2")
    done = rlx("cluster", "down", str(fit.path), "--yes")
    assert done.exit_code == ExitCode.STILL_THERE
    assert "rlx: 127.0.1.2 could not be looked at: ssh: connect to host: No route to host" in done.stderr
