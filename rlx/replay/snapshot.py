"""Snapshots: a shard's state in a directory, written in the background while the shard goes on.

Small columns and counters are copied at once. Large columns (frames) and sparse ones are cut into chunks of
slots, uncompressed as the shard may keep them or not: a snapshot does not depend on that. A chunk
about to be overwritten before it was written is copied first, so the files hold the state of one moment. Rows
never change once written, so a chunk whose newest row is the same as in an earlier snapshot is linked to it.

A directory holds `state.npz`, `lane*-chunk*.lz4` and, written last, `manifest.json` with size and BLAKE2b
digest of every file and of itself: without it, or with a file that differs, the snapshot is not taken.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np

from rlx.replay.block import Array
from rlx.replay.ring import ColumnRing
from rlx.replay.sparse import SparsePool

FORMAT = 1
MANIFEST = "manifest.json"
STATE = "state.npz"
_CHUNK_BYTES = 4 << 20
_LARGE_ROW_BYTES = 64
#: For the size of chunks only: no fewer rows are expected for each sparse value.
_ROWS_PER_SPARSE_VALUE = 8


class SnapshotError(RuntimeError):
    """A snapshot that cannot be written or read; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Chunk:
    """A file with rows of one lane: slots begin .. begin + count - 1, columns one after another.

    Behind the columns follow the sparse ones: how many values, the slots that they belong to counted from
    `begin` (both int64), the values.
    """

    name: str
    lane: int
    begin: int
    count: int
    newest_row: int
    bytes: int = 0
    digest: str = ""


def large_columns(ring: ColumnRing) -> list[str]:
    """Name the columns that are written chunk by chunk."""
    return sorted(name for name in ring.names if ring.row_nbytes(name) >= _LARGE_ROW_BYTES)


def _plan(ring: ColumnRing, chunk_rows: int) -> list[Chunk]:
    """List the chunks of what is stored, those that will be overwritten first in front."""
    chunks: list[tuple[int, Chunk]] = []
    for lane in range(ring.num_lanes):
        filled, newest = ring.filled(lane), int(ring.next_row[lane]) - 1
        for begin in range(0, filled, chunk_rows):
            count = min(chunk_rows, filled - begin)
            behind = (newest - (begin + count - 1)) % ring.rows_per_lane
            head = newest % ring.rows_per_lane
            last = newest if begin <= head < begin + count else newest - behind
            until_overwritten = (begin - head - 1) % ring.rows_per_lane
            name = f"lane{lane:05d}-chunk{begin // chunk_rows:06d}.lz4"
            chunks.append((until_overwritten, Chunk(name, lane, begin, count, last)))
    return [chunk for _, chunk in sorted(chunks, key=lambda pair: pair[0])]


class SnapshotJob:
    """A snapshot being written by a thread of its own.

    Attributes:
        path: the directory.
        info: after the end: `files`, `bytes`, `linked_files`, `seconds`.
    """

    def __init__(
        self,
        path: Path,
        ring: ColumnRing,
        large: list[str],
        small: dict[str, Array],
        lock: threading.RLock,
        incarnation: str,
        previous: Path | str | None,
        pools: Mapping[str, SparsePool],
    ) -> None:
        """Fix what is to be written; the caller holds `lock`, which also guards every write to the ring."""
        self.path = path
        self.info: dict[str, float] = {}
        self._ring, self._large, self._small, self._lock = ring, large, small, lock
        self._pools = pools
        self._incarnation = incarnation
        self._error: BaseException | None = None
        row_bytes = sum(ring.row_nbytes(name) for name in large)
        row_bytes += sum(pool.value_nbytes for pool in pools.values()) // _ROWS_PER_SPARSE_VALUE
        self._chunk_rows = max(1, min(_CHUNK_BYTES // max(row_bytes, 1), ring.rows_per_lane))
        self._written: list[Chunk] = []
        self._linked = 0
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / MANIFEST).unlink(missing_ok=True)
            plan = _plan(ring, self._chunk_rows) if large or pools else []
            plan = self._link(plan, previous)
        except OSError as error:
            raise SnapshotError(f"{path}: cannot write a snapshot: {error}") from error
        self._pending = {(chunk.lane, chunk.begin // self._chunk_rows): chunk for chunk in plan}
        self._kept: deque[tuple[Chunk, bytes]] = deque()
        self._thread = threading.Thread(target=self._run, name="replay-snapshot", daemon=True)
        self._thread.start()

    def running(self) -> bool:
        """Tell whether the thread still writes."""
        return self._thread.is_alive()

    def done(self) -> bool:
        """Tell whether the snapshot is complete.

        Raises:
            SnapshotError: it failed.
        """
        if self.running():
            return False
        if self._error is not None:
            raise SnapshotError(f"{self.path}: snapshot failed: {self._error}") from self._error
        return True

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the end, and return what `done` then says."""
        self._thread.join(timeout_seconds)
        return self.done()

    def keep(self, lane: int, start: int, stop: int) -> None:
        """Copy chunks whose slots start .. stop - 1 will be overwritten; the caller holds the lock."""
        if not self._pending:
            return
        for index in range(start // self._chunk_rows, (stop - 1) // self._chunk_rows + 1):
            chunk = self._pending.get((lane, index))
            if chunk is not None and start < chunk.begin + chunk.count:
                del self._pending[lane, index]
                self._kept.append((chunk, self._copy(chunk)))

    def _copy(self, chunk: Chunk) -> bytes:
        where = (chunk.lane, chunk.begin, chunk.count)
        parts = [self._ring.read(name, *where).tobytes() for name in self._large]
        for pool in self._pools.values():
            offsets, values = pool.read(*where)
            parts += [np.int64(len(offsets)).tobytes(), offsets.tobytes(), values.tobytes()]
        return b"".join(parts)

    def _next(self) -> tuple[Chunk, bytes] | None:
        with self._lock:
            if self._kept:
                return self._kept.popleft()
            if not self._pending:
                return None
            chunk = self._pending.pop(next(iter(self._pending)))
            return chunk, self._copy(chunk)

    def _link(self, plan: list[Chunk], previous: Path | str | None) -> list[Chunk]:
        """Link chunks that the earlier snapshot already has; return the others."""
        earlier = self._earlier_chunks(previous)
        left = []
        for chunk in plan:
            old = earlier.get(chunk.name)
            same = old is not None and (old.count, old.newest_row) == (chunk.count, chunk.newest_row)
            if old is None or not same or not self._try_link(Path(str(previous)) / old.name, old.bytes):
                left.append(chunk)
            else:
                self._written.append(old)
                self._linked += 1
        return left

    def _earlier_chunks(self, previous: Path | str | None) -> dict[str, Chunk]:
        if previous is None:
            return {}
        try:
            earlier = Snapshot.open(Path(previous))
        except SnapshotError:
            return {}
        same = earlier.incarnation == self._incarnation and earlier.chunk_rows == self._chunk_rows
        return {chunk.name: chunk for chunk in earlier.chunks} if same else {}

    def _try_link(self, source: Path, size: int) -> bool:
        target = self.path / source.name
        try:
            if source.stat().st_size != size:
                return False
            target.unlink(missing_ok=True)
            os.link(source, target)
        except OSError:
            return False
        return True

    def _run(self) -> None:
        began = time.monotonic()
        try:
            state = io.BytesIO()
            np.savez(state, **self._small)  # type: ignore[arg-type]
            state_entry = _write(self.path / STATE, state.getvalue())
            while (task := self._next()) is not None:
                chunk, content = task
                size, digest = _write(self.path / chunk.name, lz4.frame.compress(content))
                self._written.append(Chunk(**(asdict(chunk) | {"bytes": size, "digest": digest})))
            manifest = {
                "format": FORMAT,
                "incarnation": self._incarnation,
                "chunk_rows": self._chunk_rows,
                "columns": {name: self._ring.row_nbytes(name) for name in self._large},
                "sparse": list(self._pools),
                "state": {"bytes": state_entry[0], "digest": state_entry[1]},
                "chunks": [asdict(chunk) for chunk in sorted(self._written, key=lambda chunk: chunk.name)],
            }
            content = json.dumps(manifest | {"digest": _manifest_digest(manifest)}, indent=1).encode()
            _write(self.path / (MANIFEST + ".part"), content)
            os.replace(self.path / (MANIFEST + ".part"), self.path / MANIFEST)
            total = state_entry[0] + sum(chunk.bytes for chunk in self._written)
            self.info = {
                "files": len(self._written) + 2,
                "bytes": total,
                "linked_files": self._linked,
                "seconds": time.monotonic() - began,
            }
        except BaseException as error:
            self._error = error
        finally:
            with self._lock:
                # What was copied or planned is of no more use, and may be large.
                self._pending.clear()
                self._kept.clear()
                self._small.clear()


def _put_sparse(pool: SparsePool, chunk: Chunk, content: bytes, begin: int) -> int:
    """Give a pool its values of a chunk, which stand from byte `begin` on; return where they end."""
    count = int(np.frombuffer(content, np.int64, 1, begin)[0])
    offsets = np.frombuffer(content, np.int64, count, begin + 8)
    begin += 8 * (1 + count)
    raw = np.frombuffer(content, np.uint8, count * pool.value_nbytes, begin)
    pool.put(chunk.lane, chunk.begin, offsets, raw.view(pool.dtype).reshape(count, *pool.shape))
    return begin + raw.nbytes


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=20).hexdigest()


def _manifest_digest(manifest: Mapping[str, Any]) -> str:
    return _digest(json.dumps(manifest, sort_keys=True).encode())


def _write(path: Path, content: bytes) -> tuple[int, str]:
    # A name may be a hard link into an earlier snapshot: writing through it would change that one.
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return len(content), _digest(content)


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot on disk."""

    path: Path
    incarnation: str
    chunk_rows: int
    columns: dict[str, int]
    state: dict[str, Any]
    chunks: list[Chunk]
    sparse: list[str]

    @staticmethod
    def open(path: Path) -> Snapshot:
        """Read and check the manifest.

        Raises:
            SnapshotError: it is missing (the snapshot was not finished) or damaged.
        """
        try:
            manifest = json.loads((path / MANIFEST).read_bytes())
            digest = manifest.pop("digest")
            damaged = digest != _manifest_digest(manifest)
        except FileNotFoundError:
            raise SnapshotError(
                f"{path}: no {MANIFEST}: not a snapshot, or one that was not finished"
            ) from None
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise SnapshotError(f"{path / MANIFEST}: damaged: {error!r}") from error
        if damaged:
            raise SnapshotError(f"{path / MANIFEST}: damaged: its digest differs")
        if manifest["format"] != FORMAT:
            raise SnapshotError(
                f"{path / MANIFEST}: format {manifest['format']}, this version reads {FORMAT}"
            )
        chunks = [Chunk(**chunk) for chunk in manifest["chunks"]]
        names = ("incarnation", "chunk_rows", "columns", "state")
        incarnation, chunk_rows, columns, state = (manifest[name] for name in names)
        # Snapshots from before there were sparse columns have none.
        return Snapshot(path, incarnation, chunk_rows, columns, state, chunks, manifest.get("sparse", []))

    def small_state(self) -> dict[str, Array]:
        """Return the arrays that are not in chunks."""
        content = self._read(STATE, self.state["bytes"], self.state["digest"])
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return dict(stored)

    def fill(self, ring: ColumnRing, pools: Mapping[str, SparsePool]) -> None:
        """Copy the chunks into a ring that has its row counts already, and into empty pools.

        Raises:
            SnapshotError: a chunk is missing or damaged, or rows have no chunk.
        """
        held = sum(chunk.count for chunk in self.chunks)
        if (self.columns or self.sparse) and held != ring.rows():
            raise SnapshotError(f"{self.path}: chunks hold {held} rows of {ring.rows()}")
        for chunk in self.chunks:
            content = lz4.frame.decompress(self._read(chunk.name, chunk.bytes, chunk.digest))
            offset = 0
            for name, row_bytes in self.columns.items():
                dtype, shape = ring.row_spec(name)
                raw = np.frombuffer(content, np.uint8, chunk.count * row_bytes, offset)
                ring.put(name, chunk.lane, chunk.begin, raw.view(dtype).reshape(chunk.count, *shape))
                offset += raw.nbytes
            for name in self.sparse:
                offset = _put_sparse(pools[name], chunk, content, offset)

    def verify(self) -> None:
        """Read every file and compare it with its digest. Raises: SnapshotError."""
        self._read(STATE, self.state["bytes"], self.state["digest"])
        for chunk in self.chunks:
            self._read(chunk.name, chunk.bytes, chunk.digest)

    def _read(self, name: str, size: int, digest: str) -> bytes:
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise SnapshotError(f"{self.path / name}: cannot be read: {error}") from error
        if len(content) != size:
            raise SnapshotError(f"{self.path / name}: {len(content)} bytes, the manifest says {size}")
        if _digest(content) != digest:
            raise SnapshotError(f"{self.path / name}: damaged: its digest differs")
        return content
