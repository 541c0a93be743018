"""The nodes of a cluster with what Ray counts on each: as a running Ray tells, or as it will count.

Source: Ray 2.60.0. On AWS its launcher sets a worker's `CPU`, `GPU` and `memory` (70% of the type's) in
`AWSNodeProvider.fillout_available_node_types_resources`, but no memory of the head; there, and on hosts,
`ray start` takes what is available when it starts, less the object store (`ResourceAndLabelSpec`,
`resolve_object_store_memory`: 30%, at most 200 GB, and no more than 95% of /dev/shm or 10 GB).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlx.cluster import names
from rlx.cluster.api import head_api
from rlx.cluster.aws import Aws
from rlx.cluster.errors import ClusterError
from rlx.cluster.instance_types import InstanceType, instance_type
from rlx.cluster.load import ClusterFile
from rlx.cluster.machines import HEAD, Hosts, Instances, machines_of, place_of
from rlx.cluster.on_premise import HostResources, host_resources
from rlx.cluster.prices import machines as groups_of
from rlx.cluster.spec import AwsCluster, Machine, OnPremiseCluster, Workers
from rlx.cluster.up import Row, missing, rows_of
from rlx.experiment.placement import Node
from rlx.experiment.problems import ExperimentError

#: Ray's defaults for its object store: part of memory, most bytes, part of /dev/shm, bytes always allowed.
_STORE_SHARE, _STORE_MOST, _SHARED_SHARE, _SHARED_LEAST = 0.3, 200 * 10**9, 0.95, 10**10

_BY_RAY = "counted by the cluster's Ray, which is up"
_BY_AWS = (
    "instance types by AWS, not started; memory as Ray will count it: 70% of the type's on workers, on the "
    "head what its object store leaves, less what the system takes"
)
_BY_HOSTS = "asked by ssh; memory as Ray will count it: what is available now less its object store"


@dataclass(frozen=True)
class ClusterNodes:
    """The nodes that a plan is made for.

    Attributes:
        nodes: the head first; a worker's name is its group and number.
        types: instance type of each; empty for hosts.
        source: who says what they have.
        running: whether it is a running Ray that says so.
        absent: nodes of a running cluster that are not in, by group.
    """

    nodes: tuple[Node, ...]
    types: tuple[str, ...]
    source: str
    running: bool = False
    absent: tuple[tuple[str, int], ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Nodes by group, the head's too."""
        return dict(Counter(node.group for node in self.nodes))


def cluster_nodes(file: ClusterFile, *, home: Path | None = None) -> ClusterNodes:
    """Find out which nodes a cluster has, or will have once it is up. Starts nothing.

    Args:
        home: where keys and tokens are, by default the user's home.

    Raises:
        ClusterError: AWS or a host cannot be asked.
        ExperimentError: an instance type does not exist, with its place in the cluster file.
    """
    home = home or Path.home()
    running = running_nodes(machines_of(file.spec, home), home)
    if running is not None:
        return running
    if isinstance(file.spec, AwsCluster):
        return _of_types(file, file.spec)
    return _of_hosts(file.spec, home)


def running_nodes(machines: Hosts | Instances, home: Path) -> ClusterNodes | None:
    """Return the nodes that the cluster's Ray has now; None if it does not answer or has no head."""
    spec = machines.spec
    try:
        with head_api(machines.head(), names.token_file(place_of(spec), spec.name, home)) as api:
            rows = rows_of(machines.wanted, machines.all(), api.nodes())
    except ClusterError:
        return None
    found = _of_rows([row for row in rows if row.is_in], tuple(missing(machines.wanted, rows).items()))
    return found if found.counts.get(HEAD) == 1 else None


def object_store_bytes(available: int, given_gb: float | None, shared: int | None = None) -> int:
    """Return the object store that `ray start` makes.

    Args:
        available: bytes of memory that nobody uses.
        given_gb: `object_store_gb` of the cluster file.
        shared: bytes free in /dev/shm; None: half of the memory, as Linux makes it.
    """
    if given_gb is not None:
        return round(given_gb * 1e9)
    shared = available // 2 if shared is None else shared
    most = min(_STORE_MOST, max(_SHARED_LEAST, int(shared * _SHARED_SHARE)))
    return min(int(available * _STORE_SHARE), most)


def _of_rows(rows: Sequence[Row], absent: tuple[tuple[str, int], ...]) -> ClusterNodes:
    nodes, types, seen = [], [], Counter[str]()
    for row in rows:
        assert row.ray is not None
        seen[row.group] += 1
        name, head = f"{row.group}#{seen[row.group]}", row.group == HEAD
        counted = (row.ray.cpus, row.ray.gpus, row.ray.memory_bytes)
        nodes.append(Node(HEAD if head else name, *counted, head=head, group=row.group))
        types.append("" if row.machine is None else row.machine.type)
    return ClusterNodes(tuple(nodes), tuple(types), _BY_RAY, running=True, absent=absent)


def _of_types(file: ClusterFile, spec: AwsCluster) -> ClusterNodes:
    aws, nodes, types, problems = Aws(spec.region), list[Node](), list[str](), []
    for group, machine in groups_of(spec):
        found = instance_type(aws, machine.instance_type)
        if found is None:
            message = f"no instance type {machine.instance_type!r} in {spec.region}"
            problems.append(file.problem((*group.split("."), "instance_type"), message))
            continue
        members = _members(group, machine, found, spec.object_store_gb)
        nodes += members
        types += [machine.instance_type] * len(members)
    if problems:
        raise ExperimentError(problems)
    return ClusterNodes(tuple(nodes), tuple(types), _BY_AWS)


def _members(group: str, machine: Machine, found: InstanceType, object_store_gb: float | None) -> list[Node]:
    cpus, whole = float(machine.num_cpus or found.vcpus), found.memory_mib * 2**20
    if not isinstance(machine, Workers):
        memory = whole - object_store_bytes(whole, object_store_gb)
        return [Node(HEAD, cpus, float(found.gpus), memory, head=True, group=HEAD)]
    name = group.removeprefix("workers.")
    # Ray's launcher says so itself, whatever object_store_gb is.
    memory = int(whole * (1 - _STORE_SHARE))
    return [
        Node(f"{name}#{number}", cpus, float(found.gpus), memory, head=False, group=name)
        for number in range(1, machine.count + 1)
    ]


def _of_hosts(spec: OnPremiseCluster, home: Path) -> ClusterNodes:
    nodes = [
        _host(spec, index, found) for index, found in enumerate(host_resources(spec, home=home).values())
    ]
    return ClusterNodes(tuple(nodes), ("",) * len(nodes), _BY_HOSTS)


def _host(spec: OnPremiseCluster, index: int, found: HostResources) -> Node:
    store = object_store_bytes(found.available_bytes, spec.object_store_gb, found.shared_bytes)
    return Node(
        name=f"workers#{index}" if index else HEAD,
        cpus=float(spec.num_cpus or found.cpus),
        gpus=float(found.gpus),
        memory_bytes=found.available_bytes - store,
        head=index == 0,
        group="workers" if index else HEAD,
    )
