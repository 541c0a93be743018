"""Sparse columns: values that only some rows have, such as the state of a recurrent network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rlx.replay.block import Array, ColumnSpec, SparseRows

__all__ = ["SparseColumns", "SparsePool", "SparseRows"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_NONE = -1


class SparsePool:
    """Values of one sparse column: an array that grows, a list of its free places, a place for every slot.

    Args:
        num_lanes, rows_per_lane: of the ring.
        spec: dtype and shape of one value.
    """

    def __init__(self, num_lanes: int, rows_per_lane: int, spec: ColumnSpec) -> None:
        self.dtype, self.shape = spec
        self._place: NDArray[np.int32] = np.empty((num_lanes, rows_per_lane), np.int32)
        self.clear()

    def clear(self) -> None:
        """Let go of all values."""
        self._place[:] = _NONE
        self._values: Array = np.empty((0, *self.shape), self.dtype)
        self._free: list[int] = []

    @property
    def value_nbytes(self) -> int:
        """Bytes of one value."""
        return int(self.dtype.itemsize * np.prod(self.shape, dtype=np.int64))

    @property
    def size(self) -> int:
        """Values held."""
        return len(self._values) - len(self._free)

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._place.nbytes + self._values.nbytes

    def free(self, lane: int, begin: int, end: int) -> None:
        """Let go of the values of slots begin .. end - 1."""
        places = self._place[lane, begin:end]
        self._free.extend(places[places != _NONE].tolist())
        places[:] = _NONE

    def store(self, lanes: Ints, slots: Ints, values: Array) -> None:
        """Give slots ``[K]``, which have no value and are each named once, values ``[K, *shape]``."""
        count = len(lanes)
        if count == 0:
            return
        lacking = count - len(self._free)
        if lacking > 0:
            held = len(self._values)
            grown = np.empty((max(held + lacking, held + held // 2), *self.shape), self.dtype)
            grown[:held] = self._values
            self._free.extend(range(len(grown) - 1, held - 1, -1))
            self._values = grown
        taken = self._free[-count:]
        del self._free[-count:]
        self._place[lanes, slots] = taken
        self._values[taken] = values

    def gather(self, flat_slots: Ints) -> tuple[Array, Bools]:
        """Return values ``[..., *shape]``, zeros where there is none, and whether there is one ``[...]``."""
        places = self._place.reshape(-1)[flat_slots]
        known = places != _NONE
        values = np.zeros((*places.shape, *self.shape), self.dtype)
        values[known] = self._values[places[known]]
        return values, known

    def read(self, lane: int, begin: int, count: int) -> tuple[Ints, Array]:
        """Return which of `count` slots from `begin` on, counted from 0, have values ``[K]``, and these."""
        places = self._place[lane, begin : begin + count]
        offsets = np.flatnonzero(places != _NONE)
        return offsets, self._values[places[offsets]]

    def put(self, lane: int, begin: int, offsets: Ints, values: Array) -> None:
        """Take the result of `read`."""
        self.store(np.full(len(offsets), lane, np.int64), begin + offsets, values)

    def check_valid(self, filled: list[int]) -> None:
        """Raise RuntimeError if places are lost or used twice, or a slot without a row has a value."""
        places = np.concatenate([self._place[self._place != _NONE], np.array(self._free, np.int32)])
        if not np.array_equal(np.sort(places), np.arange(len(self._values))):
            raise RuntimeError("sparse column: a place of the pool is lost or used twice")
        if any((self._place[lane, count:] != _NONE).any() for lane, count in enumerate(filled)):
            raise RuntimeError("sparse column: a slot without a row has a value")


class SparseColumns:
    """All sparse columns of a shard.

    Attributes:
        pools: name -> pool.
    """

    def __init__(self, num_lanes: int, rows_per_lane: int, specs: Mapping[str, ColumnSpec]) -> None:
        self._rows_per_lane = rows_per_lane
        self.pools = {name: SparsePool(num_lanes, rows_per_lane, spec) for name, spec in specs.items()}

    def clear(self) -> None:
        """Let go of all values."""
        for pool in self.pools.values():
            pool.clear()

    def free(self, lane: int, spans: list[tuple[int, int]]) -> None:
        """Let go of the values of slots that will be overwritten."""
        for pool in self.pools.values():
            for begin, end in spans:
                pool.free(lane, begin, end)

    def store(
        self, sparse: Mapping[str, SparseRows], part: slice, lanes: Ints, begin: Ints, first: Bools
    ) -> None:
        """Take the values of rows `part` of a block that were just written.

        Values of an episode's first row are left out: they are zero by definition.

        Args:
            sparse: the block's.
            part: which of the block's rows.
            lanes: ``[N]`` ring lanes of the block's lanes.
            begin: ``[N]`` absolute number of the part's first row.
            first: ``[N, T]`` column of the whole block.
        """
        for name, rows in sparse.items():
            mine = (rows.rows >= part.start) & (rows.rows < part.stop) & ~first[rows.lanes, rows.rows]
            lane, row = rows.lanes[mine], rows.rows[mine] - part.start
            slots = (begin[lane] + row) % self._rows_per_lane
            self.pools[name].store(lanes[lane], slots, rows.values[mine])

    def gather(
        self,
        slots: Ints,
        in_episode: Bools,
        number: Ints,
        first: Bools,
        prefix: int,
        offsets: tuple[int, ...],
    ) -> tuple[dict[str, Array], dict[str, Bools]]:
        """Look up the values that windows want.

        Args:
            slots, in_episode: ``[B, L]`` of the windows' rows, see `rlx.replay.windows.locate`.
            number: ``[B]`` number of the first learned row in its episode or stream.
            first: ``[lanes * rows_per_lane]`` column of the ring.
            prefix: rows of a window before the first learned one.
            offsets: wanted rows, counted from the first learned one; those in front of the episode mean
                its first row.

        Returns:
            name -> ``[B, len(offsets), *shape]`` values, and name -> ``[B, len(offsets)]`` whether they are
            known. An episode's first row has zeros, known; a row without a value or beyond the episode's
            end zeros, not known.
        """
        wanted = np.maximum(np.array(offsets, np.int64), -number[:, None]) + prefix
        slot = np.take_along_axis(slots, wanted, axis=1)
        inside = np.take_along_axis(in_episode, wanted, axis=1)
        zero = inside & first[slot]
        values, known = {}, {}
        for name, pool in self.pools.items():
            values[name], found = pool.gather(slot)
            found &= inside
            values[name][~found] = 0
            known[name] = found | zero
        return values, known

    def get_state(self, filled: list[int]) -> dict[str, Array]:
        """Return `<name>:rows` ``[K]``, places in all filled slots, lane after lane, and `<name>:values`."""
        state: dict[str, Array] = {}
        bases = np.cumsum([0, *filled])
        for name, pool in self.pools.items():
            read = [pool.read(lane, 0, count) for lane, count in enumerate(filled)]
            rows = [offsets + base for (offsets, _), base in zip(read, bases[:-1], strict=True)]
            state[f"{name}:rows"] = np.concatenate(rows)
            state[f"{name}:values"] = np.concatenate([values for _, values in read])
        return state

    def set_state(self, filled: list[int], state: Mapping[str, Array]) -> None:
        """Take the result of `get_state`; a column that it lacks is left as it is.

        Raises:
            ValueError: values have another shape or dtype, or are not as many as their rows.
        """
        bases = np.cumsum([0, *filled])
        for name, pool in self.pools.items():
            if f"{name}:rows" not in state:
                continue
            rows, values = state[f"{name}:rows"], state[f"{name}:values"]
            if values.shape != (len(rows), *pool.shape) or values.dtype != pool.dtype:
                raise ValueError(f"sparse column {name!r}: {values.dtype} {values.shape} does not fit")
            lanes = np.searchsorted(bases, rows, side="right") - 1
            pool.store(lanes, rows - bases[lanes], values)

    def nbytes_when_full(self, rows: int, capacity: int) -> int:
        """Bytes held now; while fewer than `capacity` rows are stored, as many values as the rest will have
        in proportion are added.
        """
        share = max(0.0, capacity / rows - 1.0) if rows else 0.0
        return sum(pool.nbytes + int(share * pool.size * pool.value_nbytes) for pool in self.pools.values())

    def check_valid(self, filled: list[int]) -> None:
        """Raise RuntimeError if a pool contradicts itself."""
        for pool in self.pools.values():
            pool.check_valid(filled)
