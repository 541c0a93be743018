"""The replay shard: takes blocks in, gives windows out, keeps priorities."""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlx.replay import snapshot
from rlx.replay.block import Array, Block, BlockError
from rlx.replay.config import ShardConfig
from rlx.replay.items import ItemIndex, decode_items, encode_items
from rlx.replay.ring import ColumnRing
from rlx.replay.snapshot import SnapshotError, SnapshotJob
from rlx.replay.sparse import SparseColumns
from rlx.replay.sum_tree import SumTree
from rlx.replay.windows import Windows, WindowSpec, absolute_td, gather_frames, locate

__all__ = ["AddReport", "ReplayShard", "ShardConfig", "WindowSpec"]

Ints = NDArray[np.int64]

#: Columns the shard keeps for itself: number of the row in its episode, flags of `items.py`, weights version
#: that acted, env steps taken in before the row.
_OWN_COLUMNS: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
    "_episode_row": (np.dtype(np.int32), ()),
    "_flags": (np.dtype(np.uint8), ()),
    "_version": (np.dtype(np.int64), ()),
    "_inserted": (np.dtype(np.int64), ()),
}
_TD_COLUMNS = ("reward", "terminated", "acted", "q_taken", "q_max")


class AddReport(NamedTuple):
    """What a block did: rows and env steps taken in, items that came, items that were overwritten."""

    rows: int
    env_steps: int
    items: int
    dropped: int


class ReplayShard:
    """Replay of the lanes of some runners.

    `add`, `sample`, `update_priorities`, `stats` and `save` may be called from several threads.

    Args:
        config: see `ShardConfig`.

    Source: [ApeX] section 3 (shared prioritised replay); docs/design/0001-contracts.md for rows and items.
    """

    def __init__(self, config: ShardConfig) -> None:
        self.config = config
        self._specs = config.columns()
        self._window_columns = [name for name in self._specs if name not in ("frame", "first")]
        self._lock = threading.RLock()
        packed = () if config.compression == "none" else ("frame",)
        specs = {**self._specs, **_OWN_COLUMNS}
        self._ring = ColumnRing(config.num_lanes, config.rows_per_lane, specs, packed)
        self._sparse_specs = config.sparse()
        self._sparse = SparseColumns(config.num_lanes, config.rows_per_lane, self._sparse_specs)
        self._job: SnapshotJob | None = None
        self._reset()

    def _reset(self) -> None:
        """Begin empty."""
        self._ring.clear()
        self._sparse.clear()
        self._ring.columns["_flags"][:] = 0
        self._items = ItemIndex(self._ring, self.config.window, self.config.frame_stack)
        self._tree = SumTree(self.config.num_lanes * self.config.rows_per_lane)
        self._rng = np.random.default_rng(self.config.seed)
        self._lane_ids: Ints = np.full(self.config.num_lanes, -1, np.int64)
        self._stream_ids: Ints = np.zeros(self.config.num_lanes, np.int64)
        self._stream_rows: Ints = np.zeros(self.config.num_lanes, np.int64)
        self._lane_of: dict[int, int] = {}
        self._inserted = self._sampled = self._dropped_updates = 0
        self._max_priority = 1.0
        # Snapshots may share chunks only within the life of one series of rows.
        self._incarnation = uuid.uuid4().hex

    # Taking in

    def add(self, block: Block) -> AddReport:
        """Append a block's rows to its lanes; a lane is given a ring when it is first seen.

        Raises:
            BlockError: the block does not fit; nothing of it was taken.
        """
        block.validate(self._specs, self._sparse_specs)
        with self._lock:
            lanes, seams = self._match_lanes(block)
            self._check_continues(block, lanes, seams)
            self._name_lanes(block, lanes, seams)
            step, come, gone = self._items.max_rows(), 0, 0
            for begin in range(0, block.num_rows, step):
                part = slice(begin, min(begin + step, block.num_rows))
                made, retired = self._add_rows(
                    block, part, lanes, seams if begin == 0 else np.zeros_like(seams)
                )
                come, gone = come + made, gone + retired
            return AddReport(block.num_lanes * block.num_rows, block.env_steps, come, gone)

    def _match_lanes(self, block: Block) -> tuple[Ints, NDArray[np.bool_]]:
        known = [self._lane_of.get(lane_id, -1) for lane_id in block.lane_ids.tolist()]
        lanes = np.array(known, np.int64)
        unknown = lanes < 0
        free = self.config.num_lanes - len(self._lane_of)
        if np.count_nonzero(unknown) > free:
            raise BlockError(
                f"lanes {block.lane_ids[unknown].tolist()} are new but only {free} of the shard's "
                f"{self.config.num_lanes} lanes are free: raise num_lanes"
            )
        lanes[unknown] = len(self._lane_of) + np.arange(np.count_nonzero(unknown))
        seams = unknown | (self._stream_ids[lanes] != block.stream_ids)
        if block.start_rows is not None:
            seams |= self._stream_rows[lanes] != block.start_rows
        return lanes, seams

    def _check_continues(self, block: Block, lanes: Ints, seams: NDArray[np.bool_]) -> None:
        newest = (self._ring.next_row[lanes] - 1) % self.config.rows_per_lane
        final = (self._ring.next_row[lanes] > 0) & ~self._ring.columns["acted"][lanes, newest]
        unopened = final & ~block.columns["first"][:, 0] & ~seams
        if np.any(unopened):
            lane = int(block.lane_ids[unopened][0])
            raise BlockError(f"lane {lane}: the row after a final row must be first of an episode")

    def _name_lanes(self, block: Block, lanes: Ints, seams: NDArray[np.bool_]) -> None:
        begin = np.where(seams, 0, self._stream_rows[lanes]) if block.start_rows is None else block.start_rows
        self._stream_rows[lanes] = begin + block.num_rows
        self._lane_ids[lanes] = block.lane_ids
        self._stream_ids[lanes] = block.stream_ids
        self._lane_of.update(zip(block.lane_ids.tolist(), lanes.tolist(), strict=True))

    def _add_rows(self, block: Block, part: slice, lanes: Ints, seams: NDArray[np.bool_]) -> tuple[int, int]:
        count = part.stop - part.start
        columns = {name: column[:, part] for name, column in block.columns.items()}
        for i, lane in enumerate(lanes.tolist()):
            self._keep_for_snapshot(lane, count)
            if self._sparse.pools:
                self._sparse.free(lane, self._ring.spans(lane, count))
            values: dict[str, Any] = {name: column[i] for name, column in columns.items()}
            self._ring.write(lane, values | {"_version": block.version, "_inserted": self._inserted}, count)
        first, acted = (np.ascontiguousarray(columns[name]) for name in ("first", "acted"))
        if block.sparse:
            begin = self._ring.next_row[lanes] - count
            self._sparse.store(block.sparse, part, lanes, begin, block.columns["first"])
        change = self._items.ingest(lanes, seams, first, acted, block.episode_rows)
        self._inserted += int(np.count_nonzero(acted))
        self._tree.set(change.retired, np.zeros(change.retired.shape))
        if change.rows.size:
            leaves = change.lanes * self.config.rows_per_lane + change.rows % self.config.rows_per_lane
            self._tree.set(leaves, self._first_priorities(change.lanes, change.rows))
        return change.rows.size, change.retired.size

    def _first_priorities(self, lanes: Ints, rows: Ints) -> NDArray[np.float64]:
        config = self.config
        if not config.prioritized:
            return np.ones(rows.shape)
        if config.initial_priority == "max":
            return np.full(rows.shape, self._max_priority**config.priority_exponent)
        slots, inside = self._locate(lanes, rows)
        columns = {name: self._ring.flat(name)[slots] for name in _TD_COLUMNS}
        td = absolute_td(
            columns,
            inside,
            config.window,
            config.n_step,
            config.gamma,
            config.reward_clip,
            config.priority_eta,
            config.rescale_epsilon,
        )
        return np.asarray((td + config.priority_epsilon) ** config.priority_exponent)

    def _locate(self, lanes: Ints, rows: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        spec = self.config.window
        return locate(lanes, rows, spec.length, self._ring.next_row, self._items.episode_row, spec.prefix)

    # Giving out

    def sample(self, batch_size: int, out: Array | None = None) -> Windows | None:
        """Draw windows in proportion to their priorities, one from each of B equal parts of the total.

        Args:
            batch_size: B.
            out: ``[B, S-1+L, *frame_shape]`` contiguous array to take the frames; else a new one is made.

        Returns:
            The windows, in the order of their place in the ring; None while there are fewer than `min_items`.

        Source: [PER] section 3.3 and appendix B.2.1.
        """
        with self._lock:
            if self._items.items < self.config.min_items:
                return None
            leaves, probabilities = self._draw(batch_size)
            self._sampled += batch_size
            return self._windows(leaves, probabilities, out)

    def _draw(self, batch_size: int) -> tuple[Ints, NDArray[np.float64]]:
        total = self._tree.total
        if total > 0.0:
            leaves = self._tree.sample(batch_size, self._rng)
            return leaves, self._tree.get(leaves) / total
        # Every priority is zero: nothing tells the items apart.
        live = self._items.live_leaves()
        leaves = np.sort(self._rng.choice(live, batch_size))
        return leaves, np.full(batch_size, 1.0 / live.size)

    def _windows(self, leaves: Ints, probabilities: NDArray[np.float64], out: Array | None) -> Windows:
        ring, episode_row, prefix = self._ring, self._items.episode_row, self.config.window.prefix
        lanes, rows = self._items.rows_of(leaves)
        slots, inside = self._locate(lanes, rows)
        frames = self._frame_array(leaves.size, out)
        flat = frames.reshape(leaves.size, frames.shape[1], math.prod(self.config.frame_shape)).view(np.uint8)
        if "frame" in ring.packed:
            ring.packed["frame"].gather(lanes, rows, inside, episode_row, flat, prefix)
        else:
            gather_frames(ring.raw_bytes("frame"), lanes, rows, inside, episode_row, flat, prefix)
        columns = {}
        for name in self._window_columns:
            column = columns[name] = ring.flat(name)[slots]
            column[~inside] = 0
        learned = slots[:, prefix]
        sparse: dict[str, Array] = {}
        known: dict[str, NDArray[np.bool_]] = {}
        if self._sparse.pools:
            number = episode_row.reshape(-1)[learned].astype(np.int64)
            sparse, known = self._sparse.gather(
                slots, inside, number, ring.flat("first"), prefix, self.config.offsets
            )
        return Windows(
            frames=frames,
            columns=columns,
            in_episode=inside,
            item_ids=encode_items(lanes, rows),
            probabilities=probabilities,
            size=self._items.items,
            age_env_steps=(self._inserted - ring.flat("_inserted")[learned]).astype(np.float32),
            versions=ring.flat("_version")[learned],
            sparse=sparse,
            sparse_known=known,
        )

    def _frame_array(self, batch_size: int, out: Array | None) -> Array:
        config = self.config
        shape = (batch_size, config.frame_stack - 1 + config.window.length, *config.frame_shape)
        dtype = self._specs["frame"][0]
        if out is None:
            return np.empty(shape, dtype)
        if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
            raise ValueError(f"out is {out.dtype} {out.shape}, must be contiguous {dtype} {shape}")
        return out

    def update_priorities(self, item_ids: Ints, priorities: NDArray[Any]) -> int:
        """Set priorities of items; ids whose rows were overwritten since are left out.

        Args:
            item_ids: ``[B]`` from `Windows`; of an id named twice the last value stays.
            priorities: ``[B]`` absolute TD errors: epsilon and exponent are applied here.

        Returns:
            How many were applied; always 0 if the shard is not prioritised.

        Raises:
            ValueError: a value is negative or not finite; nothing was applied.
        """
        values = np.asarray(priorities, np.float64)
        if values.shape != item_ids.shape or not (np.isfinite(values) & (values >= 0.0)).all():
            raise ValueError("priorities must be finite, not negative and as many as item_ids")
        if not self.config.prioritized:
            return 0
        with self._lock:
            lanes, rows = decode_items(item_ids)
            live = self._items.live(lanes, rows)
            lanes, rows, values = lanes[live], rows[live], values[live] + self.config.priority_epsilon
            leaves = lanes * self.config.rows_per_lane + rows % self.config.rows_per_lane
            self._tree.set(leaves, values**self.config.priority_exponent)
            self._max_priority = max(self._max_priority, float(values.max(initial=0.0)))
            self._dropped_updates += int(live.size - leaves.size)
            return int(leaves.size)

    # Accounts

    def stats(self) -> dict[str, int]:
        """Return counts: rows, env_steps, items (stored now); capacity (env steps); bytes (when full);
        inserted (env steps), sampled (samples), dropped (priority updates) of the shard's life; lanes seen.

        What compressed frames and sparse values will take when the shard is full is not known before: `bytes`
        has what they take now, plus the mean of what is stored for every row that is still to come.
        Before there is a compressed chunk, frames count as if they would not shrink.
        """
        with self._lock:
            rows, size = self._ring.rows(), self.config.num_lanes * self.config.rows_per_lane
            sparse = self._sparse.nbytes_when_full(rows, size)
            return {
                "rows": rows,
                "env_steps": self._items.env_steps,
                "items": self._items.items,
                "capacity": self.config.capacity_env_steps,
                "bytes": self._ring.nbytes + self._tree.nbytes + sparse,
                "inserted": self._inserted,
                "sampled": self._sampled,
                "dropped": self._dropped_updates,
                "lanes": len(self._lane_of),
            }

    def check_valid(self) -> None:
        """Raise RuntimeError if the parts contradict each other."""
        with self._lock:
            self._tree.check_valid()
            self._items.check_valid()
            self._sparse.check_valid(self._filled())
            for column in self._ring.packed.values():
                column.check_valid()
            leaves = np.flatnonzero(self._tree.get_state())
            live = self._items.live_leaves()
            if not np.isin(leaves, live).all():
                raise RuntimeError("shard: a leaf of the sum tree has a priority but no item")
            if not self.config.prioritized and leaves.size != live.size:
                raise RuntimeError("shard: an item has no priority")

    # State

    def get_state(self) -> dict[str, Array]:
        """Return everything that is remembered, as flat arrays of its own."""
        with self._lock:
            sparse = self._sparse.get_state(self._filled())
            state = self._small_state(self._ring.names)
            return state | {f"sparse:{name}": value for name, value in sparse.items()}

    def _filled(self) -> list[int]:
        return [self._ring.filled(lane) for lane in range(self.config.num_lanes)]

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Take the result of `get_state` of a shard with the same layout.

        Raises:
            SnapshotError: the layouts differ, naming the settings that do.
        """
        with self._lock:
            self._refuse_while_saving()
            self._set_small_state(state)

    def _small_state(self, columns: list[str]) -> dict[str, Array]:
        tree = self._tree.get_state().reshape(self.config.num_lanes, -1)
        filled = self._filled()
        state: dict[str, Array] = {
            "layout": np.array(json.dumps(self.config.layout())),
            "rng": np.array(json.dumps(self._rng.bit_generator.state)),
            "next_row": self._ring.next_row.copy(),
            "lane_ids": self._lane_ids.copy(),
            "stream_ids": self._stream_ids.copy(),
            "stream_rows": self._stream_rows.copy(),
            "lanes": np.array(len(self._lane_of)),
            "item_counters": self._items.counters.copy(),
            "item_totals": self._items.totals.copy(),
            "lifetime": np.array([self._inserted, self._sampled, self._dropped_updates], np.int64),
            "max_priority": np.array(self._max_priority),
            "priorities": np.concatenate([row[:count] for row, count in zip(tree, filled, strict=True)]),
        }
        return state | {f"column:{name}": v for name, v in self._ring.get_state(columns).items()}

    def _set_small_state(self, state: Mapping[str, Array]) -> None:
        self._check_layout(json.loads(str(state["layout"])))
        self._reset()
        self._ring.set_state(state["next_row"], _named(state, "column"))
        self._sparse.set_state(self._filled(), _named(state, "sparse"))
        self._rng.bit_generator.state = json.loads(str(state["rng"]))
        self._lane_ids[:], self._stream_ids[:] = state["lane_ids"], state["stream_ids"]
        self._stream_rows[:] = state["stream_rows"]
        lanes = range(int(state["lanes"]))
        self._lane_of = {int(self._lane_ids[lane]): lane for lane in lanes}
        # States from before there were prefixes have no fifth counter: it is zero then.
        counters = state["item_counters"]
        self._items.counters[: len(counters)], self._items.totals[:] = counters, state["item_totals"]
        self._inserted, self._sampled, self._dropped_updates = (int(n) for n in state["lifetime"])
        self._max_priority = float(state["max_priority"])
        tree = np.zeros((self.config.num_lanes, self.config.rows_per_lane))
        begin = 0
        for lane in range(self.config.num_lanes):
            count = self._ring.filled(lane)
            tree[lane, :count] = state["priorities"][begin : begin + count]
            begin += count
        self._tree.set_state(tree.reshape(-1))

    def _check_layout(self, stored: dict[str, Any]) -> None:
        own = json.loads(json.dumps(self.config.layout()))
        stored = {"sparse_columns": {}} | stored
        differ = [
            f"{key}: stored {stored.get(key)}, here {own[key]}" for key in own if own[key] != stored.get(key)
        ]
        if differ:
            raise SnapshotError("stored replay has another layout: " + "; ".join(differ))

    # Snapshots

    def save(self, path: Path | str, previous: Path | str | None = None) -> SnapshotJob:
        """Begin to write the state of this moment into a directory, and go on.

        Args:
            path: directory, made if need be.
            previous: directory of an earlier snapshot: chunks that have not changed are linked, not written.

        Returns:
            A job: `done()`, `wait()`, `info`.

        Raises:
            SnapshotError: a save is still running.
        """
        with self._lock:
            self._refuse_while_saving()
            large = snapshot.large_columns(self._ring)
            small = self._small_state([name for name in self._ring.names if name not in large])
            parts = (self._ring, large, small, self._lock, self._incarnation)
            self._job = SnapshotJob(Path(path), *parts, previous, self._sparse.pools)
            return self._job

    def load(self, path: Path | str) -> None:
        """Take the state that `save` wrote.

        Raises:
            SnapshotError: a file is missing, cut short or changed, or the layout differs; the shard is
                empty then.
        """
        with self._lock:
            self._refuse_while_saving()
            try:
                stored = snapshot.Snapshot.open(Path(path))
                self._set_small_state(stored.small_state())
                stored.fill(self._ring, self._sparse.pools)
            except (KeyError, ValueError) as error:
                self._reset()
                raise SnapshotError(f"{path}: not a snapshot this version can read: {error!r}") from error
            except SnapshotError:
                self._reset()
                raise

    def _refuse_while_saving(self) -> None:
        if self._job is not None and self._job.running():
            raise SnapshotError(f"a save is still being written to {self._job.path}")
        self._job = None

    def _keep_for_snapshot(self, lane: int, count: int) -> None:
        if self._job is not None:
            for start, stop in self._ring.spans(lane, count):
                self._job.keep(lane, start, stop)


def _named(state: Mapping[str, Array], kind: str) -> dict[str, Array]:
    """Return the entries `<kind>:<name>` of a state by name."""
    return {key.partition(":")[2]: value for key, value in state.items() if key.startswith(kind + ":")}
