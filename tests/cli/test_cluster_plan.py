"""The plan of an experiment on a cluster, as a shell sees it, and what `submit` does with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlx.cli.exit_codes import ExitCode
from rlx.cluster.api import RayNode
from rlx.cluster.errors import ClusterError
from rlx.cluster.ssh import Node
from tests.cli.commands import rlx
from tests.cluster.conftest import TEXT, _quick_clients, cloud, home

__all__ = ["_quick_clients", "cloud", "home"]  # fixtures

GB = 10**9
EXPERIMENT = """\
algorithm: apex_dqn
env: CartPole-v1
seeds: [0]
stop: {env_steps: 3600000}
env_runners: {num_env_runners: 4}
replay: {capacity: 100000}
rl_module: {torso: mlp}
learners: {num_learners: 0, num_gpus_per_learner: 0}
"""
HOSTS = "name: lab\nprovider: on-premise\nhosts: [10.0.0.1, 10.0.0.2]\nssh_key: ~/key\nstorage: /runs\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an experiment and two cluster files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cart.yaml").write_text(EXPERIMENT)
    (tmp_path / "aws.yaml").write_text(TEXT)
    (tmp_path / "lab.yaml").write_text(HOSTS)
    return tmp_path


@pytest.fixture
def lab(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two hosts whose Ray answers, the second with a GPU; what is handed in is kept in `jobs`."""
    found: dict[str, Any] = {"jobs": [], "cpus": 8.0, "answers": True}

    class Api:
        def nodes(self) -> list[RayNode]:
            if not found["answers"]:
                raise ClusterError("Ray's dashboard does not answer")
            return [
                RayNode(str(n), f"10.0.0.{n}", n == 1, True, "", found["cpus"], float(n == 2), 8 * GB, {})
                for n in (1, 2)
            ]

        def submit_job(self, id: str, entrypoint: str, metadata: Any) -> None:
            found["jobs"].append(entrypoint)

    @contextlib.contextmanager
    def api(head: Any, token: Path) -> Iterator[Api]:
        yield Api()

    monkeypatch.setattr("rlx.cluster.api.head_api", api)
    monkeypatch.setattr("rlx.cluster.capacity.head_api", api)
    monkeypatch.setattr(Node, "need", lambda self, script, **more: "")
    return found


def test_the_plan_of_a_cluster_that_is_not_up(folder: Path, cloud: None) -> None:
    by_train = rlx("train", "cart.yaml", "--dry-run", "--cluster", "aws.yaml")
    assert by_train.exit_code == ExitCode.OK, by_train.output
    lines = {line.split()[0]: line for line in by_train.stdout.splitlines() if line.strip()}
    assert lines["cart"] == "cart on apex"
    assert lines["head"].split()[1:6] == ["m5.large", "2", "of", "2", "-"]
    assert lines["actors#1..2"].rstrip().endswith("2 runners")
    assert "network   head <- actors: blocks " in by_train.stdout
    assert lines["time"].startswith("time      not known: ")
    assert lines["cost"] == "cost      not known: no price of head"
    by_submit = rlx("cluster", "submit", "cart.yaml", "-c", "aws.yaml", "--dry-run")
    assert by_submit.stdout == by_train.stdout


def test_the_plan_as_json(folder: Path, cloud: None) -> None:
    found = rlx(
        "train", "cart.yaml", "--dry-run", "-c", "aws.yaml", "--json",
        "--env-steps-per-second-per-runner", "250",
    )  # fmt: skip
    document = json.loads(found.stdout)
    assert (document["ok"], document["seconds"], document["running"]) == (True, 3600, False)
    assert [node["parts"] for node in document["nodes"]] == [
        {"driver": 1, "shards": 1},
        *[{"runners": 2}] * 2,
    ]
    assert document["nodes"][0]["replay_bytes"] > 0
    assert {(flow["from"], flow["to"]) for flow in document["traffic_bytes_per_second"]} == {
        ("head", "actors"),
        ("actors", "head"),
    }
    assert document["rates"]["sampling"] == "as given"


def test_a_plan_with_problems(folder: Path, cloud: None) -> None:
    given = ("train", "cart.yaml", "--dry-run", "-c", "aws.yaml", "--set", "env_runners.num_env_runners=40")
    found = rlx(*given)
    assert found.exit_code == ExitCode.USAGE
    assert "actors#1" in found.stdout
    assert "--set env_runners.num_env_runners: 40 runners, 1 shard, the driver need 42 CPUs" in found.stderr
    document = json.loads(rlx(*given, "--json").stdout)
    assert not document["ok"]
    assert document["problems"][0]["path"] == "env_runners.num_env_runners"


def test_options_that_do_not_go_together(folder: Path, home: Path) -> None:
    found = rlx("train", "cart.yaml", "--cluster", "aws.yaml")
    assert found.exit_code == ExitCode.USAGE
    hint = "rlx: --cluster: goes with --dry-run only; rlx cluster submit trains on a cluster\n"
    assert found.stderr == hint
    rate = rlx("train", "cart.yaml", "--dry-run", "--updates-per-second", "3")
    assert (rate.exit_code, "--updates-per-second: goes with" in rate.stderr) == (ExitCode.USAGE, True)
    resumed = rlx("cluster", "submit", "--resume", "cart", "--dry-run", "-c", "aws.yaml")
    assert (resumed.exit_code, "EXPERIMENT" in resumed.stderr) == (ExitCode.USAGE, True)


def test_submit_puts_the_learner_on_the_gpu(lab: dict[str, Any]) -> None:
    found = rlx("cluster", "submit", "cart.yaml", "-c", "lab.yaml", "--seed", "3")
    assert found.exit_code == ExitCode.OK, found.output
    (job,) = lab["jobs"]
    added = "--set learners.num_learners=1 --set learners.num_gpus_per_learner=1 --seed 3"
    assert added in job
    assert "plan: head: driver; workers#1: 1 learner, 1 shard, 4 runners\n" in found.stderr
    assert "note: the head has no GPU and nodes of workers have one: rlx cluster submit adds" in found.stderr
    stays = rlx("cluster", "submit", "cart.yaml", "-c", "lab.yaml", "--set", "learners.num_learners=0")
    assert stays.exit_code == ExitCode.OK
    assert "num_gpus_per_learner" not in lab["jobs"][1]


def test_submit_refuses_what_does_not_fit(lab: dict[str, Any]) -> None:
    lab["cpus"] = 2.0
    found = rlx("cluster", "submit", "cart.yaml", "-c", "lab.yaml")
    assert found.exit_code == ExitCode.USAGE
    assert "cart.yaml:5:32: env_runners.num_env_runners: 4 runners, " in found.stderr
    assert lab["jobs"] == []


def test_submit_without_an_answer_or_an_environment(lab: dict[str, Any]) -> None:
    Path("there.yaml").write_text(EXPERIMENT.replace("CartPole-v1", "OnlyThere-v3"))
    found = rlx("cluster", "submit", "there.yaml", "-c", "lab.yaml")
    assert found.exit_code == ExitCode.OK
    assert "no plan: there.yaml:2:6: env: " in found.stderr
    lab["answers"] = False
    silent = rlx("cluster", "submit", "cart.yaml", "-c", "lab.yaml")
    assert silent.exit_code == ExitCode.OK
    assert "plan" not in silent.stderr
    assert len(lab["jobs"]) == 2
