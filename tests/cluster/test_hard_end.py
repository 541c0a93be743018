"""The scripts of the hard end, run by bash with harmless programs in place of the real ones."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from rlx.cluster.hard_end import end_script, user_data


def run(script: str, end: str | None, folder: Path) -> str:
    """Run the minute's script; what it called."""
    programs, log = folder / "bin", folder / "called"
    programs.mkdir(exist_ok=True)
    for name in ("shutdown", "python"):
        (programs / name).write_text(f'#!/bin/bash\necho {name} "$@" >> {log}\n[ {name} = shutdown ]\n')
        (programs / name).chmod(0o755)
    log.write_text("")
    if end is not None:
        (folder / "end").write_text(end)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "RLX_END_FILE": str(folder / "end")}
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
    assert run(script(tmp_path, head=True), past, tmp_path) == "python -\nshutdown -h now\n"
    assert run(script(tmp_path, head=False), past, tmp_path) == "shutdown -h now\n"


@pytest.mark.parametrize("end", [None, "", "soon\n"])
def test_a_node_that_does_not_know_its_hour_ends_now(tmp_path: Path, end: str | None) -> None:
    assert run(script(tmp_path, head=False), end, tmp_path) == "shutdown -h now\n"


def test_the_first_start_writes_hour_script_and_timer(tmp_path: Path) -> None:
    text = user_data("apex", region="us-east-1", hours=1.5, python="/x/python", head=True)
    for path in ("/var/lib/rlx", "/usr/local/sbin", "/etc/systemd/system"):
        (tmp_path / path[1:]).mkdir(parents=True)
        text = text.replace(path, f"{tmp_path}{path}")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/called\n')
    (programs / "systemctl").chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", text], env=path, check=True)
    hour = int((tmp_path / "var/lib/rlx/end").read_text())
    assert hour == pytest.approx(time.time() + 5400, abs=30)
    installed = tmp_path / "usr/local/sbin/rlx-hard-end"
    assert installed.stat().st_mode & 0o111
    assert installed.read_text().endswith("shutdown -h now\n")
    compile(installed.read_text().split("RLX_PYTHON'\n")[1].split("RLX_PYTHON")[0], "hard end", "exec")
    assert "enable --now rlx-hard-end.timer" in (tmp_path / "called").read_text()
    # A second first start, as of an image made from this node, does not move the hour.
    (tmp_path / "var/lib/rlx/end").write_text("17\n")
    subprocess.run(["bash", "-c", text], env=path, check=True)
    assert (tmp_path / "var/lib/rlx/end").read_text() == "17\n"
