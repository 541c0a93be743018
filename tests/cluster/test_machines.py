"""Which machines a cluster has, by AWS and by its file, and the way to its head."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rlx.cluster import names
from rlx.cluster.aws import Aws
from rlx.cluster.errors import ClusterError
from rlx.cluster.machines import HEAD, Instances, _machine, machines_of
from rlx.cluster.spec import AwsCluster
from tests.cluster.conftest import REGION
from tests.cluster.head import Lab, lab
from tests.cluster.machines import plain_instance

__all__ = ["lab"]  # fixture


def test_instances(aws: Aws, ec2: Any, spec: AwsCluster, home: Path) -> None:
    machines = Instances(spec, aws, home)
    assert machines.wanted == {HEAD: 1, "actors": 2}
    with pytest.raises(ClusterError, match="cluster apex has no head"):
        machines.head()
    head = plain_instance(ec2, "apex")
    worker = plain_instance(ec2, "apex", kind="worker")
    ec2.create_tags(Resources=[worker], Tags=[{"Key": "ray-user-node-type", "Value": "actors"}])
    for other in ("apex-2", "ape"):
        plain_instance(ec2, other)
    plain_instance(ec2, "apex", ours=False)
    assert [(one.id, one.group, one.alive) for one in machines.all()] == [
        (head, HEAD, True),
        (worker, "actors", True),
    ]
    with pytest.raises(ClusterError, match="private key is not on this machine"):
        machines.head()
    key = names.key_file(REGION, "apex", home)
    key.parent.mkdir(parents=True)
    key.write_text("k")
    node = machines.head()
    assert (node.user, node.key, node.address) == ("ubuntu", key, machines.all()[0].public_address)
    inside = Instances(spec.model_copy(update={"internal_addresses": True}), aws, home)
    assert inside.head().address == machines.all()[0].address

    ec2.terminate_instances(InstanceIds=[head])
    ended = machines.all()[0]
    assert (ended.id, ended.alive) == (head, False)
    assert ended.ended is not None
    assert abs((datetime.now(UTC) - ended.ended).total_seconds()) < 60


@pytest.mark.parametrize(
    ("reason", "ended"),
    [
        ("User initiated (2026-03-01 12:30:00 GMT)", datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        ("Server.SpotInstanceTermination", None),
        ("", None),
    ],
)
def test_when_an_instance_ended(reason: str, ended: datetime | None) -> None:
    one = {
        "InstanceId": "i-1",
        "InstanceType": "m5.large",
        "State": {"Name": "terminated"},
        "StateTransitionReason": reason,
        "Tags": [],
    }
    assert _machine(one).ended == ended


def test_hosts_are_known_by_their_addresses(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = lab.spec.model_copy(update={"hosts": ("127.0.1.1", "node-b", "node-c")})
    known = {"127.0.1.1": "127.0.1.1", "node-b": "10.0.0.2"}

    def look_up(host: str) -> str:
        if host not in known:
            raise socket.gaierror(host)
        return known[host]

    monkeypatch.setattr(socket, "gethostbyname", look_up)
    found = machines_of(spec, lab.home).all()
    assert [(one.id, one.address) for one in found] == [
        ("127.0.1.1", "127.0.1.1"),
        ("node-b", "10.0.0.2"),
        ("node-c", "node-c"),
    ]
