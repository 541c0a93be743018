"""Columns that are kept compressed, chunk by chunk."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import lz4.block
import numpy as np
from numpy.typing import NDArray

from rlx.replay.block import Array

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

#: Rows compressed together. Measured on Pong and Breakout, 84x84: with 8 a row takes a tenth more bytes, with
#: 32 windows of 7 rows take half as long again to read; windows of 128 rows take as long with 8 as with 64.
CHUNK_ROWS = 16


class PackedColumn:
    """One column of the rows of all lanes, in chunks of rows that are compressed as soon as they are full.

    A chunk holds the rows j C .. (j + 1) C - 1 of its lane, whatever their slots: each is written once and
    goes as a whole, so a lane keeps up to a chunk of rows that its ring has already lost. The chunk that
    is still filling is kept as it is.

    Args:
        num_lanes, rows_per_lane: of the ring.
        dtype, shape: of one row's value.
        next_row: ``[lanes]`` rows ever written, kept by the ring: it moves on after `write`.
        chunk_rows: C; None: `CHUNK_ROWS`.
    """

    def __init__(
        self,
        num_lanes: int,
        rows_per_lane: int,
        dtype: np.dtype[np.generic],
        shape: tuple[int, ...],
        next_row: Ints,
        chunk_rows: int | None = None,
    ) -> None:
        self.dtype, self.shape = dtype, shape
        self.row_nbytes = int(dtype.itemsize * np.prod(shape, dtype=np.int64))
        chunk_rows = chunk_rows or CHUNK_ROWS
        self._rows_per_lane, self._chunk_rows = rows_per_lane, chunk_rows
        self._next_row = next_row
        self._tail: Bytes = np.zeros((num_lanes, chunk_rows, self.row_nbytes), np.uint8)
        self._places = -(-rows_per_lane // chunk_rows)
        self.clear()

    def clear(self) -> None:
        """Let go of all rows."""
        self._chunks: list[list[bytes | None]] = [[None] * self._places for _ in range(len(self._tail))]
        self._count = self._nbytes = 0
        # Chunks that `put` has begun: content, and rows that it lacks.
        self._partial: dict[tuple[int, int], tuple[Bytes, int]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        lists = sum(sys.getsizeof(chunks) for chunks in self._chunks)
        return self._tail.nbytes + lists + self._nbytes

    @property
    def nbytes_when_full(self) -> int:
        """Bytes held now, the chunks' share multiplied up to what full rings will hold at their mean size.

        Without any chunk to judge by, the bytes of the rows as they come.
        """
        rows = len(self._chunks) * self._rows_per_lane
        if self._count == 0:
            return self.nbytes + rows * self.row_nbytes
        share = max(1.0, rows / (self._count * self._chunk_rows))
        return self.nbytes + int((share - 1.0) * self._nbytes)

    def write(self, lane: int, values: Array) -> None:
        """Append rows ``[count, *shape]`` to a lane."""
        raw, row = self._raw(values), int(self._next_row[lane])
        for number, begin, end in self._parts(row, row + len(raw)):
            base = number * self._chunk_rows
            self._tail[lane, begin - base : end - base] = raw[begin - row : end - row]
            if end - base == self._chunk_rows:
                self._keep(lane, number, self._tail[lane])

    def _raw(self, values: Array) -> Bytes:
        return np.ascontiguousarray(values, self.dtype).reshape(len(values), -1).view(np.uint8)

    def _parts(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Cut rows begin .. end - 1 at the edges of chunks: (chunk, first row, row after the last)."""
        while begin < end:
            number = begin // self._chunk_rows
            stop = min(end, (number + 1) * self._chunk_rows)
            yield number, begin, stop
            begin = stop

    def _keep(self, lane: int, number: int, content: Bytes) -> None:
        chunks, place = self._chunks[lane], number % self._places
        old, new = chunks[place], lz4.block.compress(content, store_size=False)
        chunks[place] = new
        self._nbytes += sys.getsizeof(new) - (0 if old is None else sys.getsizeof(old))
        self._count += old is None

    def read_rows(self, lane: int, begin: int, out: Bytes) -> None:
        """Copy the rows from the absolute number `begin` on into ``[count, bytes of a row]``.

        The rows must be in the ring. Each chunk that they lie in is decompressed once.
        """
        newest = int(self._next_row[lane]) // self._chunk_rows
        for number, first, stop in self._parts(begin, begin + len(out)):
            base = number * self._chunk_rows
            content = self._tail[lane] if number == newest else self._unpacked(lane, number)
            out[first - begin : stop - begin] = content[first - base : stop - base]

    def _unpacked(self, lane: int, number: int) -> Bytes:
        # There is no decompressing into an array of ours; the allocator hands out the same memory each time.
        content = lz4.block.decompress(
            self._chunks[lane][number % self._places], uncompressed_size=self._tail[lane].size
        )
        return np.frombuffer(content, np.uint8).reshape(self._tail.shape[1:])

    def gather(
        self,
        lanes: Ints,
        rows: Ints,
        in_episode: NDArray[np.bool_],
        episode_row: NDArray[np.int32],
        out: Bytes,
        prefix: int,
    ) -> None:
        """Copy the frames of windows, as `rlx.replay.windows.gather_frames` does from a raw column.

        Args:
            lanes, rows, in_episode, episode_row, prefix: as in `rlx.replay.windows.locate`.
            out: ``[B, S-1+L, F]`` bytes; zeros are written for what is not of the episode.
        """
        learned_from = out.shape[1] - in_episode.shape[1] + prefix
        number = episode_row[lanes, rows % self._rows_per_lane]
        # The rows of a window that are of its episode follow each other without a gap.
        first = learned_from - np.minimum(learned_from, number)
        stop = learned_from + in_episode[:, prefix:].sum(axis=1)
        table = zip(lanes.tolist(), rows.tolist(), first.tolist(), stop.tolist(), strict=True)
        for b, (lane, row, begin, end) in enumerate(table):
            target = out[b]
            target[:begin] = 0
            target[end:] = 0
            self.read_rows(lane, row - learned_from + begin, target[begin:end])

    def _runs(self, lane: int, begin: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Cut slots begin .. begin + count - 1 where the newest row lies: (place in them, row, count)."""
        newest = int(self._next_row[lane]) - 1
        head = newest % self._rows_per_lane
        lap = newest - head
        cut = min(max(head + 1 - begin, 0), count)
        if cut > 0:
            yield 0, lap + begin, cut
        if cut < count:
            yield cut, lap - self._rows_per_lane + begin + cut, count - cut

    def read(self, lane: int, begin: int, count: int) -> Array:
        """Return the values ``[count, *shape]`` of the filled slots begin .. begin + count - 1."""
        raw = np.empty((count, self.row_nbytes), np.uint8)
        for place, row, length in self._runs(lane, begin, count):
            self.read_rows(lane, row, raw[place : place + length])
        return raw.view(self.dtype).reshape(count, *self.shape)

    def put(self, lane: int, begin: int, values: Array) -> None:
        """Fill slots of a cleared column, whose ring has its row counts already, from slot `begin` on.

        Every filled slot must be put once, in any order; chunks are compressed as soon as they are whole.
        """
        raw = self._raw(values)
        for place, row, length in self._runs(lane, begin, len(raw)):
            for number, first, stop in self._parts(row, row + length):
                part = raw[place + first - row : place + stop - row]
                self._put_part(lane, number, first - number * self._chunk_rows, part)

    def _put_part(self, lane: int, number: int, offset: int, part: Bytes) -> None:
        end = int(self._next_row[lane])
        if number == end // self._chunk_rows:
            self._tail[lane, offset : offset + len(part)] = part
            return
        content, missing = self._partial.pop((lane, number), (None, 0))
        if content is None:
            lost = max(0, end - self._rows_per_lane - number * self._chunk_rows)
            content, missing = np.zeros(self._tail.shape[1:], np.uint8), self._chunk_rows - lost
        content[offset : offset + len(part)] = part
        if missing == len(part):
            self._keep(lane, number, content)
        else:
            self._partial[lane, number] = content, missing - len(part)

    def check_valid(self) -> None:
        """Raise RuntimeError if a stored row has no chunk or the account of bytes is wrong."""
        held = [chunk for chunks in self._chunks for chunk in chunks if chunk is not None]
        if (len(held), sum(map(sys.getsizeof, held))) != (self._count, self._nbytes) or self._partial:
            raise RuntimeError("packed column: its chunks are not those that were counted")
        for lane, chunks in enumerate(self._chunks):
            end = int(self._next_row[lane])
            numbers = range(max(0, end - self._rows_per_lane) // self._chunk_rows, end // self._chunk_rows)
            if any(chunks[number % self._places] is None for number in numbers):
                raise RuntimeError(f"packed column: lane {lane} lacks a chunk of stored rows")
