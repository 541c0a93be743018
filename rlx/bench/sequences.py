"""What compression costs and saves in a shard, on frames of a game, beside the same shard without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from rlx.bench.experiments import PONG
from rlx.bench.figure import Context, Figure, Rate, Row, medians, repeated, row
from rlx.bench.filled import make_block, with_end
from rlx.envs import make_vector_env, resolve_env
from rlx.replay.block import Array, Block, SparseRows
from rlx.replay.config import ShardConfig
from rlx.replay.shard import ReplayShard
from rlx.replay.windows import WindowSpec

ADD_LIMIT = 40_000.0
BYTES_FLOOR = 10.0
_LANES = 16
_STATE = "state"

#: Windows of R2D2: 40 rows of burn-in, 80 learned, 5 to bootstrap from. [R2D2] section 2.3.
SEQUENCES = ShardConfig(
    capacity_env_steps=32_000,
    num_lanes=_LANES,
    frame_shape=(84, 84),
    frame_stack=4,
    window=WindowSpec(length=125, period=40, prefix=40),
    n_step=5,
    sparse_columns={_STATE: (np.float32, (2, 512))},
    rescale_epsilon=1e-3,
)
#: Windows of Ape-X: a step and three more rows.
TRANSITIONS = replace(
    SEQUENCES, window=WindowSpec(length=4), n_step=3, sparse_columns={}, rescale_epsilon=None
)


def game_frames(lanes: int, rows: int) -> Array:
    """Play Pong with random actions; return the frames ``[lanes, rows, 84, 84]``."""
    env = make_vector_env(resolve_env(PONG, {}), lanes, seed=0)
    rng = np.random.default_rng(0)
    frames = [env.reset(0).copy()]
    for _ in range(rows - 1):
        frames.append(env.step(rng.integers(0, env.num_actions, lanes)).frames.copy())
    env.close()
    return np.stack(frames, axis=1)


def game_block(config: ShardConfig, frames: Array) -> Block:
    """Make a block of one episode per lane with these frames, and a recurrent state at every 40th row."""
    block = with_end(make_block(config, frames.shape[1]))
    sparse = {}
    if config.sparse_columns:
        lanes, rows = np.meshgrid(np.arange(config.num_lanes), np.arange(0, frames.shape[1], 40))
        values = np.random.default_rng(0).normal(size=(rows.size, 2, 512)).astype(np.float32)
        sparse[_STATE] = SparseRows(lanes.reshape(-1), rows.reshape(-1), values)
    return replace(block, columns={**block.columns, "frame": frames}, sparse=sparse)


def _filled(config: ShardConfig, block: Block) -> ReplayShard:
    shard = ReplayShard(config)
    for _ in range(-(-config.rows_per_lane // block.num_rows)):
        shard.add(block)
    return shard


def _draws(shard: ReplayShard, batch_size: int) -> Rate:
    def draw() -> float:
        assert shard.sample(batch_size) is not None
        return 1.0

    return repeated(draw)


def _sequences(context: Context) -> Iterator[Row]:
    quick = context.budget.quick
    rows = 150 if quick else 400
    frames = game_frames(_LANES, rows)
    for name, config, batch_size in (
        ("replay_sequences_lz4_sample_64", SEQUENCES, 64),
        ("replay_lz4_sample_512", TRANSITIONS, 512),
    ):
        config = replace(config, capacity_env_steps=5000) if quick else config
        block = game_block(config, frames)
        packed, raw = (_filled(replace(config, compression=kind), block) for kind in ("lz4", "none"))
        sides = [_draws(packed, batch_size), _draws(raw, batch_size)]
        value, limit = medians(sides, context.budget, context.progress)
        yield row(name, value, "batches/s", limit=limit)
        if config.window.prefix == 0:
            continue
        steps = packed.stats()["env_steps"]
        sizes = [shard.stats()["bytes"] / steps for shard in (packed, raw)]
        name = "replay_sequences_lz4_bytes_per_step"
        yield row(name, sizes[0], "bytes", limit=sizes[1], floor=BYTES_FLOOR, less_is_better=True)

        def add(shard: ReplayShard = packed, block: Block = block) -> float:
            shard.add(block)
            return float(block.env_steps)

        (speed,) = medians([repeated(add)], context.budget, context.progress)
        name = "replay_sequences_lz4_add_env_steps_per_second"
        yield row(name, speed, "env steps/s", limit=ADD_LIMIT, floor=1.0)


FIGURES = (
    Figure(
        "replay_sequences_lz4_sample_64",
        _sequences,
        more_names=(
            "replay_sequences_lz4_bytes_per_step",
            "replay_sequences_lz4_add_env_steps_per_second",
            "replay_lz4_sample_512",
        ),
    ),
)
