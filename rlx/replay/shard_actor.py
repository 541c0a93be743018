"""The replay shard as a Ray actor."""

from __future__ import annotations

import os
from typing import Any

import ray

from rlx.replay.config import ShardConfig
from rlx.replay.shard import ReplayShard
from rlx.replay.snapshot import SnapshotJob


class ReplayShardActor(ReplayShard):
    """A `ReplayShard` whose saves can be asked after from another process."""

    def __init__(self, config: ShardConfig) -> None:
        super().__init__(config)
        self._save_job: SnapshotJob | None = None

    def ping(self) -> bool:
        """Answer."""
        return True

    def process_id(self) -> int:
        """Return the process that this shard lives in; another one means that it was restarted, empty."""
        return os.getpid()

    def begin_save(self, path: str, previous: str | None = None) -> None:
        """Begin a `save`; returns when the state of this moment is fixed."""
        self._save_job = self.save(path, previous)

    def save_done(self) -> bool:
        """Tell whether the last save is complete. Raises: SnapshotError: it failed."""
        if self._save_job is None:
            return True
        return self._save_job.done()

    def save_info(self) -> dict[str, float]:
        """Return `info` of the last save."""
        return {} if self._save_job is None else dict(self._save_job.info)


def create_shard(config: ShardConfig, **options: Any) -> Any:
    """Start a shard actor.

    Args:
        config: its settings.
        options: of `ray.remote` (`num_cpus`, `name`, ...).

    Returns:
        The actor handle.
    """
    return ray.remote(ReplayShardActor).options(**options).remote(config)
