"""What may be ended before a new start: only what has no head, by who knows it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rlx.cluster import launcher, names
from rlx.cluster.aws import Aws
from rlx.cluster.errors import ClusterError
from rlx.cluster.machines import HEAD, Instances, Machine
from rlx.cluster.remnants import end_remnants, refuse_living
from rlx.cluster.spec import AwsCluster
from tests.cluster.conftest import REGION
from tests.cluster.head import TOKEN, Lab, lab
from tests.cluster.machines import plain_instance

__all__ = ["lab"]  # fixture


@pytest.fixture
def gcs(lab: Lab, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the cluster with the name of Ray's control store."""
    program = tmp_path / "gcs_server"
    program.symlink_to("/bin/sleep")
    environment = {"PATH": os.environ["PATH"], launcher.MARK: lab.spec.name}
    process = subprocess.Popen([str(program), "60"], env=environment)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def worker(lab: Lab) -> Iterator[subprocess.Popen[bytes]]:
    """A process that the cluster has left."""
    process = subprocess.Popen(
        ["sleep", "60"], env={launcher.MARK: lab.spec.name, "PATH": os.environ["PATH"]}
    )
    yield process
    process.kill()
    process.wait()


def test_a_cluster_that_is_up_is_left_alone(lab: Lab, worker: Any) -> None:
    with pytest.raises(ClusterError, match="is up already"):
        end_remnants(lab.spec, lab.hosts, home=lab.home)
    assert worker.poll() is None


@pytest.mark.parametrize("silence", ["dashboard", "token", "other token"])
def test_a_ray_that_does_not_answer_here_may_live(lab: Lab, gcs: Any, worker: Any, silence: str) -> None:
    if silence == "dashboard":
        (lab.folder / "port").write_text("1")
    elif silence == "token":
        lab.token.unlink()
    else:
        lab.token.write_text("another")
    with pytest.raises(ClusterError, match=r"Ray runs on its head, but does not answer here .*down ends it"):
        end_remnants(lab.spec, lab.hosts, home=lab.home)
    assert gcs.poll() is worker.poll() is None


def test_a_head_that_cannot_be_reached_may_live(lab: Lab, worker: Any) -> None:
    lab.unreachable("127.0.1.1", "Connection timed out")
    with pytest.raises(ClusterError, match=r"cannot be asked whether Ray runs there: .*Connection timed out"):
        end_remnants(lab.spec, lab.hosts, home=lab.home)
    assert worker.poll() is None


def test_what_a_dead_head_has_left_is_ended(lab: Lab, worker: Any) -> None:
    (lab.folder / "port").write_text("1")
    end_remnants(lab.spec, lab.hosts, home=lab.home, say=lab.said.append)
    assert worker.wait(timeout=5) < 0
    assert "are ended" in lab.said[0]


def test_without_remnants_nothing_is_said(lab: Lab) -> None:
    (lab.folder / "port").write_text("1")
    end_remnants(lab.spec, lab.hosts, home=lab.home, say=lab.said.append)
    assert lab.said == []
    assert lab.token.exists()


class Ec2(Instances):
    """Instances whose head is the lab's, with a state and an age of the test's choice."""

    def __init__(self, spec: AwsCluster, aws: Aws, lab: Lab, state: str = "", minutes: float = 0) -> None:
        super().__init__(spec, aws, lab.home)
        self.lab, self.state = lab, state
        self.since = datetime.now(UTC) - timedelta(minutes=minutes)

    def all(self) -> list[Machine]:
        return [
            replace(one, state=self.state or one.state, since=self.since) if one.group == HEAD else one
            for one in super().all()
        ]

    def head(self) -> Any:
        return self.lab.head


@pytest.fixture
def cluster(lab: Lab, cloud: None, ec2: Any, spec: AwsCluster) -> tuple[AwsCluster, Aws, str, str]:
    """A head, a worker."""
    name = lab.spec.name
    spec = spec.model_copy(update={"name": name})
    head, worker = plain_instance(ec2, name), plain_instance(ec2, name, kind="worker")
    token = names.token_file(REGION, name, lab.home)
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN)
    return spec, Aws(REGION), head, worker


def alive(ec2: Any) -> set[str]:
    found = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])
    return {one["InstanceId"] for reserved in found["Reservations"] for one in reserved["Instances"]}


def test_workers_of_a_head_that_is_slow_to_answer_are_not_ended(lab: Lab, ec2: Any, cluster: Any) -> None:
    spec, aws, head, worker = cluster
    lab.unreachable("127.0.1.1", "Connection timed out")
    with pytest.raises(ClusterError, match="it may well train"):
        end_remnants(spec, Ec2(spec, aws, lab), home=lab.home)
    assert alive(ec2) == {head, worker}


def test_workers_without_a_head_are_ended(lab: Lab, ec2: Any, cluster: Any) -> None:
    spec, aws, head, _ = cluster
    other = plain_instance(ec2, f"{spec.name}-2", kind="worker")
    known = names.state_folder(REGION, spec.name, lab.home) / "known_hosts"
    known.write_text("x")
    ec2.terminate_instances(InstanceIds=[head])
    end_remnants(spec, Ec2(spec, aws, lab), home=lab.home, say=lab.said.append)
    assert alive(ec2) == {other}
    assert lab.said == [f"{spec.name} has 1 workers left and no head that answers: they are ended"]
    assert not known.exists()  # a new head may get the old address
    assert lab.commands() == []


def test_workers_of_a_head_without_ray_are_ended(lab: Lab, ec2: Any, cluster: Any) -> None:
    spec, aws, head, _ = cluster
    (lab.folder / "port").write_text("1")
    end_remnants(spec, Ec2(spec, aws, lab), home=lab.home)
    assert alive(ec2) == {head}


def test_workers_of_a_head_that_is_starting_are_not_ended(lab: Lab, ec2: Any, cluster: Any) -> None:
    spec, aws, head, worker = cluster
    with pytest.raises(ClusterError, match="is starting: its head was launched a moment ago; wait, or "):
        end_remnants(spec, Ec2(spec, aws, lab, "pending", minutes=9), home=lab.home)
    assert alive(ec2) == {head, worker}


def test_a_head_that_never_came_up_runs_nothing(lab: Lab, cluster: Any) -> None:
    spec, aws, *_ = cluster
    lab.unreachable("127.0.1.1")
    refuse_living(spec, Ec2(spec, aws, lab, "pending", minutes=11), home=lab.home)
