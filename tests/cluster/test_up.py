"""Waiting for nodes: who is in, who is missing, and what the logs say of it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlx.cluster import launcher, up
from rlx.cluster.api import RayNode
from rlx.cluster.errors import ClusterError
from rlx.cluster.machines import HEAD, Machine
from rlx.cluster.up import NotAllInError, Row, missing, reason, rows_of, start, what_hinders
from tests.cluster.head import Lab, lab

__all__ = ["lab"]  # fixture

groups = st.sampled_from([HEAD, "actors", "old"])
states = st.sampled_from(["pending", "running", "shutting-down", "terminated", "stopped", "host"])
machines = st.lists(
    st.builds(
        Machine,
        id=st.uuids().map(str),
        group=groups,
        address=st.sampled_from(["", *(f"10.0.0.{number}" for number in range(1, 9))]),
        state=states,
    ),
    max_size=8,
    unique_by=lambda one: one.address or one.id,
)
nodes = st.lists(
    st.builds(
        lambda number, alive: RayNode("n", f"10.0.0.{number}", False, alive, "", 4, 0, 0, {}),
        st.integers(1, 9),
        st.booleans(),
    ),
    max_size=8,
)
wanted = st.builds(lambda count: {HEAD: 1, "actors": count}, st.integers(0, 4))


@given(wanted, machines, nodes)
def test_every_machine_that_lives_has_a_row_and_every_one_that_lacks(
    wanted: dict[str, int], machines: list[Machine], nodes: list[RayNode]
) -> None:
    rows = rows_of(wanted, machines, nodes)
    alive = [one for one in machines if one.alive]
    assert sorted(row.machine.id for row in rows if row.machine) == sorted(one.id for one in alive)
    lives = {node.address for node in nodes if node.alive}
    for row in rows:
        assert row.is_in == (row.machine is not None and row.address in lives)
        assert (row.state == "in") == row.is_in
    for group, count in wanted.items():
        there = sum(one.group == group for one in alive)
        assert sum(row.group == group for row in rows) == max(count, there)
    assert [row.group == HEAD for row in rows] == sorted((row.group == HEAD for row in rows), reverse=True)
    lacking = missing(wanted, rows)
    for group, count in wanted.items():
        assert lacking.get(group, 0) == max(0, count - sum(r.is_in for r in rows if r.group == group))
    assert all(lacking.values())


# As Ray's autoscaler writes them; ids and addresses are made up.
CAPACITY = (
    "2026-03-01 12:00:01,001 ERROR node_launcher.py:110 -- botocore.exceptions.ClientError: An error "
    "occurred (InsufficientInstanceCapacity) when calling the RunInstances operation: We currently do not "
    "have sufficient c5.xlarge capacity in the Availability Zone you requested (us-east-1a)."
)
LIMIT = (
    "botocore.exceptions.ClientError: An error occurred (VcpuLimitExceeded) when calling the RunInstances "
    "operation: You have requested more vCPU capacity than your current vCPU limit of 8 allows."
)
NOISE = "2026-03-01 12:00:05,001 INFO autoscaler.py:469 -- The autoscaler took 0.05 seconds to complete."
QUOTE = "2026-03-01 12:00:05 INFO updater.py:490 -- Full command is `ssh ... exit code` Permission denied"
VERSIONS = "rlx: versions of python, ray, rlx: 3.10.1 2.60.0 0.1.0 here, 3.11.7 2.60.0 0.1.0 wanted"
REFUSED = "2026-03-01 12:01:00 INFO updater.py -- 10.0.0.12: ssh: connect to host 10.0.0.12 port 22: "


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ([NOISE, CAPACITY, NOISE], "InsufficientInstanceCapacity"),
        ([CAPACITY, LIMIT, NOISE], "VcpuLimitExceeded"),  # the newest
        ([NOISE, f"\x1b[31m{VERSIONS}\x1b[0m", QUOTE], VERSIONS),
        ([NOISE, QUOTE], ""),
        ([], ""),
    ],
)
def test_the_telling_line(lab: Lab, log: list[str], says: str) -> None:
    write_log(lab, "monitor.out", log)
    assert says in what_hinders(lab.spec, lab.head, [])
    said = reason(lab.spec, lab.head, Row("actors", "", "asked for"))
    assert says in said
    assert said


def test_a_line_about_another_node_is_not_about_this_one(lab: Lab) -> None:
    write_log(lab, "monitor.log", [f"{REFUSED}No route to host", CAPACITY])
    row = Row("actors", "10.0.0.1", "setting up", None, Machine("i", "actors", "10.0.0.1", "running"))
    assert "No route" not in what_hinders(lab.spec, lab.head, [row])
    other = Row("actors", "10.0.0.12", "setting up", None, Machine("i", "actors", "10.0.0.12", "running"))
    assert "No route" in what_hinders(lab.spec, lab.head, [other])


def test_a_node_that_the_head_does_not_reach(lab: Lab) -> None:
    lab.program(lab.folder / "bin/timeout", "exit 1")
    row = Row("workers", "10.0.0.1", "not in", None, Machine("h", "workers", "10.0.0.1", "host"))
    assert reason(lab.spec, lab.head, row) == "the head does not reach its ssh (state host)"
    lab.program(lab.folder / "bin/timeout", "exit 0")
    assert reason(lab.spec, lab.head, row) == "it answers by ssh, but its Ray has not joined"


def write_log(lab: Lab, name: str, lines: list[str]) -> None:
    folder = Path(launcher.temporary_folder(lab.spec.name)) / "session_latest/logs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(f"{line}\n" for line in lines))


def test_the_last_words_of_the_launcher(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    log.write_text(f"{NOISE}\nssh: Permission denied\n!!!\nShared connection to x closed.\nFailed.\n")
    assert up._last_words(log) == "ssh: Permission denied"
    log.write_text("one\ntwo\n\n")
    assert up._last_words(log) == "two"
    log.write_text("")
    assert up._last_words(log) == "it said nothing"


@pytest.fixture
def ray_up(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Replace `ray up` by a program."""
    real = subprocess.Popen

    def replaced(script: str) -> None:
        def popen(command: list[str], *more: Any, **options: Any) -> Any:
            if "ray.scripts.scripts" in command:
                assert "RAY_ADDRESS" not in options["env"]
                command = ["/bin/bash", "-c", script]
            return real(command, *more, **options)

        monkeypatch.setattr(subprocess, "Popen", popen)

    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    monkeypatch.setattr(up, "_POLL_SECONDS", 0.05)
    return replaced


def test_all_come(lab: Lab, ray_up: Any) -> None:
    ray_up("echo '  [1/7] Waiting for SSH'; echo '[7/7] Starting the Ray runtime'")
    shown: list[list[str]] = []
    rows = start(
        lab.spec,
        {},
        lab.hosts,
        home=lab.home,
        show=lambda rows, trouble: shown.append([r.state for r in rows]),
    )
    assert [(row.group, row.address, row.state) for row in rows] == [
        (HEAD, "127.0.1.1", "in"),
        ("workers", "127.0.1.2", "in"),
    ]
    assert shown[0] == ["starting", "waits for the head"]
    assert ["step 1/7: waiting for ssh", "waits for the head"] in shown
    assert "Starting the Ray runtime" in (lab.token.parent / "up.log").read_text()


def test_one_does_not_come(lab: Lab, ray_up: Any) -> None:
    ray_up("true")
    lab.dashboard.addresses = ["127.0.1.1"]
    write_log(lab, "monitor.out", [VERSIONS])
    with pytest.raises(NotAllInError) as error:
        start(lab.spec, {}, lab.hosts, home=lab.home, wait_seconds=0.5)
    assert "1 of workers missing. 127.0.1.2: rlx: versions" in str(error.value)
    assert "rlx cluster down ends it" in str(error.value)
    assert [row.is_in for row in error.value.rows] == [True, False]


def test_the_head_does_not_start(lab: Lab, ray_up: Any) -> None:
    ray_up("echo 'Permission denied (publickey)'; echo bye; exit 1")
    with pytest.raises(ClusterError, match="the head did not start: Permission denied"):
        start(lab.spec, {}, lab.hosts, home=lab.home, wait_seconds=5)


def test_a_launcher_that_hangs_is_ended(lab: Lab, ray_up: Any) -> None:
    ray_up("echo waiting; sleep 30")
    began = time.monotonic()
    with pytest.raises(ClusterError, match="the head did not start in time: waiting"):
        start(lab.spec, {}, lab.hosts, home=lab.home, wait_seconds=0.1)
    assert time.monotonic() - began < 5


def test_a_dashboard_that_never_answers(lab: Lab, ray_up: Any) -> None:
    ray_up("true")
    (lab.folder / "port").write_text("1")
    with pytest.raises(ClusterError, match="the head does not answer"):
        start(lab.spec, {}, lab.hosts, home=lab.home, wait_seconds=0.3)


def test_nothing_of_ray_is_loaded_to_look_at_a_cluster() -> None:
    program = "import rlx.cluster.up, rlx.cluster.jobs, rlx.cluster.status, sys; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
