"""Made-up Atari data, for figures about memory and learning: nothing here depends on what is in a frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlx.replay.block import Block, SparseRows
from rlx.replay.config import ShardConfig
from rlx.replay.shard import ReplayShard

#: Env steps of a made-up episode: about a game of Pong of a poor player.
EPISODE_ENV_STEPS = 1000


def make_block(config: ShardConfig, rows: int, seed: int = 0) -> Block:
    """Make rows for every lane of a shard: noise in the frames, one reward in ten, no ends.

    A block may be added any number of times; the first one begins the lanes' episodes.
    """
    rng = np.random.default_rng(seed)
    shape = (config.num_lanes, rows)
    flags = np.zeros(shape, bool)
    extra = {
        name: np.zeros((*shape, *row_shape), dtype)
        for name, (dtype, row_shape) in config.extra_columns.items()
    }
    return Block(
        columns={
            **extra,
            "frame": rng.integers(0, 256, (*shape, *config.frame_shape), np.uint8),
            "action": rng.integers(0, 4, shape).astype(np.int32),
            "reward": (rng.random(shape) < 0.1).astype(np.float32),
            "terminated": flags.copy(),
            "truncated": flags.copy(),
            "first": flags.copy(),
            "acted": ~flags,
            "q_taken": rng.random(shape, np.float32),
            "q_max": rng.random(shape, np.float32),
        },
        lane_ids=np.arange(config.num_lanes, dtype=np.int64),
        stream_ids=np.ones(config.num_lanes, np.int64),
        version=0,
        sparse=_states(config, rows, rng),
    )


def _states(config: ShardConfig, rows: int, rng: np.random.Generator) -> dict[str, SparseRows]:
    """Make values of sparse columns for the starts of all windows, if episodes begin with the block."""
    found = {}
    starts = np.arange(0, rows, config.window.period)
    for name, (dtype, shape) in config.sparse_columns.items():
        lanes = np.repeat(np.arange(config.num_lanes), starts.size)
        values = rng.standard_normal((lanes.size, *shape)).astype(dtype)
        found[name] = SparseRows(lanes, np.tile(starts, config.num_lanes), values)
    return found


def with_end(block: Block) -> Block:
    """Return the block with episodes that end in its last acted row and begin with its first.

    The last row becomes the final row, so that the next such block may follow.
    """
    columns: dict[str, Any] = {
        name: column.copy() for name, column in block.columns.items() if name != "frame"
    }
    columns["first"][:, 0] = True
    columns["terminated"][:, -2] = True
    columns["acted"][:, -1] = False
    columns["reward"][:, -1] = 0.0
    return Block(
        columns={"frame": block.columns["frame"], **columns},
        lane_ids=block.lane_ids,
        stream_ids=block.stream_ids,
        version=block.version,
        sparse=block.sparse,
    )


def filled_shard(config: ShardConfig) -> ReplayShard:
    """Make a shard with a full ring of episodes of `EPISODE_ENV_STEPS` steps, or as many as a lane holds."""
    shard = ReplayShard(config)
    rows = min(EPISODE_ENV_STEPS + 1, config.rows_per_lane)
    block = with_end(make_block(config, rows))
    for _ in range(-(-config.rows_per_lane // rows)):
        shard.add(block)
    return shard
