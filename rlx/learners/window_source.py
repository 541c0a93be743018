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
    """Windows and the shard that they came from (index, and the incarnation of it)."""

    windows: Windows
    shard_index: int
    shard: Any


class WindowSource:
    """Draw batches from shards in turn, keeping `prefetch` requests on their way.

    A shard is a `ReplayShard` in this process or the handle of one in another. With several learners,
    learner k starts at shard k, so that they do not all ask the same one.

    Args:
        shards: shard objects or actor handles.
        batch_size: windows per batch.
        prefetch: requests kept in flight to remote shards.
        offset: index of the first shard to ask.
    """

    def __init__(self, shards: list[Any], batch_size: int, prefetch: int = 2, offset: int = 0) -> None:
        self.batch_size = batch_size
        self.prefetch = max(1, prefetch)
        self.wait_seconds = 0.0
        self.lost_requests = 0
        self._offset = offset
        self._in_flight: deque[tuple[int, Any, Any]] = deque()
        self.set_shards(shards)

    def set_shards(self, shards: list[Any]) -> None:
        """Use these shards from now on (one may have been replaced)."""
        self.shards = list(shards)
        self._next = self._offset % len(self.shards)
        self._in_flight.clear()

    @property
    def remote(self) -> bool:
        """Whether the shards live in other processes."""
        return isinstance(self.shards[0], ray.actor.ActorHandle)

    @property
    def queue_depth(self) -> int:
        """Return how many requests are on their way."""
        return len(self._in_flight)

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
            return self._next_remote(timeout_seconds)
        finally:
            self.wait_seconds += time.perf_counter() - started

    def _next_remote(self, timeout_seconds: float) -> Sampled | None:
        for _ in range(2 * self.prefetch * len(self.shards)):
            while len(self._in_flight) < self.prefetch:
                index = self._turn()
                shard = self.shards[index]
                self._in_flight.append((index, shard, shard.sample.remote(self.batch_size)))
            index, shard, reference = self._in_flight[0]
            try:
                windows = ray.get(reference, timeout=timeout_seconds)
            except ray.exceptions.GetTimeoutError:
                return None
            except ray.exceptions.RayError:
                self._in_flight.popleft()
                self.lost_requests += 1
                continue
            self._in_flight.popleft()
            if windows is not None:
                return Sampled(windows, index, shard)
        return None

    def report(self, sampled: Sampled, priorities: np.ndarray) -> None:
        """Send |TD errors| `[B]` back to the shard that the windows came from."""
        if isinstance(sampled.shard, ray.actor.ActorHandle):
            sampled.shard.update_priorities.remote(sampled.windows.item_ids, priorities)
        else:
            sampled.shard.update_priorities(sampled.windows.item_ids, priorities)
