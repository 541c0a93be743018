"""Blocks: what a runner hands to a shard, as columns ``[N lanes, T rows, ...]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
ColumnSpec = tuple[np.dtype[Any], tuple[int, ...]]

#: Columns that every row has besides its frame: dtype (all are scalars).
ROW_COLUMNS: dict[str, np.dtype[Any]] = {
    "action": np.dtype(np.int32),
    "reward": np.dtype(np.float32),
    "terminated": np.dtype(np.bool_),
    "truncated": np.dtype(np.bool_),
    "first": np.dtype(np.bool_),
    "acted": np.dtype(np.bool_),
    "q_taken": np.dtype(np.float32),
    "q_max": np.dtype(np.float32),
}


class BlockError(ValueError):
    """A block that a shard cannot take; the message names the column or lane."""


def column_specs(
    frame_shape: tuple[int, ...],
    frame_dtype: DTypeLike,
    extra_columns: Mapping[str, tuple[Any, tuple[int, ...]]],
) -> dict[str, ColumnSpec]:
    """Return dtype and row shape of all columns: the frame, the fixed ones, a plugin's.

    Raises:
        ValueError: an extra column takes the name of a fixed one.
    """
    specs: dict[str, ColumnSpec] = {"frame": (np.dtype(frame_dtype), tuple(frame_shape))}
    specs.update({name: (dtype, ()) for name, dtype in ROW_COLUMNS.items()})
    for name, (dtype, shape) in extra_columns.items():
        if name in specs:
            raise ValueError(f"extra column {name!r} has the name of a fixed column")
        specs[name] = (np.dtype(dtype), tuple(shape))
    return specs


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Values of K of a block's rows, each row named once.

    Attributes:
        lanes: ``[K]`` int64, lanes of the block, 0 .. N - 1 (not lane ids).
        rows: ``[K]`` int64, rows of the block, 0 .. T - 1.
        values: ``[K, ...]``.
    """

    lanes: NDArray[np.int64]
    rows: NDArray[np.int64]
    values: Array


@dataclass(frozen=True, eq=False)
class Block:
    """T rows of N lanes.

    Attributes:
        columns: name -> ``[N, T, ...]``; the names and dtypes of `column_specs`.
        lane_ids: ``[N]`` int64, global lane numbers, each once.
        stream_ids: ``[N]`` int64; a value that differs from the lane's last one is a seam.
        version: learner updates behind the acting weights.
        start_rows: ``[N]`` int64, rows of the stream that the runner sent before this block; a shard that did
            not get them all takes the block as a seam. None: the shard has to trust that none was lost.
        sparse: name -> values of some rows, for the shard's sparse columns. What stands at an episode's first
            row is not kept: it is zero by definition.
        episode_rows: ``[N]`` int64, number of each lane's first row in its episode. None: where a stream is
            joined in the middle of an episode, items are counted from there.
    """

    columns: Mapping[str, Array]
    lane_ids: NDArray[np.int64]
    stream_ids: NDArray[np.int64]
    version: int
    start_rows: NDArray[np.int64] | None = None
    sparse: Mapping[str, SparseRows] | None = None
    episode_rows: NDArray[np.int64] | None = None

    @property
    def num_lanes(self) -> int:
        """N."""
        return int(self.lane_ids.shape[0])

    @property
    def num_rows(self) -> int:
        """T."""
        return int(self.columns["acted"].shape[1])

    @property
    def env_steps(self) -> int:
        """Count rows whose action was carried out."""
        return int(np.count_nonzero(self.columns["acted"]))

    @property
    def nbytes(self) -> int:
        """Sum the columns' bytes."""
        sparse = sum(
            rows.lanes.nbytes + rows.rows.nbytes + rows.values.nbytes for rows in (self.sparse or {}).values()
        )
        return sparse + sum(column.nbytes for column in self.columns.values())

    def validate(
        self, specs: Mapping[str, ColumnSpec], sparse_specs: Mapping[str, ColumnSpec] | None = None
    ) -> None:
        """Check names, shapes, dtypes and the order of rows against what a shard stores.

        Args:
            specs: of the columns that the block must have.
            sparse_specs: of the sparse columns that it may have.

        Raises:
            BlockError: what differs, and where.
        """
        self._check_lanes()
        self._check_columns(specs)
        for name in ("reward", "q_taken", "q_max"):
            if not np.isfinite(self.columns[name]).all():
                raise BlockError(f"column {name!r} holds a value that is not finite")
        first, acted = self.columns["first"], self.columns["acted"]
        if np.any(first & ~acted):
            raise BlockError(
                f"{_where(first & ~acted)}: a final row (acted=False) cannot be first of an episode"
            )
        unopened = ~acted[:, :-1] & ~first[:, 1:]
        if np.any(unopened):
            raise BlockError(f"{_where(unopened)}: the row after a final row must be first of an episode")
        if self.episode_rows is not None:
            wrong = (self.episode_rows < 0) | ((self.episode_rows == 0) != first[:, 0])
            if np.any(wrong):
                raise BlockError(
                    f"episode_rows: {_where(wrong[:, None])} is number "
                    f"{self.episode_rows[wrong][0]}: must be 0 where it is first of an episode, else above"
                )
        for name, rows in (self.sparse or {}).items():
            self._check_sparse(name, rows, sparse_specs or {})

    def _check_lanes(self) -> None:
        numbers = {"lane_ids": self.lane_ids, "stream_ids": self.stream_ids}
        if self.start_rows is not None:
            numbers["start_rows"] = self.start_rows
        if self.episode_rows is not None:
            numbers["episode_rows"] = self.episode_rows
        for name, ids in numbers.items():
            if ids.ndim != 1 or ids.dtype != np.int64 or ids.shape != self.lane_ids.shape:
                raise BlockError(f"{name}: {ids.dtype} {ids.shape}, expected int64 [N] for every lane")
        if self.num_lanes == 0:
            raise BlockError("lane_ids: a block has at least one lane")
        if np.unique(self.lane_ids).size != self.num_lanes:
            raise BlockError(f"lane_ids: a lane is named twice: {self.lane_ids.tolist()}")

    def _check_columns(self, specs: Mapping[str, ColumnSpec]) -> None:
        missing, unknown = specs.keys() - self.columns.keys(), self.columns.keys() - specs.keys()
        if missing or unknown:
            raise BlockError(f"columns: missing {sorted(missing)}, unknown {sorted(unknown)}")
        if self.columns["acted"].ndim != 2 or self.columns["acted"].shape[1] == 0:
            raise BlockError(
                f"column 'acted': shape {self.columns['acted'].shape}, expected [N, T] with T >= 1"
            )
        lead = (self.num_lanes, self.num_rows)
        for name, (dtype, shape) in specs.items():
            column = self.columns[name]
            if column.shape != lead + shape or column.dtype != dtype:
                expected = f"{dtype} {lead + shape}"
                raise BlockError(f"column {name!r}: {column.dtype} {column.shape}, expected {expected}")

    def _check_sparse(self, name: str, sparse: SparseRows, specs: Mapping[str, ColumnSpec]) -> None:
        if name not in specs:
            raise BlockError(f"sparse column {name!r}: unknown, the shard keeps {sorted(specs)}")
        dtype, shape = specs[name]
        count = len(sparse.values)
        if sparse.values.shape != (count, *shape) or sparse.values.dtype != dtype:
            expected = f"{dtype} {('K', *shape)}"
            raise BlockError(
                f"sparse column {name!r}: {sparse.values.dtype} {sparse.values.shape}, expected {expected}"
            )
        for axis, index, size in (
            ("lanes", sparse.lanes, self.num_lanes),
            ("rows", sparse.rows, self.num_rows),
        ):
            if index.shape != (count,) or index.dtype != np.int64:
                raise BlockError(
                    f"sparse column {name!r}: {axis} are {index.dtype} {index.shape}, "
                    f"expected int64 {(count,)}"
                )
            if count and not 0 <= index.min() <= index.max() < size:
                raise BlockError(f"sparse column {name!r}: {axis} must be in 0..{size - 1}")
        if np.unique(sparse.lanes * self.num_rows + sparse.rows).size != count:
            raise BlockError(f"sparse column {name!r}: a row is named twice")


def _where(flags: Array) -> str:
    lane, row = np.argwhere(flags)[0]
    return f"lane {lane} of the block, row {row}"
