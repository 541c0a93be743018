from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlx.replay.block import Block, BlockError, column_specs

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


def test_an_extra_column_may_not_hide_a_fixed_one() -> None:
    with pytest.raises(ValueError, match="'reward' has the name of a fixed column"):
        column_specs((2,), np.uint8, {"reward": (np.float32, ())})
