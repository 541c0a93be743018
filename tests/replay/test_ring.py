from __future__ import annotations

import numpy as np
import pytest

from rlx.replay.ring import ColumnRing

SPECS = {"frame": (np.dtype(np.uint8), (2, 3)), "value": (np.dtype(np.float32), ())}


def rows(begin: int, count: int) -> dict[str, np.ndarray]:
    numbers = np.arange(begin, begin + count)
    frames = np.repeat(numbers.astype(np.uint8), 6).reshape(count, 2, 3)
    return {"frame": frames, "value": numbers.astype(np.float32)}


def test_rows_lie_at_their_number_modulo_the_size() -> None:
    ring = ColumnRing(2, 5, SPECS)
    for begin in range(0, 12, 3):
        ring.write(1, rows(begin, 3), 3)
    assert ring.next_row.tolist() == [0, 12]
    assert ring.columns["value"][1].tolist() == [10, 11, 7, 8, 9]
    assert ring.columns["frame"][1, :, 1, 2].tolist() == [10, 11, 7, 8, 9]
    assert (ring.filled(0), ring.filled(1), ring.rows()) == (0, 5, 5)


@pytest.mark.parametrize(
    ("written", "count", "spans"),
    [(0, 5, [(0, 5)]), (3, 2, [(3, 5)]), (3, 4, [(3, 5), (0, 2)]), (9, 1, [(4, 5)]), (10, 2, [(0, 2)])],
)
def test_spans(written: int, count: int, spans: list[tuple[int, int]]) -> None:
    ring = ColumnRing(1, 5, SPECS)
    ring.next_row[0] = written
    assert ring.spans(0, count) == spans


def test_one_value_for_all_rows() -> None:
    ring = ColumnRing(1, 4, SPECS)
    ring.write(0, {"value": 7.5}, 3)
    assert ring.columns["value"][0, :3].tolist() == [7.5] * 3


def test_views_share_memory() -> None:
    ring = ColumnRing(2, 4, SPECS)
    ring.columns["value"][1, 2] = 3.0
    assert ring.flat("value")[1 * 4 + 2] == 3.0
    assert ring.raw_bytes("value").shape == (8, 4)
    assert ring.raw_bytes("frame").shape == (8, 6)
    assert np.shares_memory(ring.raw_bytes("frame"), ring.columns["frame"])
    assert (ring.row_nbytes("frame"), ring.row_nbytes("value")) == (6, 4)


def test_state_holds_filled_slots_only() -> None:
    ring = ColumnRing(2, 5, SPECS)
    ring.write(0, rows(0, 2), 2)
    ring.write(1, rows(50, 5), 5)
    ring.write(1, rows(55, 2), 2)
    state = ring.get_state(["frame", "value"])
    assert state["value"].tolist() == [0, 1, 55, 56, 52, 53, 54]
    other = ColumnRing(2, 5, SPECS)
    other.set_state(ring.next_row, state)
    assert other.columns["frame"][1].tobytes() == ring.columns["frame"][1].tobytes()
    with pytest.raises(ValueError, match="does not fit"):
        other.set_state(ring.next_row, {"value": state["value"].astype(np.float64)})
    with pytest.raises(ValueError, match="for a ring of 3"):
        ColumnRing(3, 5, SPECS).set_state(ring.next_row, {})
