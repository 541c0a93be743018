"""Places worked out by hand, and ticks a person would choose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlx.report.scale import Scale, decades, exact, linear, round_step, tick_text, time_unit, value_text


def test_linear_places() -> None:
    scale = Scale(0.0, 200.0, 50.0, 450.0, ())
    assert [scale.place(value) for value in (0.0, 50.0, 200.0, 250.0)] == [50.0, 150.0, 450.0, 550.0]
    upward = Scale(-20.0, 20.0, 240.0, 40.0, ())
    assert [upward.place(value) for value in (-20.0, 0.0, 15.0)] == [240.0, 140.0, 65.0]


def test_log_places() -> None:
    scale = Scale(0.01, 100.0, 0.0, 400.0, (), log=True)
    assert [scale.place(value) for value in (0.01, 1.0, 10.0, 100.0)] == pytest.approx([0, 200, 300, 400])
    assert scale.place(10**0.5) == pytest.approx(250.0)
    # What it cannot show is at its low end.
    assert [scale.place(value) for value in (0.001, 0.0, -3.0)] == [0.0, 0.0, 0.0]


def test_linear_ticks() -> None:
    scale = linear([3.0, 418.0], 0.0, 1.0)
    assert scale.ticks == (0.0, 100.0, 200.0, 300.0, 400.0)
    assert (scale.low, scale.high) == (0.0, 425.0)
    assert linear([-21.0, 20.4], 0.0, 1.0).ticks == (-20.0, -10.0, 0.0, 10.0, 20.0)
    assert linear([7.0, 9.0], 0.0, 1.0, zero=True).low == 0.0


def test_scales_of_nothing_and_of_one_value() -> None:
    assert (linear([], 0.0, 1.0).low, linear([], 0.0, 1.0).high) == (0.0, 1.0)
    one = linear([10.0], 0.0, 1.0)
    assert one.low < 10.0 < one.high
    assert linear([0.0], 0.0, 1.0).place(0.0) == pytest.approx(0.5)
    assert exact(5.0, 5.0, 0.0, 1.0).low < 5.0


def test_decades() -> None:
    scale = decades([0.3, 14.4], 0.0, 300.0)
    assert (scale.low, scale.high, scale.ticks) == (0.1, 100.0, (0.1, 1.0, 10.0, 100.0))
    assert scale.place(1.0) == pytest.approx(100.0)
    assert decades([-0.2, 0.0], 0.0, 1.0).low == 1.0
    wide = decades([0.01, 1e6], 0.0, 1.0).ticks
    assert 1.0 in wide
    assert len(wide) <= 7


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=9))
def test_a_linear_scale_holds_all_values_and_some_ticks(values: list[float]) -> None:
    scale = linear(values, 0.0, 100.0)
    assert all(-1e-3 <= scale.place(value) <= 100.001 for value in values)
    assert 2 <= len(scale.ticks) <= 12
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks[1:-1])


def test_steps_are_round() -> None:
    assert [round_step(value) for value in (0.7, 1.0, 1.1, 3.0, 83.0)] == [1.0, 1.0, 2.0, 5.0, 100.0]


def test_texts() -> None:
    ticks = [tick_text(value) for value in (0.0, 0.25, -20.0, 400.0, 2500.0, 4e7, -12000.0, 1e-3)]
    assert ticks == ["0", "0.25", "-20", "400", "2.5k", "40M", "-12k", "0.001"]
    assert [value_text(v) for v in (0.054, 1.519, 14.44, 1933.49, -21.0)] == [
        "0.05",
        "1.52",
        "14.4",
        "1933",
        "-21.0",
    ]


def test_time_units() -> None:
    assert [time_unit(seconds)[0] for seconds in (50, 110, 7000, 3 * 86400)] == [
        "seconds",
        "minutes",
        "hours",
        "days",
    ]
