"""Random streams of rows, made by small actors that stack frames themselves."""

from __future__ import annotations

from collections import deque

import numpy as np

from rlx.replay.block import Block, SparseRows
from rlx.replay.config import ShardConfig


class LaneActor:
    """Plays one lane of nonsense; keeps what it saw at every row, oldest first."""

    def __init__(self, config: ShardConfig, rng: np.random.Generator, stream_id: int) -> None:
        self.config = config
        self.rng = rng
        self.stream_id = stream_id
        self.seen: list[np.ndarray] = []
        self.begin()

    def begin(self) -> None:
        self.first, self.over, self.number = True, False, 0
        self.left = int(self.rng.integers(1, 12))

    def restart(self) -> None:
        """Lose the episode in progress, as a runner that was killed does."""
        self.stream_id += 1
        self.begin()

    def row(self) -> dict[str, np.ndarray]:
        rng, config = self.rng, self.config
        frame = rng.integers(1, 100, config.frame_shape).astype(config.frame_dtype)
        if self.first:
            zeros = [np.zeros_like(frame)] * config.frame_stack
            self.stack: deque[np.ndarray] = deque(zeros, config.frame_stack)
        self.stack.append(frame)
        self.seen.append(np.stack(self.stack))
        acted = not self.over
        self.left -= 1
        ends = acted and self.left == 0
        game_over = ends and rng.random() < 0.6
        row = {
            "frame": frame,
            "action": np.int32(rng.integers(0, 4) if acted else 0),
            "reward": np.float32(rng.normal() * 2 if acted else 0.0),
            # A lost life terminates without an end of the episode.
            "terminated": np.bool_(game_over or (acted and rng.random() < 0.1)),
            "truncated": np.bool_(ends and not game_over),
            "first": np.bool_(self.first),
            "acted": np.bool_(acted),
            "q_taken": np.float32(rng.normal()),
            "q_max": np.float32(rng.normal()),
        }
        for name, (dtype, shape) in config.extra_columns.items():
            row[name] = rng.integers(0, 50, shape).astype(dtype)
        self.first = not acted
        self.number += 1
        if not acted:
            self.begin()
        self.over = ends
        return row


class Actors:
    """Lanes with global ids 100, 101, ... that send blocks.

    Three rows in ten have a value in each sparse column. With `numbered`, blocks say how many rows of the
    stream and of the episode were before them.
    """

    def __init__(
        self, config: ShardConfig, seed: int, restart_chance: float = 0.1, numbered: bool = False
    ) -> None:
        self.config, self.numbered = config, numbered
        self.rng = np.random.default_rng(seed)
        self.sparse_rng = np.random.default_rng(seed + 1)
        self.sent = np.zeros(config.num_lanes, np.int64)
        self.restart_chance = restart_chance
        self.lanes = [LaneActor(config, self.rng, 7 * i) for i in range(config.num_lanes)]
        self.version = 0

    def block(self, rows: int, lanes: list[int] | None = None) -> Block:
        chosen = list(range(len(self.lanes))) if lanes is None else lanes
        for i in chosen:
            if self.rng.random() < self.restart_chance:
                self.lanes[i].restart()
                self.sent[i] = 0
        numbers = {}
        if self.numbered:
            numbers["start_rows"] = self.sent[chosen]
            numbers["episode_rows"] = np.array([self.lanes[i].number for i in chosen], np.int64)
            self.sent[chosen] += rows
        made = [[self.lanes[i].row() for _ in range(rows)] for i in chosen]
        columns = {name: np.array([[row[name] for row in lane] for lane in made]) for name in made[0][0]}
        self.version += 1
        return Block(
            columns=columns,
            lane_ids=np.array([100 + i for i in chosen], np.int64),
            stream_ids=np.array([self.lanes[i].stream_id for i in chosen], np.int64),
            version=self.version,
            sparse=self.sparse(len(chosen), rows),
            **numbers,
        )

    def sparse(self, lanes: int, rows: int) -> dict[str, SparseRows]:
        found = {}
        for name, (dtype, shape) in self.config.sparse().items():
            lane, row = np.nonzero(self.sparse_rng.random((lanes, rows)) < 0.3)
            values = self.sparse_rng.integers(1, 100, (lane.size, *shape)).astype(dtype)
            found[name] = SparseRows(lane, row, values)
        return found

    def random_block(self, max_rows: int) -> Block:
        """A block of some of the lanes."""
        count = int(self.rng.integers(1, len(self.lanes) + 1))
        lanes = self.rng.permutation(len(self.lanes))[:count].tolist()
        return self.block(int(self.rng.integers(1, max_rows + 1)), lanes)
