"""The scripts of the hard end, run by bash with harmless programs in place of the real ones."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rlx.cluster.hard_end import end_script, user_data
from tests.cluster.conftest import REGION
from tests.cluster.machines import plain_instance


def run(script: str, end: str | None, folder: Path, id: str = "i-1") -> str:
    """Run the minute's script of instance i-1, on this one; what it called."""
    programs, log = folder / "bin", folder / "called"
    programs.mkdir(exist_ok=True)
    for name in ("shutdown", "python", "ray"):
        (programs / name).write_text(f'#!/bin/bash\necho {name} "$@" >> {log}\n[ {name} = shutdown ]\n')
        (programs / name).chmod(0o755)
    log.write_text("")
    (folder / "instance").write_text("i-1\n")
    (folder / "id").write_text(f"{id}\n")
    if end is not None:
        (folder / "end-i-1").write_text(end)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "RLX_FOLDER": str(folder),
        "RLX_ID_FILE": str(folder / "id"),
    }
    subprocess.run(["bash", "-c", script], env=environment, check=True, capture_output=True)
    return log.read_text()


def script(folder: Path, *, head: bool) -> str:
    return end_script("apex", region="us-east-1", python=str(folder / "bin/python"), head=head)


@pytest.mark.parametrize("head", [True, False])
def test_nothing_before_the_hour(tmp_path: Path, head: bool) -> None:
    assert run(script(tmp_path, head=head), f"{time.time() + 3600:.0f}\n", tmp_path) == ""


def test_the_head_ends_the_workers_and_then_itself_even_if_that_failed(tmp_path: Path) -> None:
    # The program that stands in for Python fails.
    past = f"{time.time() - 1:.0f}\n"
    assert run(script(tmp_path, head=True), past, tmp_path) == "ray stop --force\npython -\nshutdown -h now\n"
    assert run(script(tmp_path, head=False), past, tmp_path) == "shutdown -h now\n"


@pytest.mark.parametrize("end", [None, "", "soon\n"])
def test_a_node_that_does_not_know_its_hour_ends_now(tmp_path: Path, end: str | None) -> None:
    assert run(script(tmp_path, head=False), end, tmp_path) == "shutdown -h now\n"


def test_an_hour_that_came_inside_an_image_ends_nothing(tmp_path: Path) -> None:
    assert run(script(tmp_path, head=True), "17\n", tmp_path, id="i-2") == ""


def test_the_head_ends_the_workers_of_its_cluster_only(ec2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = end_script("apex", region=REGION, python="/x/python", head=True)
    program = text.split("RLX_PYTHON'\n")[1].split("RLX_PYTHON")[0]
    head, protected = plain_instance(ec2, "apex"), plain_instance(ec2, "apex", kind="worker")
    ec2.modify_instance_attribute(InstanceId=protected, DisableApiTermination={"Value": True})
    workers = [plain_instance(ec2, "apex", kind="worker") for _ in range(2)]
    others = [
        plain_instance(ec2, "apex2", kind="worker"),
        plain_instance(ec2, "apex", ours=False, kind="worker"),
    ]
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now == 10.0:
            workers.append(plain_instance(ec2, "apex", kind="worker"))  # was on its way
        if now == 30.0:
            ec2.modify_instance_attribute(InstanceId=protected, DisableApiTermination={"Value": False})

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    exec(compile(program, "hard end", "exec"), {})
    found = [one for r in ec2.describe_instances()["Reservations"] for one in r["Instances"]]
    running = {one["InstanceId"] for one in found if one["State"]["Name"] == "running"}
    assert running == {head, *others}
    assert len(workers) == 3
    assert 30.0 < now < 120.0


def test_the_first_start_writes_hour_script_and_timer(tmp_path: Path) -> None:
    text = user_data("apex", region="us-east-1", hours=1.5, python="/x/python", head=True)
    for path in ("/var/lib/cloud/data", "/var/lib/rlx", "/usr/local/sbin", "/etc/systemd/system"):
        (tmp_path / path[1:]).mkdir(parents=True)
        text = text.replace(path, f"{tmp_path}{path}")
    id = tmp_path / "var/lib/cloud/data/instance-id"
    id.write_text("i-1\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/called\n')
    (programs / "systemctl").chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", text], env=path, check=True)
    hour = int((tmp_path / "var/lib/rlx/end-i-1").read_text())
    assert hour == pytest.approx(time.time() + 5400, abs=30)
    installed = tmp_path / "usr/local/sbin/rlx-hard-end"
    assert installed.stat().st_mode & 0o111
    assert installed.read_text().endswith("shutdown -h now\n")
    compile(installed.read_text().split("RLX_PYTHON'\n")[1].split("RLX_PYTHON")[0], "hard end", "exec")
    assert "enable --now rlx-hard-end.timer" in (tmp_path / "called").read_text()
    # A second run on the same instance does not move the hour.
    (tmp_path / "var/lib/rlx/end-i-1").write_text("17\n")
    subprocess.run(["bash", "-c", text], env=path, check=True)
    assert (tmp_path / "var/lib/rlx/end-i-1").read_text() == "17\n"
    # Another instance, started from an image of this one, has an hour of its own.
    id.write_text("i-2\n")
    subprocess.run(["bash", "-c", text], env=path, check=True)
    assert int((tmp_path / "var/lib/rlx/end-i-2").read_text()) == pytest.approx(time.time() + 5400, abs=30)
    assert (tmp_path / "var/lib/rlx/instance").read_text() == "i-2\n"
