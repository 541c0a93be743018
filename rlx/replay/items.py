"""Items: which rows of the ring are window starts that can be drawn now."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlx.replay.compiled import compiled
from rlx.replay.ring import ColumnRing
from rlx.replay.windows import WindowSpec

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Int32s = NDArray[np.int32]
Flags = NDArray[np.uint8]

ACTED, PENDING, LIVE = 1, 2, 4
"""Bits of a row's flags: its action counts; it will start an item; it starts one that can be drawn."""

_ROW_BITS = 40


def encode_items(lanes: Ints, rows: Ints) -> Ints:
    """Pack ring lane and absolute row of items ``[B]`` into ids ``[B]``."""
    return (lanes << _ROW_BITS) | rows


def decode_items(item_ids: Ints) -> tuple[Ints, Ints]:
    """Return ring lanes and absolute rows ``[B]`` of ids ``[B]``."""
    return item_ids >> _ROW_BITS, item_ids & ((1 << _ROW_BITS) - 1)


@compiled
def _retire(
    lane: int,
    until: int,
    next_row: int,
    back: int,
    episode_row: Int32s,
    flags: Flags,
    oldest: Ints,
    out: Ints,
    count: int,
) -> int:
    """Take away the items of a lane that need a row below `until`; append their leaves to `out`.

    An item needs `back` rows in front of its own (prefix and stack), as far as its episode has them.
    """
    rows_per_lane = flags.shape[1]
    row = oldest[lane]
    while row < next_row:
        slot = row % rows_per_lane
        # Never decreases with the row, so the first item to stay ends the search.
        if row - min(back, episode_row[lane, slot]) >= until:
            break
        if flags[lane, slot] & LIVE:
            out[count] = lane * rows_per_lane + slot
            count += 1
        flags[lane, slot] &= ACTED
        row += 1
    oldest[lane] = row
    return count


@compiled
def _complete(
    lane: int,
    next_row: int,
    ahead: int,
    episode_row: Int32s,
    flags: Flags,
    terminated: Bools,
    pending: Ints,
    out: Ints,
    count: int,
) -> int:
    """Make items of pending rows with `ahead` rows from them on or an ended episode; append them to `out`."""
    rows_per_lane = flags.shape[1]
    row = pending[lane]
    while row < next_row:
        slot = row % rows_per_lane
        if flags[lane, slot] & PENDING:
            start, ended, seam, last = episode_row[lane, slot], False, False, row
            while last + 1 < next_row and last + 1 - row < ahead and not ended:
                last += 1
                after = last % rows_per_lane
                seam = episode_row[lane, after] != start + last - row
                ended = seam or not flags[lane, after] & ACTED
            if not ended and last + 1 - row < ahead:
                break
            flags[lane, slot] &= ACTED
            # A step whose outcome was lost at a seam has nothing to learn from.
            if not (seam and last == row + 1) or terminated[lane, slot]:
                flags[lane, slot] |= LIVE
                out[count, 0] = lane
                out[count, 1] = row
                count += 1
        row += 1
    pending[lane] = row
    return count


@compiled
def _ingest(
    lanes: Ints,
    seams: Bools,
    first: Bools,
    acted: Bools,
    joined_at: Ints,
    next_row: Ints,
    terminated: Bools,
    episode_row: Int32s,
    flags: Flags,
    counters: Ints,
    totals: Ints,
    back: int,
    ahead: int,
    period: int,
    retired: Ints,
    made: Ints,
) -> tuple[int, int]:
    rows_per_lane, steps = flags.shape[1], first.shape[1]
    oldest, pending, position, blind, joined = counters[0], counters[1], counters[2], counters[3], counters[4]
    num_retired, num_made = 0, 0
    for i in range(lanes.shape[0]):
        lane = lanes[i]
        end = next_row[lane]
        begin = end - steps
        num_retired = _retire(
            lane, end - rows_per_lane, begin, back, episode_row, flags, oldest, retired, num_retired
        )
        for t in range(steps):
            slot = (begin + t) % rows_per_lane
            if flags[lane, slot] & ACTED:
                totals[0] -= 1
            if first[i, t] or (t == 0 and seams[i]):
                position[lane] = 0
                # A stream that is joined in the middle of an episode lacks what was in front of it.
                blind[lane] = 0 if first[i, t] else back
                joined[lane] = 0 if first[i, t] else joined_at[i]
            flag = 0
            if acted[i, t]:
                flag = ACTED
                totals[0] += 1
                if blind[lane] == 0 and (joined[lane] + position[lane]) % period == 0:
                    flag |= PENDING
            if blind[lane] > 0:
                blind[lane] -= 1
            flags[lane, slot] = flag
            episode_row[lane, slot] = position[lane]
            position[lane] += 1
        pending[lane] = max(pending[lane], oldest[lane])
        num_made = _complete(lane, end, ahead, episode_row, flags, terminated, pending, made, num_made)
    totals[1] += num_made - num_retired
    return num_retired, num_made


class Ingested(NamedTuple):
    """What rows that came in did to the items."""

    retired: Ints
    """``[R]`` leaves (lane * rows_per_lane + slot) of items that went."""
    lanes: Ints
    """``[K]`` ring lanes of items that came."""
    rows: Ints
    """``[K]`` their absolute first learned rows."""


class ItemIndex:
    """Numbers rows in their episodes and keeps account of the items.

    Works on the ring's columns `_episode_row` (number of the row in its episode, or since the stream was
    joined) and `_flags`.

    Attributes:
        counters: ``[5, lanes]`` int64: the lane's oldest row that may start an item; its first row not yet
            decided; the number of its next row in its episode, or since the stream was joined; how many next
            rows lack prefix or stack; the number in its episode of the row where the stream was joined.
        totals: ``[2]`` int64: env steps stored, items that can be drawn.
    """

    def __init__(self, ring: ColumnRing, spec: WindowSpec, frame_stack: int) -> None:
        self._ring = ring
        self._spec = spec
        self._back = frame_stack - 1 + spec.prefix
        self._ahead = spec.length - spec.prefix
        self.episode_row: Int32s = ring.columns["_episode_row"]
        self.flags: Flags = ring.columns["_flags"]
        self.counters: Ints = np.zeros((5, ring.num_lanes), np.int64)
        self.totals: Ints = np.zeros(2, np.int64)

    @property
    def env_steps(self) -> int:
        """Env steps stored."""
        return int(self.totals[0])

    @property
    def items(self) -> int:
        """Items that can be drawn."""
        return int(self.totals[1])

    def ingest(
        self, lanes: Ints, seams: Bools, first: Bools, acted: Bools, joined_at: Ints | None = None
    ) -> Ingested:
        """Take account of T rows that were just written to lanes ``[N]``.

        Args:
            lanes: ``[N]`` ring lanes.
            seams: ``[N]`` the rows are of another stream than the lane's rows before them.
            first, acted: ``[N, T]`` columns of the rows; T is at most what `max_rows` gives.
            joined_at: ``[N]`` number in its episode of each lane's first row, for seams in mid-episode; None:
                the period of the items is counted from the seam.
        """
        num_lanes, steps = first.shape
        retired = np.empty(num_lanes * (steps + self._back + 1), np.int64)
        made = np.empty((num_lanes * (steps + self._spec.length), 2), np.int64)
        num_retired, num_made = _ingest(
            lanes,
            seams,
            first,
            acted,
            np.zeros(num_lanes, np.int64) if joined_at is None else joined_at,
            self._ring.next_row,
            self._ring.columns["terminated"],
            self.episode_row,
            self.flags,
            self.counters,
            self.totals,
            self._back,
            self._ahead,
            self._spec.period,
            retired,
            made,
        )
        return Ingested(retired[:num_retired], made[:num_made, 0].copy(), made[:num_made, 1].copy())

    def max_rows(self) -> int:
        """Return how many rows may come in at once without overwriting a row that is still undecided."""
        return self._ring.rows_per_lane - self._ahead - self._back

    def live(self, lanes: Ints, rows: Ints) -> Bools:
        """Tell which of the items ``[B]`` can (still) be drawn."""
        known = (lanes >= 0) & (lanes < self._ring.num_lanes)
        lane = np.where(known, lanes, 0)
        known &= (rows >= self.counters[0, lane]) & (rows < self._ring.next_row[lane])
        flags = self.flags[lane, rows % self._ring.rows_per_lane]
        return np.asarray(known & ((flags & LIVE) != 0))

    def live_leaves(self) -> Ints:
        """Return the leaves of all items, ascending."""
        return np.flatnonzero(self.flags.reshape(-1) & LIVE)

    def rows_of(self, leaves: Ints) -> tuple[Ints, Ints]:
        """Return ring lanes and absolute rows of leaves ``[B]`` that hold a row."""
        lanes, slots = np.divmod(leaves, self._ring.rows_per_lane)
        newest = self._ring.next_row[lanes] - 1
        return lanes, newest - (newest - slots) % self._ring.rows_per_lane

    def check_valid(self) -> None:
        """Raise RuntimeError if the counts differ from what the flags say."""
        found = [int(np.count_nonzero(self.flags & bit)) for bit in (ACTED, LIVE)]
        if found != self.totals.tolist():
            raise RuntimeError(f"items: acted and live rows are {found}, counted {self.totals.tolist()}")
        lanes, rows = self.rows_of(self.live_leaves())
        if not self.live(lanes, rows).all():
            raise RuntimeError("items: an item's rows are no longer there")
        if np.any(self.counters[1] > self._ring.next_row) or np.any(self.counters[0] > self.counters[1]):
            raise RuntimeError("items: a lane's cursors are out of order")
