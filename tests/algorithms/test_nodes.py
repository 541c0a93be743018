"""What the plan sees of Ray's nodes, and how their coming and going is worded. Without Ray."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from rlx.algorithms import nodes
from rlx.algorithms.nodes import NodeWatch, nodes_of


def record(name: str, *, head: bool = False, alive: bool = True, **resources: float) -> dict[str, Any]:
    own = {"CPU": 4.0, "memory": 3e9, "object_store_memory": 1e9, **resources}
    return {
        "NodeID": f"id-{name}",
        "Alive": alive,
        "NodeManagerAddress": "10.0.0.7",
        "NodeManagerHostname": "host",
        "NodeName": name,
        "Resources": {**own, nodes.HEAD_RESOURCE: 1.0} if head else own,
        "Labels": {"ray.io/node-group": "actors"},
    }


def test_nodes_of_ray() -> None:
    found = nodes_of([record("b", GPU=2.0), record("a"), record("gone", alive=False), record("z", head=True)])
    assert list(found) == ["id-z", "id-a", "id-b"], "the head first, then by name"
    node = found["id-b"]
    assert (node.name, node.cpus, node.gpus, node.memory_bytes) == ("b (10.0.0.7)", 4.0, 2.0, 3_000_000_000)
    assert (node.head, node.group) == (False, "actors")


@pytest.mark.parametrize(("name", "shown"), [("10.0.0.7", "host (10.0.0.7)"), ("w", "w (10.0.0.7)")])
def test_a_node_without_a_name_is_called_by_its_host(name: str, shown: str) -> None:
    assert nodes.name_of(record(name)) == shown


def test_a_node_that_goes_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [record("z", head=True), record("a")]
    monkeypatch.setattr(ray, "nodes", lambda: list(there))
    watch = NodeWatch(poll_seconds=0.0)
    assert (watch.alive, watch.changes(), watch.lost_at) == (2, [], None)
    gone = there.pop()
    (change,) = watch.changes()
    assert change == (False, "id-a", "a (10.0.0.7)")
    assert watch.describe(False, change[2], "runner 1") == "node a (10.0.0.7) is gone, and with it runner 1"
    assert not watch.is_alive("id-a")
    assert watch.lost_at is not None
    there.append({**gone, "NodeID": "another"})
    ((came, node_id, name),) = watch.changes()
    assert (came, node_id) == (True, "another")
    assert watch.describe(came, name, "") == "node a (10.0.0.7) is back"
    assert watch.full_again(3, 0) == "back to full strength: 3 of 3 runners, 0 s after the loss"
    assert watch.lost_at is None
    there.append(record("new"))
    ((came, _, name),) = watch.changes()
    assert watch.describe(came, name, "") == "node new (10.0.0.7) joined"


def test_ray_is_not_asked_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ray, "nodes", lambda: asked.append(1) or [record("z", head=True)])
    watch = NodeWatch(poll_seconds=1000.0)
    for _ in range(10):
        watch.changes()
    assert len(asked) == 1
