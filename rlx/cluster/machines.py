"""Which machines a cluster has, EC2 instances or hosts that are there already, and the way to its head."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from rlx.cluster import names
from rlx.cluster.aws import Aws
from rlx.cluster.errors import ClusterError
from rlx.cluster.leftovers import tag
from rlx.cluster.spec import AnyCluster, AwsCluster, OnPremiseCluster
from rlx.cluster.ssh import Node

HEAD = "head"
#: Tags that Ray's launcher puts on instances: `head` or `worker`, and the name in `available_node_types`.
KIND_TAG, TYPE_TAG = "ray-node-type", "ray-user-node-type"
_ALIVE = ("pending", "running")


@dataclass(frozen=True)
class Machine:
    """One machine of a cluster.

    Attributes:
        id: the instance, or the host's address.
        group: `head`, or the group of workers.
        address: as the nodes see each other; empty while there is none.
        state: AWS's word; `host` for a host.
        why: why it ended, by AWS.
        type: of the instance.
        spot: whether AWS may take it back.
        since: when it was started (UTC); None for hosts.
        public_address: as others see it; empty while there is none.
        ended: when it was ended, by AWS (UTC); None if it runs, or AWS does not tell.
    """

    id: str
    group: str
    address: str
    state: str
    why: str = ""
    type: str = ""
    spot: bool = False
    since: datetime | None = None
    public_address: str = ""
    ended: datetime | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs, or is about to."""
        return self.state in (*_ALIVE, "host")


class Machines(Protocol):
    """The machines of one cluster."""

    @property
    def wanted(self) -> Mapping[str, int]:
        """Nodes that are kept, by group; one is `head`."""
        ...

    def all(self) -> list[Machine]:
        """Return every machine that is there, the head first."""
        ...

    def head(self) -> Node:
        """Return how the head is reached.

        Raises:
            ClusterError: there is none.
        """
        ...


class Hosts:
    """Hosts of one's own."""

    def __init__(self, spec: OnPremiseCluster, home: Path) -> None:
        self.spec = spec
        self.home = home

    @property
    def wanted(self) -> Mapping[str, int]:
        """One head, the others workers."""
        workers = len(self.spec.hosts) - 1
        return {HEAD: 1, **({"workers": workers} if workers else {})}

    def all(self) -> list[Machine]:
        """Return the hosts of the file, at their addresses where that names them."""
        return [
            Machine(host, HEAD if index == 0 else "workers", _resolved(host), "host")
            for index, host in enumerate(self.spec.hosts)
        ]

    def node(self, host: str) -> Node:
        """Return how a host is reached."""
        known = names.state_folder("on-premise", self.spec.name, self.home) / "known_hosts"
        return Node(host, self.spec.ssh_user, Path(self.spec.ssh_key), known)

    def head(self) -> Node:
        """Return how the first host is reached."""
        return self.node(self.spec.hosts[0])


class Instances:
    """Instances of EC2 with the cluster's tags."""

    def __init__(self, spec: AwsCluster, aws: Aws, home: Path) -> None:
        self.spec = spec
        self.aws = aws
        self.home = home

    @property
    def wanted(self) -> Mapping[str, int]:
        """One head, and each group's count."""
        return {HEAD: 1, **{name: group.count for name, group in self.spec.workers.items()}}

    def all(self) -> list[Machine]:
        """Return the instances, ended ones too as long as AWS knows them."""
        filters = [
            {"Name": f"tag:{names.CLUSTER_TAG}", "Values": [self.spec.name]},
            {"Name": f"tag:{names.RLX_TAG}", "Values": [self.spec.name]},
        ]
        found = self.aws.items("ec2", "describe_instances", "Reservations", Filters=filters)
        machines = [_machine(one) for reservation in found for one in reservation["Instances"]]
        return sorted(machines, key=lambda one: (one.group != HEAD, one.group, one.since or _NEVER, one.id))

    def head(self) -> Node:
        """Return how the head's instance is reached."""
        heads = [one for one in self.all() if one.group == HEAD and one.alive]
        where = f"AWS {self.aws.region}"
        if not heads:
            raise ClusterError(f"cluster {self.spec.name} has no head", where, "rlx cluster up starts it")
        address = heads[0].address if self.spec.internal_addresses else heads[0].public_address
        if not address:
            kind = "private" if self.spec.internal_addresses else "public"
            hint = "it is starting: try again" if heads[0].state == "pending" else "see internal_addresses"
            raise ClusterError(f"the head {heads[0].id} has no {kind} address", where, hint)
        folder = names.state_folder(self.spec.region, self.spec.name, self.home)
        key = names.key_file(self.spec.region, self.spec.name, self.home)
        if not key.is_file():
            hint = "the machine that started this cluster has it"
            raise ClusterError("the cluster's private key is not on this machine", str(key), hint)
        return Node(address, self.spec.ssh_user, key, folder / "known_hosts")


def machines_of(spec: AnyCluster, home: Path | None = None) -> Hosts | Instances:
    """Return the machines of a cluster."""
    home = home or Path.home()
    if isinstance(spec, AwsCluster):
        return Instances(spec, Aws(spec.region), home)
    return Hosts(spec, home)


def place_of(spec: AnyCluster) -> str:
    """Return where this machine files what it keeps of a cluster: the region, or `on-premise`."""
    return spec.region if isinstance(spec, AwsCluster) else "on-premise"


def _machine(one: dict[str, Any]) -> Machine:
    kind = tag(one, KIND_TAG)
    return Machine(
        id=one["InstanceId"],
        group=HEAD if kind == HEAD else tag(one, TYPE_TAG) or "workers",
        address=one.get("PrivateIpAddress") or "",
        public_address=one.get("PublicIpAddress") or "",
        state=one["State"]["Name"],
        why=(one.get("StateReason") or {}).get("Message") or "",
        type=one["InstanceType"],
        spot=one.get("InstanceLifecycle") == "spot",
        since=one.get("LaunchTime"),
        ended=_ended(one.get("StateTransitionReason") or ""),
    )


def _ended(reason: str) -> datetime | None:
    """Read when an instance ended: "User initiated (2026-03-01 12:30:00 GMT)"."""
    found = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)", reason)
    return None if found is None else datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


def _resolved(host: str) -> str:
    """Return a host's address, under which Ray knows it; its name if that says nothing here."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return host


_NEVER = datetime.fromtimestamp(0, UTC)
