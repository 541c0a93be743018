"""A checkpoint of the engine that is being written."""

from __future__ import annotations

import time
from typing import Any

from rlx.algorithms.shard_group import ShardGroup

#: Folder of the engine's own state inside an RLlib checkpoint.
ENGINE_FOLDER = "rlx"


class CheckpointJob:
    """Small states are written; the replay may still be on its way.

    Attributes:
        info: counters at the moment of the checkpoint, for the manifest; when it is done also
            `missing_shards`, the indices of those that were away.
    """

    def __init__(self, shards: ShardGroup, info: dict[str, Any]) -> None:
        self.shards = shards
        self.info = info

    def done(self) -> bool:
        """Return whether everything is written. Raises what failed."""
        if not self.shards.save_done():
            return False
        self.info["missing_shards"] = sorted(self.shards.missing)
        return True

    def wait(self) -> None:
        """Block until everything is written. Raises what failed."""
        while not self.done():
            time.sleep(0.02)
