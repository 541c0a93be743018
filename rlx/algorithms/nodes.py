"""The nodes of a Ray cluster: what the plan of a run sees of them, and which of them are there.

docs/design/0003-nodes.md is the contract.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rlx.errors import NeverStartedError
from rlx.experiment.memory import PartSizes, format_bytes
from rlx.experiment.placement import (
    Node,
    Placement,
    place,
    placed_learner_threads,
    reserved_cpus,
)
from rlx.experiment.spec import ExperimentSpec

logger = logging.getLogger(__name__)

#: A resource that only the head has.
HEAD_RESOURCE = "node:__internal_head__"
_A_LITTLE = 0.001
_ID_LABEL = "ray.io/node-id"
_GROUP_LABEL = "ray.io/node-group"


def nodes_of(records: Sequence[Mapping[str, Any]]) -> dict[str, Node]:
    """Turn `ray.nodes()` into what a plan is made from, the head first: node id -> node; dead ones left out.

    Ray's own count of memory is taken: what it leaves to processes beside the object store.
    """
    found = {}
    for record in records:
        if not record["Alive"]:
            continue
        resources = record["Resources"]
        found[str(record["NodeID"])] = Node(
            name=name_of(record),
            cpus=float(resources.get("CPU", 0.0)),
            gpus=float(resources.get("GPU", 0.0)),
            memory_bytes=int(resources.get("memory", 0)),
            head=HEAD_RESOURCE in resources,
            group=str(record.get("Labels", {}).get(_GROUP_LABEL, "")),
        )
    return dict(sorted(found.items(), key=lambda item: (not item[1].head, item[1].name, item[0])))


def name_of(record: Mapping[str, Any]) -> str:
    """Return what messages call a node: its name and address."""
    address, name = str(record["NodeManagerAddress"]), str(record.get("NodeName") or "")
    if not name or name == address:
        name = str(record.get("NodeManagerHostname") or "")
    return f"{name} ({address})" if name and name != address else address


@dataclass(frozen=True)
class ClusterPlan:
    """A placement on real nodes.

    Attributes:
        placement: indices of nodes.
        node_ids: Ray's id of each.
        sizes: of the parts.
    """

    placement: Placement
    node_ids: tuple[str, ...]
    sizes: PartSizes

    def runner_strategy(self, index: int) -> NodeAffinitySchedulingStrategy:
        """Return where runner 1, 2, ... goes; elsewhere only once that node is gone."""
        return self._on(self.placement.runners[index - 1])

    def shard_options(self, index: int) -> dict[str, Any]:
        """Return Ray's options of a shard: its node, and the memory that it must find there.

        So a shard whose node died starts again elsewhere only where it has room, and waits otherwise.
        Its core is reserved apart (`Reservation`).
        """
        return {
            "scheduling_strategy": self._on(self.placement.shards[index]),
            "num_cpus": 0,
            "memory": self.sizes.shard,
        }

    def learner_resources(self) -> dict[str, float]:
        """Return the resources that put learner processes on the head, if that is where they all belong."""
        learners = set(self.placement.learners)
        return {HEAD_RESOURCE: _A_LITTLE} if learners == {self.placement.driver} else {}

    def _on(self, node: int) -> NodeAffinitySchedulingStrategy:
        return NodeAffinitySchedulingStrategy(self.node_ids[node], soft=True)


def plan_cluster(spec: ExperimentSpec, sizes: PartSizes) -> ClusterPlan | None:
    """Place a run on the nodes that Ray has now.

    None on a single one, where there is nothing to plan, and in a placement group (of Tune), which decides.
    """
    if ray.util.get_current_placement_group() is not None:
        return None
    nodes = nodes_of(ray.nodes())
    if len(nodes) < 2 or sum(node.head for node in nodes.values()) != 1:
        return None
    placement = place(spec, list(nodes.values()), sizes)
    for sentence in placement.problems():
        logger.warning("the cluster is too small: %s", sentence)
    return ClusterPlan(placement, tuple(nodes), sizes)


def learner_threads_of(spec: ExperimentSpec, plan: ClusterPlan) -> int:
    """Return the torch threads of a learner on the node that the plan gives it."""
    return placed_learner_threads(spec, plan.placement)


class Reservation:
    """The cores of the driver and of shards, kept from runners that start again.

    Args:
        spec: a resolved spec.
        plan: of the cluster.
        timeout_seconds: how long others may hold these cores.

    Raises:
        NeverStartedError: they were not free in that time.
    """

    def __init__(self, spec: ExperimentSpec, plan: ClusterPlan, timeout_seconds: float) -> None:
        self._groups: dict[str, Any] = {}
        wanted = reserved_cpus(spec, plan.placement)
        for node, cpus in wanted.items():
            node_id = plan.node_ids[node]
            here = [{_ID_LABEL: node_id}]
            self._groups[node_id] = placement_group([{"CPU": cpus}], bundle_label_selector=here)
        deadline = time.monotonic() + timeout_seconds
        for node, cpus in wanted.items():
            if not self._groups[plan.node_ids[node]].wait(max(1.0, deadline - time.monotonic())):
                self.release()
                raise NeverStartedError(
                    f"{cpus:g} CPUs of {plan.placement.nodes[node].name}, for the driver and replay shards, "
                    f"were not free within {timeout_seconds:g} s",
                    next=f"something else uses the cluster: {free_resources()}",
                )

    def forget(self, node_id: str) -> None:
        """Give up what was reserved on a node that is gone, so that nobody starts a node for it."""
        group = self._groups.pop(node_id, None)
        if group is not None:
            remove_placement_group(group)

    def release(self) -> None:
        """Give the cores back."""
        if ray.is_initialized():
            for node_id in list(self._groups):
                self.forget(node_id)


def free_resources() -> str:
    """Say in one line what each node has and has free of CPUs, GPUs and memory."""
    try:
        free = ray._private.state.available_resources_per_node()
    except Exception:  # a private function of Ray, and only words depend on it
        free = {}
    parts = []
    for node_id, node in nodes_of(ray.nodes()).items():
        left = free.get(node_id, {})
        memory = f"{format_bytes(left.get('memory', 0))} of {format_bytes(node.memory_bytes)}"
        gpus = f", {left.get('GPU', 0):g} of {node.gpus:g} GPUs" if node.gpus else ""
        parts.append(f"{node.name} has {left.get('CPU', 0):g} of {node.cpus:g} CPUs{gpus} and {memory} free")
    return "; ".join(parts)


class NodeWatch:
    """Which nodes are there, which are gone and what they held; asks Ray at most once a second.

    Args:
        poll_seconds: between two questions to Ray (0.4 ms each on a small cluster).
    """

    def __init__(self, poll_seconds: float = 1.0) -> None:
        self.poll_seconds = poll_seconds
        self._polled_at = float("-inf")
        self._alive: dict[str, str] = {}
        #: Names of nodes that are gone and were not seen again.
        self._gone: list[str] = []
        #: When (monotonic) the first node went that held something, until all of it works again.
        self.lost_at: float | None = None
        self._told_late = False
        self._changes: list[tuple[bool, str, str]] = []
        self.refresh(force=True)
        self._changes.clear()

    @property
    def alive(self) -> int:
        """Return how many nodes are there."""
        return len(self._alive)

    def is_alive(self, node_id: str, *, now: bool = False) -> bool:
        """Return whether a node is there; one that nobody knows (an empty id) is taken to be.

        Args:
            node_id: Ray's id.
            now: ask Ray again, however lately that was done.
        """
        self.refresh(force=now)
        return not node_id or node_id in self._alive

    def name(self, node_id: str) -> str:
        """Return what messages call a node that is there."""
        return self._alive.get(node_id, "a node that is gone")

    def refresh(self, *, force: bool = False) -> None:
        """Look which nodes are there, if that was not done lately."""
        now = time.monotonic()
        if not force and now - self._polled_at < self.poll_seconds:
            return
        self._polled_at = now
        alive = {str(r["NodeID"]): name_of(r) for r in ray.nodes() if r["Alive"]}
        for node_id in self._alive.keys() - alive.keys():
            self._changes.append((False, node_id, self._alive[node_id]))
        for node_id in alive.keys() - self._alive.keys():
            self._changes.append((True, node_id, alive[node_id]))
        self._alive = alive

    def changes(self) -> list[tuple[bool, str, str]]:
        """Return (whether it came, id, name) of each node that came or went since the last call."""
        self.refresh()
        changes, self._changes = self._changes, []
        return sorted(changes)

    def describe(self, came: bool, name: str, held: str) -> str:
        """Word one change.

        Args:
            came: whether the node came or went.
            name: of the node.
            held: what it held, empty for nothing.
        """
        if not came:
            self._gone.append(name)
            if held:
                self.lost_at = self.lost_at or time.monotonic()
            return f"node {name} is gone" + (f", and with it {held}" if held else "")
        if name in self._gone:
            self._gone.remove(name)
            return f"node {name} is back"
        return f"node {name} joined"

    def late(self, limit_seconds: float) -> float | None:
        """Return the seconds since the loss, once, when they have become more than `limit_seconds`."""
        if self.lost_at is None or self._told_late:
            return None
        seconds = time.monotonic() - self.lost_at
        self._told_late = seconds > limit_seconds
        return seconds if self._told_late else None

    def full_again(self, runners: int, shards: int) -> str:
        """Word that everything works again, and forget the loss."""
        seconds = time.monotonic() - (self.lost_at or time.monotonic())
        self.lost_at, self._told_late = None, False
        parts = [
            f"{count} of {count} {name}"
            for count, name in ((runners, "runners"), (shards, "shards"))
            if count
        ]
        return f"back to full strength: {', '.join(parts)}, {seconds:.0f} s after the loss"
