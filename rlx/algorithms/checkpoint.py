"""A checkpoint of the engine that is being written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rlx.algorithms.shard_group import ShardGroup

#: Folder of the engine's own state inside an RLlib checkpoint.
ENGINE_FOLDER = "rlx"


class CheckpointJob:
    """Small states are written; the replay may still be on its way.

    Attributes:
        info: counters at the moment of the checkpoint, for the manifest.
    """

    def __init__(self, shards: ShardGroup, info: dict[str, Any], on_done: Callable[[], None]) -> None:
        self.shards = shards
        self.info = info
        self._on_done = on_done
        self._finished = False

    def done(self) -> bool:
        """Return whether everything is written. Raises what failed."""
        if not self._finished and self.shards.save_done():
            self._finished = True
            self._on_done()
        return self._finished

    def wait(self) -> None:
        """Block until everything is written. Raises what failed."""
        while not self.done():
            time.sleep(0.02)
