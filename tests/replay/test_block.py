from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from rlx.replay.block import Block, BlockError, SparseRows, column_specs

SPECS = column_specs((2, 2), np.uint8, {"toy/arm": (np.int64, ())})


def block(**changes: Any) -> Block:
    """Two lanes of three rows: an episode's last step, its final row, the next one's first."""
    columns: dict[str, Any] = {
        name: np.zeros((2, 3, *shape), dtype) for name, (dtype, shape) in SPECS.items()
    }
    columns["acted"][:] = [True, False, True]
    columns["first"][:] = [False, False, True]
    ids = {"lane_ids": np.array([4, 9]), "stream_ids": np.array([0, 1]), "start_rows": np.array([0, 7])}
    for name, value in changes.items():
        (ids if name in ids else columns)[name.replace("__", "/")] = value
    return Block(columns={k: v for k, v in columns.items() if v is not None}, version=3, **ids)


def test_a_good_block_and_its_sizes() -> None:
    good = block()
    good.validate(SPECS)
    assert (good.num_lanes, good.num_rows, good.env_steps) == (2, 3, 4)
    # frame 4, action reward q_taken q_max 4 each, four flags, toy/arm 8.
    assert good.nbytes == 6 * (4 + 16 + 4 + 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": None}, r"missing \['reward'\]"),
        ({"other": np.zeros((2, 3))}, r"unknown \['other'\]"),
        ({"reward": np.zeros((2, 3))}, "'reward': float64"),
        (
            {"frame": np.zeros((2, 3, 2), np.uint8)},
            r"'frame': uint8 \(2, 3, 2\), expected uint8 \(2, 3, 2, 2\)",
        ),
        ({"toy__arm": np.zeros((2, 2), np.int64)}, r"'toy/arm': int64 \(2, 2\)"),
        ({"acted": np.zeros((2, 0), bool)}, "T >= 1"),
        ({"q_max": np.full((2, 3), np.nan, np.float32)}, "'q_max' holds a value that is not finite"),
        ({"reward": np.full((2, 3), np.inf, np.float32)}, "'reward' holds a value that is not finite"),
        ({"lane_ids": np.array([4, 4])}, "named twice"),
        ({"lane_ids": np.array([4, 9], np.int32)}, "lane_ids: int32"),
        ({"stream_ids": np.array([4])}, "stream_ids: int64"),
        ({"start_rows": np.array([1, 2], np.int32)}, "start_rows: int32"),
        ({"first": np.zeros((2, 3), bool)}, "lane 0 of the block, row 1: the row after a final row"),
        ({"first": np.array([[0, 0, 1], [0, 1, 1]], bool)}, "lane 1 of the block, row 1: a final row"),
    ],
)
def test_blocks_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BlockError, match=message):
        block(**changes).validate(SPECS)


SPARSE = {"state": (np.dtype(np.float32), (2,))}


def sparse(lanes: list[int], rows: list[int], values: np.ndarray | None = None) -> SparseRows:
    zeros = np.zeros((len(rows), 2), np.float32)
    where = np.array(lanes, np.int64), np.array(rows, np.int64)
    return SparseRows(*where, zeros if values is None else values)


def test_a_block_with_sparse_rows_and_numbers_of_rows() -> None:
    numbers = np.array([5, 8])
    good = dataclasses.replace(block(), sparse={"state": sparse([0, 1, 1], [2, 0, 2])}, episode_rows=numbers)
    good.validate(SPECS, SPARSE)
    assert good.nbytes == block().nbytes + 3 * (8 + 8 + 8)
    dataclasses.replace(block(), sparse={"state": sparse([], [])}).validate(SPECS, SPARSE)
    block().validate(SPECS, SPARSE)


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("other", sparse([0], [0]), r"'other': unknown, the shard keeps \['state'\]"),
        ("state", sparse([0], [0], np.zeros((1, 2))), r"'state': float64 \(1, 2\), expected float32"),
        ("state", sparse([0], [0], np.zeros((1, 3), np.float32)), r"float32 \(1, 3\), expected float32"),
        (
            "state",
            sparse([0], [0], np.zeros((2, 2), np.float32)),
            r"lanes are int64 \(1,\), expected int64 \(2,\)",
        ),
        ("state", sparse([0, 1], [0]), "lanes are int64"),
        (
            "state",
            SparseRows(np.zeros(1, np.int64), np.zeros(1, np.int32), np.zeros((1, 2), np.float32)),
            "rows are int32",
        ),
        ("state", sparse([2], [0]), r"lanes must be in 0\.\.1"),
        ("state", sparse([-1], [0]), r"lanes must be in 0\.\.1"),
        ("state", sparse([0], [3]), r"rows must be in 0\.\.2"),
        ("state", sparse([1, 0, 1], [2, 2, 2]), "a row is named twice"),
    ],
)
def test_sparse_rows_that_do_not_fit(name: str, rows: SparseRows, message: str) -> None:
    with pytest.raises(BlockError, match=message):
        dataclasses.replace(block(), sparse={name: rows}).validate(SPECS, SPARSE)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (np.array([3]), "episode_rows: int64"),
        (np.array([3, 4], np.int32), "episode_rows: int32"),
        (np.array([3, -1]), "lane 1 of the block, row 0 is number -1"),
        (np.array([0, 4]), "lane 0 of the block, row 0 is number 0: must be 0 where it is first"),
    ],
)
def test_numbers_of_rows_that_cannot_be(numbers: np.ndarray, message: str) -> None:
    with pytest.raises(BlockError, match=message):
        dataclasses.replace(block(), episode_rows=numbers).validate(SPECS)


def test_an_extra_column_may_not_hide_a_fixed_one() -> None:
    with pytest.raises(ValueError, match="'reward' has the name of a fixed column"):
        column_specs((2,), np.uint8, {"reward": (np.float32, ())})
