"""One head and two workers, reached by ssh: a cluster's life, and what goes wrong while it trains."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rehearsal.conftest import ROOT
from tests.rehearsal.figures import record
from tests.rehearsal.hosts import Hosts
from tests.rehearsal.laptop import Laptop, last_row, wait_for

pytestmark = pytest.mark.rehearsal

ADDRESSES = {"h0": "10.77.0.10", "h1": "10.77.0.11", "h2": "10.77.0.12"}
# With driver and shards on the head they fill the hosts: what is lost cannot start elsewhere.
RUNNERS, SHARDS = 6, 2
EXPERIMENT = ROOT / "tests/rehearsal/paced-apex.yaml"
#: Seconds from a node's return to full strength.
FULL_STRENGTH_SECONDS = 120


@dataclass
class Lab:
    """The hosts, the user's machine, the cluster file, and where runs are."""

    hosts: Hosts
    laptop: Laptop
    file: Path
    runs: Path

    def rlx(self, verb: str, *words: str, code: int = 0) -> str:
        """Run `rlx cluster VERB` with this cluster."""
        cluster = (
            (str(self.file),)
            if verb in ("check", "up", "down", "leftovers", "render")
            else ("-c", str(self.file))
        )
        return self.laptop.rlx("cluster", verb, *cluster, *words, code=code)

    def submit(self, name: str, *words: str) -> Path:
        """Hand in Ape-X over all nodes; the run directory."""
        runners = f"env_runners.num_env_runners={RUNNERS}"
        self.rlx("submit", str(EXPERIMENT), "--name", name, "--set", runners, *words)
        return self.runs / f"{name}-rlx-FixedLatency-v0-seed0"

    def trains(self, run: Path, seconds: float = 120) -> None:
        """Wait until a run makes updates with everybody in."""
        wait_for("training with all runners", lambda: full_strength(run), seconds)

    def ray_processes(self, name: str) -> list[str]:
        """Return what of Ray runs on a host."""
        return self.hosts.processes(name, r"ray::|raylet|gcs_server|ray/dashboard|ray/autoscaler")


def full_strength(run: Path) -> bool:
    row = last_row(run)
    return (
        row.get("healthy_runners") == RUNNERS
        and row.get("healthy_shards", SHARDS) == SHARDS
        and row.get("updates", 0) > 0
    )


@pytest.fixture(scope="module")
def lab(stage: Path) -> Iterator[Lab]:
    """Three hosts with power, without Ray."""
    share = stage / "share"
    share.mkdir()
    laptop = Laptop(stage / "home")
    with Hosts(stage / "hosts", visible=[ROOT]) as hosts:
        for name, address in ADDRESSES.items():
            hosts.add(name, address)
        file = stage / "lab.yaml"
        file.write_text(
            "name: lab\nprovider: on-premise\n"
            f"hosts: [{', '.join(ADDRESSES.values())}]\n"
            f"ssh_user: root\nssh_key: {hosts.key}\nenvironment: {sys.prefix}\n"
            f"storage: {share}/runs\nnum_cpus: 3\nobject_store_gb: 0.1\n"
        )
        yield Lab(hosts, laptop, file, share / "runs")


def test_what_is_wrong_is_said_before_anything_starts(lab: Lab) -> None:
    text = lab.file.read_text()
    wrong = lab.file.with_name("wrong.yaml")
    wrong.write_text(
        text.replace("10.77.0.12", "10.77.0.99").replace("environment: ", "environment: /nowhere")
    )
    said = lab.laptop.rlx("cluster", "check", str(wrong), code=8)
    assert "wrong.yaml:3:" in said
    assert "10.77.0.99: cannot be asked" in said
    assert "10.77.0.10: there is no /nowhere" in said
    # A host with another version: set-up of it would fail.
    fake = lab.hosts.all["h1"].folder / "root/env"
    (fake / "bin").mkdir(parents=True)
    (fake / "bin/python").write_text("#!/bin/sh\necho 3.9.1 2.9.0 0.0.1\n")
    (fake / "bin/python").chmod(0o755)
    wrong.write_text(text.replace("environment: ", "environment: ~/env #"))
    said = lab.laptop.rlx("cluster", "check", str(wrong), code=8)
    assert "10.77.0.11: versions of python, ray, rlx are 3.9.1 2.9.0 0.0.1 there" in said
    # Someone else's Ray on a host.
    lab.hosts.run("h2", "cp", "/bin/sleep", "/tmp/raylet")
    lab.hosts.run("h2", "bash", "-c", "/tmp/raylet 1000 >/dev/null 2>&1 &")
    said = lab.rlx("check", code=8)
    assert "10.77.0.12: a Ray that is not this cluster's runs there" in said
    assert "10.77.0.11:" not in said.partition("lab.yaml")[2]
    lab.hosts.kill("h2", "raylet")
    assert lab.ray_processes("h0") == []


def test_a_life(lab: Lab) -> None:
    assert "all of 3 hosts see the same" in lab.rlx("check")
    began = time.monotonic()
    lab.rlx("up", "--yes")
    record("on-premise", "up, 3 nodes", time.monotonic() - began)
    assert "is up already" in lab.rlx("up", "--yes", code=8)

    run = lab.submit("life", "--stop", "seconds=3600")
    lab.trains(run)
    status = lab.laptop.json("cluster", "status", "-c", str(lab.file))
    assert status["up"]
    assert [node["address"] for node in status["nodes"]] == list(ADDRESSES.values())
    for name in ADDRESSES:
        used = [line for line in lab.hosts.processes(name, "ray::") if "Runner" in line or "Shard" in line]
        assert used, f"{name} does nothing"

    # The client that follows is killed; the job does not mind, and can be followed again.
    client = lab.laptop.start("cluster", "logs", "-f", "-c", str(lab.file))
    assert client.stdout is not None
    assert any("seconds=" in client.stdout.readline() for _ in range(100))
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    before = last_row(run)["updates"]
    wait_for("training without its client", lambda: last_row(run)["updates"] > before, 30)
    assert f"updates={before}" in lab.rlx("logs")


def test_the_head_at_hand(lab: Lab) -> None:
    assert lab.rlx("exec", "--", "hostname").split() == ["h0"]
    assert lab.rlx("exec", "--", "ray", "list", "nodes").count("ALIVE") == 3
    lab.rlx("exec", "--", "false", code=1)
    pages = lab.laptop.start("cluster", "dashboard", "-c", str(lab.file), "--no-open")
    assert pages.stdout is not None
    said = ""
    while "Ctrl-C ends both" not in said:
        line = pages.stdout.readline()
        assert line, said
        said += line
    dashboard, tensorboard = re.findall(r"http://127\.0\.0\.1:\d+", said)
    with urllib.request.urlopen(tensorboard, timeout=20) as page:
        assert b"TensorBoard" in page.read()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{dashboard}/api/v0/nodes", timeout=20)
    pages.send_signal(signal.SIGINT)
    assert pages.wait(timeout=20) == 0
    wait_for("TensorBoard's end", lambda: not lab.hosts.processes("h0", "tensorboard"), 20)


def test_a_worker_s_raylet_is_killed(lab: Lab) -> None:
    run = lab.runs / "life-rlx-FixedLatency-v0-seed0"
    before = last_row(run)
    lab.hosts.kill("h1", "raylet")
    killed = time.monotonic()
    wait_for("the loss is seen", lambda: last_row(run)["healthy_runners"] < RUNNERS, 60)
    record("on-premise", "raylet killed: seen after", time.monotonic() - killed)
    at_loss = last_row(run)
    back = wait_for("full strength", lambda: full_strength(run), FULL_STRENGTH_SECONDS)
    record("on-premise", "raylet killed: full strength after", time.monotonic() - killed)
    assert last_row(run)["updates"] > at_loss["updates"] > before["updates"] or back < 5
    assert "10.77.0.11" in (run / "train.log").read_text()


def test_a_host_loses_its_power_and_comes_back(lab: Lab) -> None:
    run = lab.runs / "life-rlx-FixedLatency-v0-seed0"
    lab.hosts.power_off("h2")
    off = time.monotonic()
    wait_for("the loss is seen", lambda: last_row(run)["healthy_runners"] < RUNNERS, 90)
    record("on-premise", "host without power: seen after", time.monotonic() - off)
    before = last_row(run)["updates"]
    wait_for("training goes on without it", lambda: last_row(run)["updates"] > before, 30)
    lab.hosts.power_on("h2")
    seconds = wait_for("full strength", lambda: full_strength(run), FULL_STRENGTH_SECONDS)
    record("on-premise", "host with power again: full strength after", seconds)


def test_a_link_is_down_for_30_seconds(lab: Lab) -> None:
    run = lab.runs / "life-rlx-FixedLatency-v0-seed0"
    before = last_row(run)
    lab.hosts.link("h1", up=False)
    updates, stall, grew = before["updates"], 0.0, time.monotonic()
    end = time.monotonic() + 30
    while time.monotonic() < end:
        now = last_row(run)["updates"]
        stall = max(stall, time.monotonic() - grew)
        if now > updates:
            updates, grew = now, time.monotonic()
        time.sleep(0.5)
    lab.hosts.link("h1", up=True)
    record("on-premise", "link down 30 s: longest stall", stall)
    assert updates > before["updates"], "nothing was learned while the link was down"
    assert stall < 20
    seconds = wait_for("full strength", lambda: full_strength(run), FULL_STRENGTH_SECONDS)
    record("on-premise", "link up again: full strength after", seconds)


def test_the_head_is_killed_and_the_run_goes_on(lab: Lab) -> None:
    run = lab.runs / "life-rlx-FixedLatency-v0-seed0"
    wait_for("a checkpoint", lambda: any((run / "checkpoints").glob("checkpoint_*")), 60)
    lab.hosts.power_off("h0")
    before = last_row(run)
    time.sleep(2)
    lab.hosts.power_on("h0")
    began = time.monotonic()
    said = lab.rlx("up", "--yes")
    assert "are ended" in said
    record("on-premise", "up after the head's end", time.monotonic() - began)
    lab.rlx("submit", "--resume", run.name, "--stop", f"updates={before['updates'] + 100}")
    wait_for("the resumed run's end", lambda: '"finished"' in (run / "manifest.json").read_text(), 240)
    row = last_row(run)
    assert row["session"] == 2
    assert row["updates"] >= before["updates"] + 100


def test_runs_come_here_and_the_cluster_goes(lab: Lab, tmp_path: Path) -> None:
    out = lab.rlx("fetch", "--out", str(tmp_path / "runs"))
    run = tmp_path / "runs/life-rlx-FixedLatency-v0-seed0"
    assert str(run) in out
    assert last_row(run) == last_row(lab.runs / run.name)
    assert len(list((run / "checkpoints").glob("checkpoint_*"))) == 1
    lab.laptop.rlx(
        "evaluate", str(run), "--checkpoint", "last", "--episodes", "2", "--protocol", "as-trained"
    )

    other = lab.hosts.run("h1", "bash", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!").strip()
    assert "process" in lab.rlx("leftovers", code=7)
    lab.rlx("down", "--yes")
    for name in ADDRESSES:
        assert lab.ray_processes(name) == []
        files = lab.hosts.run(
            name, "bash", "-c", "ls -d /tmp/rlx-lab ~/ray_bootstrap* ~/.rlx/token-* 2>/dev/null; true"
        )
        assert files == ""
    assert other in lab.hosts.run("h1", "pgrep", "-x", "sleep").split()
    assert "0 processes ended" in lab.rlx("down", "--yes")
    assert "nothing found on 3 hosts" in lab.rlx("leftovers")
