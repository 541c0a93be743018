"""Which shard is asked, what is waited for, where priorities go."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import pytest
import ray

from rlx.learners.window_source import WindowSource
from tests.learners.windows import WindowShard, make_windows


def shard(count: int, seed: int = 0) -> WindowShard:
    rng = np.random.default_rng(seed)
    return WindowShard([make_windows(rng) for _ in range(count)])


def test_shards_take_turns() -> None:
    source = WindowSource([shard(3), shard(3), shard(3)], batch_size=8, offset=1)
    order = [source.next().shard_index for _ in range(6)]  # type: ignore[union-attr]
    assert order == [1, 2, 0, 1, 2, 0]


def test_an_empty_shard_is_passed_over() -> None:
    full = shard(2)
    source = WindowSource([shard(0), full], batch_size=8)
    assert [source.next().shard_index for _ in range(2)] == [1, 1]  # type: ignore[union-attr]
    assert source.next() is None


def test_priorities_go_to_the_shard_that_gave_the_windows() -> None:
    shards = [shard(2), shard(2)]
    source = WindowSource(shards, batch_size=8)
    for value in (1.0, 2.0, 3.0):
        source.report(source.next(), np.full(8, value))  # type: ignore[arg-type]
    assert [p[0] for _, p in shards[0].priorities] == [1.0, 3.0]
    assert [p[0] for _, p in shards[1].priorities] == [2.0]


class RemoteShard(WindowShard):
    """A shard in a process of its own, that can sleep and die."""

    def __init__(self, count: int) -> None:
        super().__init__(shard(count).batches)
        self.sleep_seconds = 0.0

    def sample(self, batch_size: int) -> Any:
        time.sleep(self.sleep_seconds)
        return super().sample(batch_size)

    def set_sleep(self, seconds: float) -> None:
        self.sleep_seconds = seconds

    def get_priorities(self) -> list[Any]:
        return self.priorities

    def block(self, seconds: float) -> None:
        time.sleep(seconds)

    def end(self) -> None:
        os._exit(1)


def remote(count: int) -> Any:
    return ray.remote(RemoteShard).options(num_cpus=0, max_restarts=-1).remote(count)


@pytest.mark.usefixtures("ray_started")
def test_remote_shards() -> None:
    handles = [remote(3), remote(3)]
    source = WindowSource(handles, batch_size=8, prefetch=2)
    first = source.next(timeout_seconds=60)
    assert first is not None
    assert (first.shard_index, source.queue_depth) == (0, 1)
    assert source.wait_seconds > 0
    source.report(first, np.full(8, 5.0))
    assert ray.get(handles[0].get_priorities.remote())[0][1][0] == 5.0
    rest = [source.next() for _ in range(5)]
    assert [s.shard_index for s in rest if s is not None] == [1, 0, 1, 0, 1]
    assert source.next() is None, "both are empty"

    # One that answers too late is not waited for, and its batch is not lost.
    slow = remote(1)
    ray.get(slow.set_sleep.remote(2.0))
    source = WindowSource([slow], batch_size=8, prefetch=1)
    assert source.next(timeout_seconds=0.1) is None
    assert source.next(timeout_seconds=60) is not None

    # One that dies is passed over, and asked again when it is back.
    source = WindowSource(handles, batch_size=8, prefetch=2)
    handles[0].end.remote()
    deadline = time.monotonic() + 60
    found = None
    while found is None:
        found = source.next(timeout_seconds=5)
        assert time.monotonic() < deadline
    assert found.shard_index == 0, "the other is empty; this one came back with three batches"
    assert source.lost_requests > 0


@pytest.mark.usefixtures("ray_started")
def test_a_shard_that_does_not_answer_delays_the_others_once() -> None:
    handles = [remote(200), remote(200), remote(200)]
    ray.get([handle.get_priorities.remote() for handle in handles])
    source = WindowSource(handles, batch_size=8, prefetch=3, patience_seconds=1.0)
    assert [found(source) for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    handles[1].block.remote(8.0)  # as a link that is down for eight seconds
    blocked_at = time.monotonic()
    shown, waits = [], []
    while time.monotonic() - blocked_at < 6.0 and len(shown) < 40:
        began = time.monotonic()
        shown.append(found(source))
        waits.append(time.monotonic() - began)
    # What it had answered before comes first; then it is passed over, at the cost of its patience, once.
    assert shown.count(1) <= 3
    assert len(shown) == 40
    assert {0, 2} <= set(shown[5:])
    assert sum(wait > 0.9 for wait in waits) <= 1, waits
    assert source.passed_over == {1}
    assert source.queue_depth in (2, 3), "the queue is filled from the others"
    deadline = time.monotonic() + 60
    back = source.next(timeout_seconds=60)
    while back is None or back.shard_index != 1:
        assert time.monotonic() < deadline
        time.sleep(0.2)  # the others have a batch for each of these
        back = source.next(timeout_seconds=60)
    assert 1 in [found(source) for _ in range(6)], "it is used again"


@pytest.mark.usefixtures("ray_started")
def test_with_one_request_at_a_time_another_shard_is_asked() -> None:
    handles = [remote(20), remote(20)]
    ray.get([handle.get_priorities.remote() for handle in handles])
    handles[0].block.remote(8.0)
    source = WindowSource(handles, batch_size=8, prefetch=1, patience_seconds=0.5)
    assert [found(source) for _ in range(3)] == [1, 1, 1]
    assert source.passed_over == {0}


@pytest.mark.usefixtures("ray_started")
def test_where_no_shard_answers_the_wait_is_bounded() -> None:
    handles = [remote(20), remote(20)]
    ray.get([handle.get_priorities.remote() for handle in handles])
    for handle in handles:
        handle.block.remote(20.0)
    source = WindowSource(handles, batch_size=8, prefetch=2, patience_seconds=0.5)
    began = time.monotonic()
    assert source.next(timeout_seconds=1.0) is None
    assert time.monotonic() - began < 10.0


def found(source: WindowSource) -> int:
    sampled = source.next(timeout_seconds=60)
    assert sampled is not None
    return sampled.shard_index
