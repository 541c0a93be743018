"""Where a learner's windows come from and its priorities go: shards, near or far, with read-ahead."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from rlx.replay.windows import Windows


@dataclass
class Sampled:
    """Windows and the shard that they came from: its index, and the shard or its actor handle.

    A shard that is started anew keeps its handle. Priorities of items of the former one reach the new one:
    they are out of its range, and passed over, until it has rows there.
    """

    windows: Windows
    shard_index: int
    shard: Any


@dataclass
class _Request:
    """A batch that a remote shard was asked for."""

    shard_index: int
    shard: Any
    reference: Any


class WindowSource:
    """Draw batches from shards in turn, keeping `prefetch` requests on their way.

    A shard is a `ReplayShard` in this process or the handle of one in another. With several learners,
    learner k starts at shard k, so that they do not all ask the same one.

    Batches are taken in the order they were asked for. A remote shard that is `patience_seconds` behind
    another's answer is passed over, with all that it was asked for, until one of its answers comes after all:
    so one that is dead, starting again or out of reach costs that time once, and nothing while it is away.

    Args:
        shards: shard objects or actor handles.
        batch_size: windows per batch.
        prefetch: requests kept in flight to remote shards.
        offset: index of the first shard to ask.
        patience_seconds: see above.
    """

    #: Seconds between two requests to a shard that answers with errors.
    RETRY_SECONDS = 0.5

    def __init__(
        self,
        shards: list[Any],
        batch_size: int,
        prefetch: int = 2,
        offset: int = 0,
        patience_seconds: float = 2.0,
    ) -> None:
        self.batch_size = batch_size
        self.prefetch = max(1, prefetch)
        self.patience_seconds = patience_seconds
        self.wait_seconds = 0.0
        self.lost_requests = 0
        self._offset = offset
        self._in_flight: deque[_Request] = deque()
        #: Requests to shards that are passed over.
        self._late: list[_Request] = []
        #: Shards that answered with an error -> when to ask them again.
        self._retry_at: dict[int, float] = {}
        self.set_shards(shards)

    def set_shards(self, shards: list[Any]) -> None:
        """Use these shards from now on (one may have been replaced)."""
        self.shards = list(shards)
        self._next = self._offset % len(self.shards)
        self._in_flight.clear()
        self._late.clear()
        self._retry_at.clear()

    @property
    def remote(self) -> bool:
        """Whether the shards live in other processes."""
        return isinstance(self.shards[0], ray.actor.ActorHandle)

    @property
    def queue_depth(self) -> int:
        """Return how many requests are on their way to shards that answer."""
        return len(self._in_flight)

    @property
    def passed_over(self) -> set[int]:
        """Return the shards that have not answered in time and are waited for."""
        return {request.shard_index for request in self._late}

    def _turn(self) -> int:
        index = self._next
        self._next = (index + 1) % len(self.shards)
        return index

    def next(self, timeout_seconds: float = 10.0) -> Sampled | None:
        """Return the next batch, or None if no shard has enough yet (or it did not come in time)."""
        if not self.remote:
            for _ in self.shards:
                index = self._turn()
                windows = self.shards[index].sample(self.batch_size)
                if windows is not None:
                    return Sampled(windows, index, self.shards[index])
            return None
        started = time.perf_counter()
        try:
            return self._next_remote(started + timeout_seconds)
        finally:
            self.wait_seconds += time.perf_counter() - started

    def _next_remote(self, deadline: float) -> Sampled | None:
        for _ in range(2 * self.prefetch * len(self.shards)):
            self._ask()
            request = self._answered(deadline)
            if request is None:
                return None
            try:
                windows = ray.get(request.reference)
            except ray.exceptions.RayError:
                self.lost_requests += 1
                self._retry_at[request.shard_index] = time.perf_counter() + self.RETRY_SECONDS
                continue
            if windows is not None:
                return Sampled(windows, request.shard_index, request.shard)
        return None

    def _ask(self) -> None:
        """Have `prefetch` requests on their way to shards that answer, and one to each that may be back."""
        now, away = time.perf_counter(), self.passed_over
        for index in [index for index, at in self._retry_at.items() if at <= now]:
            del self._retry_at[index]
            if index not in away:
                self._late.append(self._request(index))
        skip = self.passed_over | self._retry_at.keys()
        usable = len(self.shards) - len(skip)
        while usable and len(self._in_flight) < self.prefetch:
            index = self._turn()
            if index not in skip:
                self._in_flight.append(self._request(index))

    def _request(self, index: int) -> _Request:
        shard = self.shards[index]
        return _Request(index, shard, shard.sample.remote(self.batch_size))

    def _answered(self, deadline: float) -> _Request | None:
        """Return the first request in order that has an answer; pass over shards that have none in time."""
        while True:
            if self._late and (request := self._late_answer(0.0)) is not None:
                return request
            if not self._in_flight:
                return self._late_answer(deadline - time.perf_counter())
            head = self._in_flight[0]
            references = [request.reference for request in (*self._in_flight, *self._late)]
            left = deadline - time.perf_counter()
            answer = _ready(references, min(left, self.patience_seconds) if self._others() else left)
            if answer is not None and answer != head.reference:
                if any(request.reference == answer for request in self._late):
                    continue
                # Another has answered: this one gets its patience, and only then loses its place.
                left = deadline - time.perf_counter()
                answer = _ready([head.reference], min(left, self.patience_seconds))
            if answer is not None:
                return self._in_flight.popleft()
            if left <= self.patience_seconds:
                return None
            self._pass_over(head.shard_index)
            self._ask()

    def _others(self) -> bool:
        """Return whether all requests in flight are to one shard, and there is another that answers."""
        asked = {request.shard_index for request in self._in_flight}
        unusable = self.passed_over | self._retry_at.keys()
        return len(asked) == 1 and len(unusable | asked) < len(self.shards)

    def _pass_over(self, shard_index: int) -> None:
        self._late += [request for request in self._in_flight if request.shard_index == shard_index]
        rest = [request for request in self._in_flight if request.shard_index != shard_index]
        self._in_flight = deque(rest)

    def _late_answer(self, timeout_seconds: float) -> _Request | None:
        """Return a request of a shard that is passed over and has answered after all; wait for one."""
        references = [request.reference for request in self._late]
        if not references:
            time.sleep(max(0.0, min(timeout_seconds, self.RETRY_SECONDS)))
            return None
        answer = _ready(references, timeout_seconds)
        return None if answer is None else self._late.pop(references.index(answer))

    def report(self, sampled: Sampled, priorities: np.ndarray) -> None:
        """Send |TD errors| `[B]` back to the shard that the windows came from."""
        if isinstance(sampled.shard, ray.actor.ActorHandle):
            sampled.shard.update_priorities.remote(sampled.windows.item_ids, priorities)
        else:
            sampled.shard.update_priorities(sampled.windows.item_ids, priorities)


def _ready(references: list[Any], timeout_seconds: float) -> Any:
    """Return the first reference that has its value here; None if none has in time."""
    ready, _ = ray.wait(references, num_returns=1, timeout=max(0.0, timeout_seconds))
    return ready[0] if ready else None
