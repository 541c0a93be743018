"""What the pool makes of runners that fail, come back and do not answer; without Ray."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from rlx.algorithms.runner_group import Whereabouts
from rlx.algorithms.runner_pool import RunnerPool
from tests.engines import small_config

CONFIG = small_config({"env_runners": {"num_env_runners": 2, "max_requests_in_flight": 3}})


class FakeManager:
    """RLlib's manager of two actors; `failing` ones fail in the next call to all."""

    def __init__(self) -> None:
        self.healthy = {1: True, 2: True}
        self.failing: set[int] = set()
        self.asked: dict[str, Any] = {}
        self._in_flight_req_to_actor_id: dict[Any, Any] = {}

    def actor_ids(self) -> list[int]:
        return list(self.healthy)

    def is_actor_healthy(self, index: int) -> bool:
        return self.healthy[index]

    def set_actor_state(self, index: int, healthy: bool) -> None:
        self.healthy[index] = healthy

    def foreach_actor(self, function: Any, **asked: Any) -> list[Any]:
        self.asked = asked
        for index in self.failing:
            self.healthy[index] = False
        return [
            SimpleNamespace(actor_id=index, ok=index not in self.failing, get=lambda: "lanes")
            for index in self.healthy
        ]

    def fetch_ready_async_reqs(self, **asked: Any) -> list[Any]:
        return []


class FakeGroup:
    """Two runners, on nodes a and b."""

    def __init__(self) -> None:
        self._worker_manager = FakeManager()
        self.whereabouts = {1: Whereabouts(11, "a"), 2: Whereabouts(12, "b")}
        self.back: list[int] = []

    def num_remote_env_runners(self) -> int:
        return 2

    def healthy_env_runner_ids(self) -> list[int]:
        return [index for index, healthy in self._worker_manager.healthy.items() if healthy]

    def num_healthy_remote_workers(self) -> int:
        return len(self.healthy_env_runner_ids())

    def probe(self) -> tuple[list[int], dict[int, BaseException]]:
        back, self.back = self.back, []
        for index in back:
            self._worker_manager.healthy[index] = True
        return back, {}


class FakeNodes:
    """The watch on nodes."""

    def __init__(self) -> None:
        self.alive = {"a", "b"}

    def is_alive(self, node: str, *, now: bool = False) -> bool:
        return not node or node in self.alive

    def name(self, node: str) -> str:
        return f"node {node}"


def make_pool(nodes: FakeNodes | None = None) -> RunnerPool:
    group: Any = FakeGroup()
    return RunnerPool(group, SimpleNamespace(remote=False), CONFIG, nodes)  # type: ignore[arg-type]


def fail(pool: RunnerPool, index: int) -> None:
    pool._manager.set_actor_state(index, healthy=False)
    pool.ready()


def comes_back(pool: RunnerPool, index: int, where: Whereabouts) -> None:
    group: Any = pool.group
    group.whereabouts[index] = where
    group.back.append(index)
    pool._probed_at = float("-inf")
    pool.check_gone()


def test_a_runner_that_is_back_elsewhere_is_not_lost_with_its_old_node() -> None:
    nodes = FakeNodes()
    pool = make_pool(nodes)
    nodes.alive.remove("b")
    fail(pool, 2)
    comes_back(pool, 2, Whereabouts(20, "a"))
    pool._runners[2].in_flight = 1
    assert pool.lose("b") == [2]
    assert (pool.healthy, pool.in_flight) == (2, 1), "it works on"
    assert pool.restored() == (
        [2],
        ["runner 2 was started again on node a; its episodes in progress are lost"],
    )
    assert (pool.restarts, pool._deaths) == (1, {1: 0, 2: 0})
    assert pool.lose("b") == []


def test_a_runner_on_a_node_that_goes_is_out_of_service() -> None:
    pool = make_pool(FakeNodes())
    pool._runners[2].in_flight = 1
    assert pool.lose("b") == [2]
    assert (pool.away, pool.in_flight) == ([2], 0)
    assert pool._runners[2].away_since is not None


@pytest.mark.parametrize("nodes", [None, FakeNodes()])
def test_the_same_process_answers_again(nodes: FakeNodes | None) -> None:
    pool = make_pool(nodes)
    fail(pool, 1)
    comes_back(pool, 1, Whereabouts(11, "a"))
    assert pool.restored() == ([1], ["runner 1 answers again"])
    assert (pool.restarts, pool._deaths) == (0, {1: 0, 2: 0})
    # One that dies twice between two looks was restarted twice.
    for process in (13, 14):
        fail(pool, 1)
        comes_back(pool, 1, Whereabouts(process, "a"))
    _, events = pool.restored()
    assert ["died and was restarted" in event for event in events] == [True, True]
    assert pool.restarts == 2
    assert nodes is None or pool._deaths == {1: 2, 2: 0}


def test_a_runner_that_fails_during_a_checkpoint_is_forgotten() -> None:
    pool = make_pool()
    for runner in pool._runners.values():
        runner.in_flight = 2
    pool._manager.failing.add(1)
    assert pool.lane_states() == {2: "lanes"}
    assert (pool._runners[1].in_flight, pool._runners[2].in_flight) == (0, 2)
    assert pool._runners[1].away_since is not None
    since = pool._runners[1].away_since
    pool.ready()
    assert pool._runners[1].away_since == since


def test_waiting_without_a_request_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make_pool()
    pool._runners[1].in_flight = 2  # of which the manager knows nothing
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    assert pool.ready(0.02) == []
    assert slept == [0.02]


def test_a_checkpoint_waits_for_episodes_as_long_as_it_may() -> None:
    alone = make_pool()
    alone.lane_states()
    limit = CONFIG.rlx.fault_tolerance.runner_timeout_seconds
    assert alone._manager.asked["timeout_seconds"] == limit
    assert alone._manager.asked["kwargs"] == {"flush_seconds": limit / 2}
    pool = make_pool(FakeNodes())
    pool._runners[2].answer_seconds = 4.0
    pool.lane_states()
    assert pool._manager.asked["timeout_seconds"] == 5.0 + 3 * 4.0
    assert pool._manager.asked["kwargs"] == {"flush_seconds": None}, "the runner's own"
    pool._runners[2].answer_seconds = 1000.0
    pool.lane_states()
    assert pool._manager.asked["timeout_seconds"] == limit
