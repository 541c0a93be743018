"""Saving and loading the shards of a run, on whichever node, whether or not it sees the run directory."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import ray

from rlx.replay.shard_actor import DONE, UNKNOWN, SaveBegun

logger = logging.getLogger(__name__)

#: Bytes that go through Ray at a time.
CHUNK_BYTES = 8 << 20
#: Seconds without an answer after which a shard is left out of a checkpoint under way.
SILENCE_SECONDS = 60.0
#: Seconds by which the clocks of two nodes may differ.
CLOCKS_APART_SECONDS = 20.0
#: Names the shards that a checkpoint lacks.
MISSING_FILE = "missing.json"


def shard_folder(directory: Path, index: int) -> Path:
    """Return where a shard lies in a checkpoint."""
    return directory / f"shard_{index}"


class ShardSave:
    """One save of all shards: begun at once, written in the background, fetched where need be.

    A shard that dies or does not answer is left out (`missing`); the others are saved.

    Args:
        shards: actor handles.
        directory: folder of the replay in the checkpoint.
        patience_seconds: how long each shard may take to fix its state.

    Attributes:
        missing: indices of the shards that are left out, with why.
    """

    def __init__(self, shards: list[Any], directory: Path, patience_seconds: list[float]) -> None:
        self.shards, self.directory = shards, directory
        self.missing: dict[int, str] = {}
        self._begun: dict[int, SaveBegun] = {}
        self._asked: dict[int, tuple[Any, float]] = {}
        self._fetching: dict[int, threading.Thread] = {}
        self._fetched: dict[int, BaseException | None] = {}
        self._whole: set[int] = set()
        directory.mkdir(parents=True, exist_ok=True)
        token = directory / f".seen-{uuid.uuid4().hex}"
        _write_token(token)
        try:
            self._begin(token.name, patience_seconds)
        finally:
            # A shard that answers later does not find it, and so does not write into this checkpoint.
            token.unlink(missing_ok=True)

    def _begin(self, token: str, patience_seconds: list[float]) -> None:
        asked = {}
        for index, shard in enumerate(self.shards):
            until = time.time() + patience_seconds[index] + CLOCKS_APART_SECONDS
            folder = str(shard_folder(self.directory, index))
            asked[shard.begin_save_near.remote(folder, token, until)] = index
        began, waiting = time.monotonic(), dict(asked)
        while waiting:
            left = began + max(patience_seconds[index] for index in waiting.values()) - time.monotonic()
            ready, _ = ray.wait(list(waiting), timeout=max(0.0, left))
            for reference in ready:
                index = waiting.pop(reference)
                try:
                    begun: SaveBegun = ray.get(reference)
                    if begun.refused:
                        self._leave_out(index, begun.refused)
                    self._begun[index] = begun
                except ray.exceptions.RayActorError:
                    self._leave_out(index, "died")
            if not ready:
                break
        for index in waiting.values():
            self._leave_out(index, "did not answer")

    def _leave_out(self, index: int, why: str) -> None:
        self.missing[index] = why
        shutil.rmtree(shard_folder(self.directory, index), ignore_errors=True)

    def done(self) -> bool:
        """Return whether everything that can be had is written. Raises: SnapshotError: writing failed."""
        for index in self._begun.keys() - self.missing.keys() - self._whole:
            self._advance(index)
        if len(self._whole) + len(self.missing) < len(self.shards):
            return False
        if self.missing and not (self.directory / MISSING_FILE).exists():
            (self.directory / MISSING_FILE).write_text(json.dumps(sorted(self.missing)))
        return True

    def _advance(self, index: int) -> None:
        """Take one step with a shard: ask it, take its answer, fetch its files."""
        if index in self._fetching:
            if not self._fetching[index].is_alive():
                self._end_fetch(index)
            return
        if index not in self._asked:
            reference = self.shards[index].save_state.remote(self._begun[index].key)
            self._asked[index] = (reference, time.monotonic())
        reference, since = self._asked[index]
        # A moment, so that a save that has just ended is seen at the first look.
        if not ray.wait([reference], timeout=0.05)[0]:
            if time.monotonic() - since > SILENCE_SECONDS:
                self._leave_out(index, "did not answer")
            return
        del self._asked[index]
        try:
            state = ray.get(reference)
        except ray.exceptions.RayActorError:
            self._leave_out(index, "died")
            return
        if state == UNKNOWN:
            self._leave_out(index, "died")
        elif state == DONE and not self._begun[index].apart:
            self._whole.add(index)
        elif state == DONE:
            thread = threading.Thread(target=self._fetch, args=(index,), name="rlx-fetch", daemon=True)
            self._fetching[index] = thread
            thread.start()

    def _end_fetch(self, index: int) -> None:
        error = self._fetched.get(index)
        if error is None:
            self._whole.add(index)
        elif isinstance(error, ray.exceptions.RayError):
            # A shard that was started anew has no such files.
            anew = isinstance(getattr(error, "cause", None), FileNotFoundError)
            died = anew or isinstance(error, ray.exceptions.RayActorError)
            self._leave_out(index, "died" if died else "did not answer")
        else:  # e.g. the disk is full
            raise error

    def _fetch(self, index: int) -> None:
        """Copy a shard's files from its node into the checkpoint (thread)."""
        shard, key = self.shards[index], self._begun[index].key
        try:
            folder = shard_folder(self.directory, index)
            folder.mkdir(parents=True, exist_ok=True)
            for name, size in ray.get(shard.saved_files.remote(key), timeout=SILENCE_SECONDS):
                with (folder / name).open("wb") as file:
                    for offset in range(0, size, CHUNK_BYTES):
                        part = shard.read_saved.remote(key, name, offset, CHUNK_BYTES)
                        file.write(ray.get(part, timeout=SILENCE_SECONDS))
            shard.forget_save.remote()
            self._fetched[index] = None
        except BaseException as error:
            self._fetched[index] = error


def _write_token(path: Path) -> None:
    path.touch()


def missing_shards(directory: Path) -> list[int]:
    """Return the shards that a checkpoint was written without."""
    try:
        return [int(index) for index in json.loads((directory / MISSING_FILE).read_text())]
    except FileNotFoundError:
        return []


def load_shards(shards: list[Any], directory: Path) -> dict[int, str]:
    """Give shard actors their contents back.

    Args:
        shards: actor handles.
        directory: what `ShardSave` wrote.

    Returns:
        Shards that stay empty, with why: the checkpoint lacks them, or they died meanwhile.

    Raises:
        ray.exceptions.RayTaskError: from a shard, of a SnapshotError: damaged, or of another layout.
    """
    empty = dict.fromkeys(missing_shards(directory), "the checkpoint was written without it")
    token = directory / f".seen-{uuid.uuid4().hex}"
    _write_token(token)
    try:
        asked = {
            index: shard.load_near.remote(str(shard_folder(directory, index)), token.name)
            for index, shard in enumerate(shards)
            if index not in empty
        }
        for index, reference in asked.items():
            try:
                if not ray.get(reference):
                    _send(shards[index], shard_folder(directory, index))
            except ray.exceptions.RayActorError:
                empty[index] = "it died while it was loaded"
    finally:
        token.unlink(missing_ok=True)
    return empty


def _send(shard: Any, folder: Path) -> None:
    """Copy a snapshot to the shard's node and load it there."""
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            ray.get(shard.receive.remote(path.name, b""))
            while content := file.read(CHUNK_BYTES):
                ray.get(shard.receive.remote(path.name, content))
    ray.get(shard.load_received.remote())
