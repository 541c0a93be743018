"""What Ray counts on nodes: as Ray's own code says, before there is a Ray."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlx.cluster import capacity, on_premise
from rlx.cluster.api import RayNode
from rlx.cluster.capacity import cluster_nodes, object_store_bytes
from rlx.cluster.errors import ClusterError
from rlx.cluster.instance_types import instance_type
from rlx.cluster.launcher import Local, render_aws
from rlx.cluster.load import ClusterFile, load_cluster_text
from rlx.cluster.prepare import prepare
from rlx.cluster.ssh import Answer
from rlx.experiment.placement import Node
from rlx.experiment.problems import ExperimentError
from tests.cluster.conftest import TEXT
from tests.cluster.machines import settle

GIB, KIB = 2**30, 2**10
HOSTS = """\
name: lab
provider: on-premise
hosts: [10.0.0.1, 10.0.0.2]
ssh_key: {key}
storage: /mnt/shared/runs
"""


@pytest.fixture
def lab(home: Path) -> ClusterFile:
    """Two hosts, whose key is here."""
    key = home / "key"
    key.touch()
    return load_cluster_text(HOSTS.format(key=key), "lab.yaml")


def answers(monkeypatch: pytest.MonkeyPatch, **by_host: str) -> None:
    """Let hosts answer: `h1` is 10.0.0.1."""
    found = {
        f"10.0.0.{name[1:]}": Answer(0 if text else 255, text, "no route") for name, text in by_host.items()
    }
    monkeypatch.setattr(
        on_premise, "_on_all", lambda hosts, there, script: {host: found[host] for host in there}
    )


def told(cpus: int = 8, available_gib: int = 40, limit: str = "max", gpus: int = 0, shm_gib: int = 32) -> str:
    facts = {
        "host": "a", "cpus": cpus, "memory_kb": 64 * GIB // KIB, "available_kb": available_gib * GIB // KIB,
        "limit": limit, "gpus": gpus, "shm_kb": shm_gib * GIB // KIB,
    }  # fmt: skip
    return "\n".join(f"{key}={value}" for key, value in facts.items())


def test_workers_on_aws_are_those_of_ray_s_launcher(
    aws: Any, file: ClusterFile, local: Local, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlx.cluster.prepare._IAM_SECONDS", 0.0)
    found = cluster_nodes(file)
    assert [node.name for node in found.nodes] == ["head", "actors#1", "actors#2"], "those that are kept"
    assert found.types == ("m5.large", "c5.xlarge", "c5.xlarge")
    assert not found.running
    spec = file.on_aws("test")
    local.token.parent.mkdir(parents=True, exist_ok=True)
    local.token.touch()
    config = settle(render_aws(spec, prepare(aws, spec, say=lambda text: None), local))
    by_ray = config["available_node_types"]["actors"]["resources"]
    worker = found.nodes[1]
    assert (worker.cpus, worker.memory_bytes) == (by_ray["CPU"], by_ray["memory"])
    assert by_ray["memory"] == 6012954214, "70% of 8 GiB"
    assert "memory" not in config["available_node_types"]["head"]["resources"]
    # 8 GiB less the object store, 30% of it.
    assert found.nodes[0] == Node("head", 2, 0, 8 * GIB - int(0.3 * 8 * GIB), head=True, group="head")


def test_the_file_s_cpus_and_object_store_go_before(home: Path, cloud: None) -> None:
    text = TEXT.replace("volume_gb: 30", "num_cpus: 1").replace("c5.xlarge", "g4dn.xlarge")
    nodes = cluster_nodes(load_cluster_text(text + "object_store_gb: 1\n", "c.yaml")).nodes
    assert (nodes[0].cpus, nodes[0].memory_bytes) == (1, 8 * GIB - 10**9)
    assert (nodes[1].cpus, nodes[1].gpus) == (4, 1)
    # Ray's launcher gives workers 70%, whatever their object store is.
    assert nodes[1].memory_bytes == int(16 * GIB * 0.7)


def test_an_unknown_type_is_named_with_its_place(home: Path, cloud: None, aws: Any) -> None:
    assert instance_type(aws, "m5.enormous") is None
    with pytest.raises(ExperimentError, match=r"c.yaml:8:23: head.instance_type: no instance type 'm5.enor"):
        cluster_nodes(load_cluster_text(TEXT.replace("m5.large", "m5.enormous"), "c.yaml"))


@pytest.mark.parametrize("available", [4, 32, 2000])
@pytest.mark.parametrize("shared", [2, 16, 1000])
def test_the_object_store_is_ray_s(available: int, shared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import utils

    monkeypatch.setattr(utils, "get_shared_memory_bytes", lambda: shared * GIB)
    by_ray = utils.resolve_object_store_memory(available * GIB)
    assert object_store_bytes(available * GIB, None, shared * GIB) == by_ray
    assert object_store_bytes(available * GIB, 2.5, shared * GIB) == 2_500_000_000


def test_hosts_are_asked(lab: ClusterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, h1=told(), h2=told(16, gpus=2, limit=str(20 * GIB)))
    found = cluster_nodes(lab)
    assert found.types == ("", "")
    # 40 GiB are available, 12 go to the object store; the second is in a container of 20 GiB.
    assert found.nodes == (
        Node("head", 8, 0, 28 * GIB, head=True, group="head"),
        Node("workers#1", 16, 2, 14 * GIB, head=False, group="workers"),
    )


def test_a_host_that_does_not_answer(lab: ClusterFile, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    answers(monkeypatch, h1=told(), h2="")
    with pytest.raises(ClusterError, match=r"10\.0\.0\.2: cannot be asked what it has: no route"):
        cluster_nodes(lab)
    (home / "key").unlink()
    with pytest.raises(ClusterError, match="no private key"):
        cluster_nodes(lab)


def test_the_question_to_hosts_is_shell() -> None:
    done = subprocess.run(["bash", "-c", "; ".join(on_premise._RESOURCES)], capture_output=True, text=True)
    found = on_premise._resources_of("here", Answer(done.returncode, done.stdout, done.stderr))
    assert found.cpus > 0
    assert found.available_bytes > 10**8


def test_a_running_ray_goes_before(lab: ClusterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def ray_node(number: int, *, alive: bool = True) -> RayNode:
        return RayNode("id", f"10.0.0.{number}", number == 1, alive, "", 4.0, 0.0, 7 * GIB, {})

    there = [ray_node(1), ray_node(2)]

    class Api:
        def nodes(self) -> list[RayNode]:
            return there

    @contextlib.contextmanager
    def api(head: Any, token: Path) -> Iterator[Api]:
        yield Api()

    monkeypatch.setattr(capacity, "head_api", api)
    found = cluster_nodes(lab)
    assert found.running
    assert found.absent == ()
    assert found.nodes[1] == Node("workers#1", 4, 0, 7 * GIB, head=False, group="workers")
    there[1] = ray_node(2, alive=False)
    found = cluster_nodes(lab)
    assert ([node.name for node in found.nodes], found.absent) == (["head"], (("workers", 1),))
    # Without a head there is nothing to plan on: the hosts are asked.
    there.clear()
    answers(monkeypatch, h1=told(), h2=told())
    assert not cluster_nodes(lab).running
