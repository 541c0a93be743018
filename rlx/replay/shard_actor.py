"""The replay shard as a Ray actor."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import ray

from rlx.replay.config import ShardConfig
from rlx.replay.shard import ReplayShard
from rlx.replay.snapshot import SnapshotJob

#: Seconds that a new save waits for the end of an earlier one.
_EARLIER_SAVE_SECONDS = 3.0
#: How folders are named that only a shard's node sees.
APART_PREFIX = "rlx-shard-"
#: States of a save.
RUNNING, DONE, UNKNOWN = "running", "done", "unknown"


class ShardStatus(NamedTuple):
    """Where a shard lives and what it holds.

    Attributes:
        incarnation: another one means that it was started anew, empty.
        process, node: where.
        stats: `ReplayShard.stats`.
    """

    incarnation: str
    process: int
    node: str
    stats: dict[str, int]


class SaveBegun(NamedTuple):
    """A save whose state is fixed.

    Attributes:
        key: to ask after it.
        apart: the files are in a folder that only the shard's node sees, and must be fetched.
        refused: why nothing was begun; empty if it was.
    """

    key: str
    apart: bool
    refused: str = ""


def session_folder() -> str | None:
    """Return Ray's folder on this node, so that what a killed shard leaves goes with it; None without Ray."""
    node = ray._private.worker._global_node
    return None if node is None else str(node.get_session_dir_path())


def _folder_apart() -> Path:
    return Path(tempfile.mkdtemp(prefix=APART_PREFIX, dir=session_folder()))


class ReplayShardActor(ReplayShard):
    """A `ReplayShard` whose saves can be asked after, and fetched, from another process."""

    def __init__(self, config: ShardConfig) -> None:
        super().__init__(config)
        self._save_job: SnapshotJob | None = None
        self._save_key = ""
        self._apart: Path | None = None
        self._life = uuid.uuid4().hex

    def ping(self) -> bool:
        """Answer."""
        return True

    def process_id(self) -> int:
        """Return the process that this shard lives in."""
        return os.getpid()

    def status(self) -> ShardStatus:
        """Return where this shard lives and what it holds."""
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
        return ShardStatus(self._life, os.getpid(), node, self.stats())

    # Saving

    def begin_save(self, path: str, previous: str | None = None) -> None:
        """Begin a `save`; returns when the state of this moment is fixed."""
        self._save_job = self.save(path, previous)

    def begin_save_near(self, path: str, token: str, until: float) -> SaveBegun:
        """Begin a `save` into `path` if this node sees that folder, else into one of its own.

        A folder that is there without the token is one that the driver no longer waits at.

        Args:
            path: where the driver wants it.
            token: name of a file that the driver has put beside `path`.
            until: `time.time()` after which nobody waits for this save any more.
        """
        if time.time() > until:
            return SaveBegun("", False, "answered too late")
        folder = Path(path).parent
        apart = not (folder / token).exists()
        if apart and folder.exists():
            return SaveBegun("", False, "answered too late")
        if self._save_job is not None and self._save_job.running():
            # One that nobody waited for; a small shard ends it soon.
            self._save_job.wait(_EARLIER_SAVE_SECONDS)
            if self._save_job.running():
                return SaveBegun("", False, "still wrote an earlier one")
        self.forget_save()
        if apart:
            self._apart = _folder_apart()
        self.begin_save(str(self._apart) if apart else path)
        self._save_key = uuid.uuid4().hex
        return SaveBegun(self._save_key, apart)

    def save_done(self) -> bool:
        """Tell whether the last save is complete. Raises: SnapshotError: it failed."""
        if self._save_job is None:
            return True
        return self._save_job.done()

    def save_state(self, key: str) -> str:
        """Return the state of a save that `begin_save_near` began: `running`, `done` or `unknown`.

        Unknown means that this shard was started anew since. Raises: SnapshotError: it failed.
        """
        if key != self._save_key:
            return UNKNOWN
        return DONE if self.save_done() else RUNNING

    def save_info(self) -> dict[str, float]:
        """Return `info` of the last save."""
        return {} if self._save_job is None else dict(self._save_job.info)

    def saved_files(self, key: str) -> list[tuple[str, int]]:
        """Return name and bytes of each file of a save in a folder apart."""
        folder = self._saved_apart(key)
        return sorted((path.name, path.stat().st_size) for path in folder.iterdir())

    def read_saved(self, key: str, name: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of a file of a save in a folder apart."""
        with (self._saved_apart(key) / name).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def _saved_apart(self, key: str) -> Path:
        if key != self._save_key or self._apart is None:
            raise FileNotFoundError(f"save {key}: this shard was started anew since, or has deleted it")
        return self._apart

    def forget_save(self) -> None:
        """Delete the folder apart, if there is one that is not being written to."""
        if self._apart is not None and (self._save_job is None or not self._save_job.running()):
            shutil.rmtree(self._apart, ignore_errors=True)
            self._apart = None

    # Loading

    def load_near(self, path: str, token: str) -> bool:
        """`load` from `path` if this node sees that folder; return whether it does."""
        if not (Path(path).parent / token).exists():
            return False
        self.load(path)
        return True

    def receive(self, name: str, content: bytes) -> None:
        """Append to a file of a snapshot that is being sent to this node."""
        if self._apart is None:
            self._apart = _folder_apart()
        with (self._apart / Path(name).name).open("ab") as file:
            file.write(content)

    def load_received(self) -> None:
        """`load` what was received, and delete the files."""
        assert self._apart is not None, "receive() first"
        try:
            self.load(self._apart)
        finally:
            shutil.rmtree(self._apart, ignore_errors=True)
            self._apart = None


def create_shard(config: ShardConfig, **options: Any) -> Any:
    """Start a shard actor.

    Args:
        config: its settings.
        options: of `ray.remote` (`num_cpus`, `name`, ...).

    Returns:
        The actor handle.
    """
    return ray.remote(ReplayShardActor).options(**options).remote(config)
