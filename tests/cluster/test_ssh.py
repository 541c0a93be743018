"""ssh and rsync as they are called: an ssh that stays on this machine, and how the real one reads options."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from rlx.cluster.errors import ClusterError
from rlx.cluster.ssh import Answer, Node
from tests.cluster.head import Lab, lab

__all__ = ["lab"]  # fixture

REAL_SSH = shutil.which("ssh")


def test_answers(lab: Lab) -> None:
    answer = lab.head.run("cat; echo 'it'\"'\"'s here'; echo no >&2; exit 3", stdin="given\n")
    assert (answer.code, answer.out, answer.reason) == (3, "given\nit's here\n", "no")
    assert lab.head.run(r"printf '\xff'").out == "\ufffd"  # not UTF-8
    assert Answer(7, "", "").reason == "exit code 7"
    with pytest.raises(ClusterError, match=r"127\.0\.1\.1: no"):
        lab.head.need("echo no >&2; exit 3")
    assert lab.head.known_hosts.parent.stat().st_mode & 0o777 in (0o700, 0o755)


def test_a_host_that_cannot_be_reached_is_an_answer(lab: Lab) -> None:
    lab.unreachable("127.0.1.1", "warning\nssh: No route to host")
    assert lab.head.run("true") == Answer(255, "", "warning\nssh: No route to host\n")
    began = time.monotonic()
    slow = lab.hosts.node("127.0.1.2").run("exec sleep 9", timeout_seconds=0.3)
    assert slow.reason == "no answer within 0 s"
    assert time.monotonic() - began < 3


def test_a_tunnel_that_does_not_open_says_why(lab: Lab) -> None:
    lab.unreachable("127.0.1.1", "somebody@127.0.1.1: Permission denied (publickey).")
    with pytest.raises(ClusterError, match=r"127\.0\.1\.1: .*Permission denied"), lab.head.tunnel(8265):
        pass


def test_a_tunnel_that_never_opens_ends(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    program = lab.folder / "slow/ssh"
    lab.program(program, "exec sleep 20")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    began = time.monotonic()
    with pytest.raises(ClusterError, match="no tunnel within 0 s"), lab.head.tunnel(8265, wait_seconds=0.3):
        pass
    assert time.monotonic() - began < 3


def test_a_port_at_which_somebody_else_listens_is_no_tunnel(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlx.cluster.ssh.free_port", lambda: lab.dashboard.port)
    program = lab.folder / "failing/ssh"
    lab.program(program, "echo 'bind: Address already in use' >&2; exit 255")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr("rlx.cluster.ssh.answers", lambda port: not time.sleep(0.3))
    with pytest.raises(ClusterError, match="Address already in use"), lab.head.tunnel(8265):
        pass


@pytest.mark.skipif(REAL_SSH is None, reason="no ssh on this machine")
def test_ssh_reads_the_options_as_they_are_meant(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "Host *\n  ControlMaster auto\n  ControlPath ~/.ssh/%r@%h\n  RemoteCommand tmux\n"
        "  ForwardAgent yes\n  StrictHostKeyChecking no\n"
    )
    (tmp_path / "key").write_text("")
    node = Node("10.0.0.1", "somebody", tmp_path / "key", tmp_path / "a folder/known_hosts")
    assert REAL_SSH is not None
    command = [REAL_SSH, "-F", str(config), "-G", *node.options(), node.target]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    read = dict(line.split(" ", 1) for line in found if " " in line)
    assert read["userknownhostsfile"] == f"{tmp_path}/a folder/known_hosts"
    assert read["controlmaster"] in ("false", "no")
    assert read.get("controlpath", "none") == "none"
    assert read.get("remotecommand", "none") == "none"
    assert (read["forwardagent"], read["batchmode"]) == ("no", "yes")
    assert read["stricthostkeychecking"] == "accept-new"
    assert (read["user"], read["hostname"]) == ("somebody", "10.0.0.1")
    assert f"identityfile {tmp_path}/key" in found


@pytest.mark.skipif(shutil.which("rsync") is None, reason="no rsync on this machine")
def test_files_come_from_a_folder_with_an_odd_name(lab: Lab, tmp_path: Path) -> None:
    there = tmp_path / "a 'folder' $(touch made)"
    (there / "checkpoints/checkpoint_1").mkdir(parents=True)
    (there / "checkpoints/checkpoint_2").mkdir()
    (there / "result.json").write_text("{}")
    (there / ".lock").write_text("")
    here = tmp_path / "runs/-x:y"
    keep = ["/.lock", "+ /checkpoints/checkpoint_2", "/checkpoints/checkpoint_*"]
    lab.head.copy_from(str(there), here, exclude=keep)
    found = sorted(str(path.relative_to(here)) for path in here.rglob("*"))
    assert found == ["checkpoints", "checkpoints/checkpoint_2", "result.json"]
    assert not list(tmp_path.rglob("made"))
    with pytest.raises(ClusterError, match=r"127\.0\.1\.1: "):
        lab.head.copy_from(str(tmp_path / "nowhere"), here)


def test_a_program_that_is_not_here(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ClusterError, match="no ssh on this machine"):
        lab.head.run("true")
