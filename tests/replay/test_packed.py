from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlx.bench.filled import make_block
from rlx.replay.packed import PackedColumn
from rlx.replay.shard import ReplayShard
from tests.replay.test_shard import BASE


@settings(max_examples=60, deadline=None)
@given(
    rows_per_lane=st.integers(1, 20),
    chunk_rows=st.integers(1, 9),
    counts=st.lists(st.integers(1, 20), max_size=12),
    seed=st.integers(0, 1000),
)
def test_slots_hold_what_was_written_last(
    rows_per_lane: int, chunk_rows: int, counts: list[int], seed: int
) -> None:
    next_row = np.zeros(2, np.int64)
    spec = (np.dtype(np.float32), (2,))
    column = PackedColumn(2, rows_per_lane, *spec, next_row, chunk_rows)
    plain = np.zeros((2, rows_per_lane, 2), np.float32)
    for number, count in enumerate(counts):
        rows = np.random.default_rng(number).normal(size=(count, 2)).astype(np.float32)
        column.write(1, rows)
        plain[1, (next_row[1] + np.arange(count)) % rows_per_lane] = rows
        next_row[1] += count
        column.check_valid()
    filled = min(int(next_row[1]), rows_per_lane)
    for begin in range(filled):
        for count in range(1, filled - begin + 1):
            got = column.read(1, begin, count)
            assert got.tobytes() == plain[1, begin : begin + count].tobytes()
    # The same put back in pieces, in any order.
    other = PackedColumn(2, rows_per_lane, *spec, next_row, chunk_rows)
    rng = np.random.default_rng(seed)
    cuts = [0, *np.unique(rng.integers(0, filled + 1, 3)).tolist(), filled]
    for piece in rng.permutation(len(cuts) - 1):
        begin, end = cuts[piece], cuts[piece + 1]
        if begin < end:
            other.put(1, begin, plain[1, begin:end])
    other.check_valid()
    if filled:
        assert other.read(1, 0, filled).tobytes() == plain[1, :filled].tobytes()


def test_chunks_that_are_overwritten_are_let_go() -> None:
    next_row = np.zeros(1, np.int64)
    column = PackedColumn(1, 64, np.dtype(np.uint8), (500,), next_row, 8)
    rng, held = np.random.default_rng(0), []
    for turn in range(60):
        # Noise does not compress, zeros do.
        noise = turn < 30
        rows = rng.integers(0, 256, (8, 500), np.uint8) if noise else np.zeros((8, 500), np.uint8)
        column.write(0, rows)
        next_row[0] += 8
        held.append(column.nbytes)
    assert held[8] == held[29] > 64 * 500
    assert held[-1] < 8 * 500 + 2000
    column.clear()
    assert column.nbytes < 8 * 500 + 500


def test_no_array_of_raw_frames_is_made() -> None:
    config = dataclasses.replace(
        BASE,
        capacity_env_steps=20_000,
        num_lanes=4,
        frame_shape=(84, 84),
        extra_columns={},
        compression="lz4",
    )
    block = make_block(config, 100)
    block.columns["frame"][:] = np.arange(100, dtype=np.uint8)[:, None, None]
    raw = 20_000 * 84 * 84
    # What is compiled and loaded on first use is not the shard's.
    ReplayShard(config).add(block)
    tracemalloc.start()
    shard = ReplayShard(config)
    assert shard.stats()["bytes"] > raw
    for turn in range(70):
        shard.add(block)
        if turn == 10:
            foreseen = shard.stats()["bytes"]
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < raw / 20
    now = shard.stats()["bytes"]
    # Where bytes are counted and where Python counts them; and ten blocks are enough to foresee it.
    assert now == pytest.approx(held, rel=0.1)
    assert foreseen == pytest.approx(now, rel=0.05)


def test_check_valid_notices_damage() -> None:
    next_row = np.zeros(1, np.int64)
    column = PackedColumn(1, 20, np.dtype(np.uint8), (), next_row, 4)
    column.write(0, np.arange(10, dtype=np.uint8))
    next_row[0] = 10
    column.check_valid()
    column._chunks[0][1] = None
    with pytest.raises(RuntimeError, match="counted"):
        column.check_valid()
    column._count -= 1
    column._nbytes = sum(chunk.__sizeof__() for chunk in column._chunks[0] if chunk)
    with pytest.raises(RuntimeError, match="lane 0 lacks a chunk"):
        column.check_valid()
