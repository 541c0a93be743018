"""Storage: one ring of rows per lane, each column an array ``[lanes, rows per lane, ...]`` or compressed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlx.replay.block import Array, ColumnSpec
from rlx.replay.packed import PackedColumn


class ColumnRing:
    """Rows of all lanes, addressed by absolute row numbers (slot = row % rows_per_lane).

    Columns are laid out at once, but memory is taken only as rows come in. Slots without a row hold anything.

    Attributes:
        columns: name -> ``[lanes, rows_per_lane, ...]``, of those that are not packed.
        packed: name -> column kept compressed.
        next_row: ``[lanes]`` int64, rows ever written: the number that the next row gets.
    """

    def __init__(
        self,
        num_lanes: int,
        rows_per_lane: int,
        specs: Mapping[str, ColumnSpec],
        packed: Collection[str] = (),
    ) -> None:
        self.num_lanes = num_lanes
        self.rows_per_lane = rows_per_lane
        self.columns: dict[str, Array] = {
            # For `empty`, unlike `zeros`, numpy asks for huge pages: fewer faults while memory fills.
            name: np.empty((num_lanes, rows_per_lane, *shape), dtype)
            for name, (dtype, shape) in specs.items()
            if name not in packed
        }
        self.next_row: NDArray[np.int64] = np.zeros(num_lanes, np.int64)
        self.packed = {
            name: PackedColumn(num_lanes, rows_per_lane, *specs[name], self.next_row) for name in packed
        }
        #: All columns, in the order given.
        self.names = list(specs)

    def clear(self) -> None:
        """Forget all rows."""
        self.next_row[:] = 0
        for column in self.packed.values():
            column.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of all columns once every slot has been written; of packed ones as they compress now."""
        packed = sum(column.nbytes_when_full for column in self.packed.values())
        return packed + sum(column.nbytes for column in self.columns.values()) + self.next_row.nbytes

    def row_nbytes(self, name: str) -> int:
        """Bytes of one row of a column, before compression."""
        if name in self.packed:
            return self.packed[name].row_nbytes
        column = self.columns[name]
        return column.nbytes // (self.num_lanes * self.rows_per_lane)

    def flat(self, name: str) -> Array:
        """View a column as ``[lanes * rows_per_lane, ...]``: index lane * rows_per_lane + slot."""
        column = self.columns[name]
        return column.reshape(self.num_lanes * self.rows_per_lane, *column.shape[2:])

    def raw_bytes(self, name: str) -> NDArray[np.uint8]:
        """View a column as bytes ``[lanes * rows_per_lane, bytes of a row]``."""
        flat = self.flat(name)
        return flat.reshape(flat.shape[0], -1).view(np.uint8)

    def filled(self, lane: int) -> int:
        """Count the slots of a lane that hold a row: slots 0 .. filled - 1."""
        return min(int(self.next_row[lane]), self.rows_per_lane)

    def rows(self) -> int:
        """Count the rows stored in all lanes."""
        return int(np.minimum(self.next_row, self.rows_per_lane).sum())

    def spans(self, lane: int, count: int) -> list[tuple[int, int]]:
        """Return the slot ranges (start, stop) that the next `count` rows of a lane take, at most two."""
        start = int(self.next_row[lane]) % self.rows_per_lane
        stop = start + count
        if stop <= self.rows_per_lane:
            return [(start, stop)]
        return [(start, self.rows_per_lane), (0, stop - self.rows_per_lane)]

    def write(self, lane: int, values: Mapping[str, Any], count: int) -> None:
        """Append `count` rows to a lane; values are ``[count, ...]`` or one value for all of them."""
        plain = values
        if self.packed:
            for name, store in self.packed.items():
                store.write(lane, values[name])
            plain = {name: column for name, column in values.items() if name not in self.packed}
        taken = 0
        for start, stop in self.spans(lane, count):
            part = slice(taken, taken + stop - start)
            for name, column in plain.items():
                self.columns[name][lane, start:stop] = (
                    column[part] if isinstance(column, np.ndarray) else column
                )
            taken = part.stop
        self.next_row[lane] += count

    def read(self, name: str, lane: int, begin: int, count: int) -> Array:
        """Return rows ``[count, ...]`` of the filled slots begin .. begin + count - 1: a view or a copy."""
        if name in self.packed:
            return self.packed[name].read(lane, begin, count)
        return self.columns[name][lane, begin : begin + count]

    def put(self, name: str, lane: int, begin: int, values: Array) -> None:
        """Fill slots from `begin` on with rows ``[count, ...]``: each slot once, when row counts are set."""
        if name in self.packed:
            self.packed[name].put(lane, begin, values)
        else:
            self.columns[name][lane, begin : begin + len(values)] = values

    def row_spec(self, name: str) -> ColumnSpec:
        """Return dtype and row shape of a column."""
        if name in self.packed:
            return self.packed[name].dtype, self.packed[name].shape
        return self.columns[name].dtype, self.columns[name].shape[2:]

    def get_state(self, names: list[str]) -> dict[str, Array]:
        """Copy the filled slots of columns, lane after lane: name -> ``[rows(), ...]``."""
        filled = [self.filled(lane) for lane in range(self.num_lanes)]
        return {
            name: np.concatenate([self.read(name, lane, 0, count) for lane, count in enumerate(filled)])
            for name in names
        }

    def set_state(self, next_row: NDArray[np.int64], state: Mapping[str, Array]) -> None:
        """Take row counts and the result of `get_state`; columns not named are left as they are.

        Raises:
            ValueError: a column has another shape or dtype.
        """
        if next_row.shape != self.next_row.shape:
            raise ValueError(f"state of {next_row.shape[0]} lanes for a ring of {self.num_lanes}")
        self.next_row[:] = next_row
        for name, values in state.items():
            dtype, shape = self.row_spec(name)
            if values.shape != (self.rows(), *shape) or values.dtype != dtype:
                raise ValueError(f"column {name!r}: {values.dtype} {values.shape} does not fit this ring")
            begin = 0
            for lane in range(self.num_lanes):
                count = self.filled(lane)
                if count:
                    self.put(name, lane, 0, values[begin : begin + count])
                begin += count
