import time

import pytest

from rlx.bench.figure import FULL, QUICK, Budget, failed, medians, repeated, row


def test_more_is_better() -> None:
    made = row("a", 90.0, "steps/s", limit=100.0, floor=0.9)
    assert made.ratio == pytest.approx(0.9)
    assert made.ok is True
    assert row("a", 89.0, "steps/s", limit=100.0, floor=0.9).ok is False


def test_less_is_better() -> None:
    made = row("a", 10.0, "seconds", limit=15.0, floor=1.0, less_is_better=True)
    assert made.ratio == pytest.approx(1.5)
    assert made.ok is True
    assert row("a", 20.0, "seconds", limit=15.0, floor=1.0, less_is_better=True).ok is False


def test_a_figure_without_a_limit_or_floor_is_only_recorded() -> None:
    assert row("a", 1.0, "x").ok is None
    assert row("a", 1.0, "x", limit=2.0).ratio == 0.5
    assert row("a", 1.0, "x", limit=2.0).ok is None


def test_a_failed_figure_is_not_ok() -> None:
    assert failed("a", 2.0).ok is False
    assert failed("a", None).ok is False


def test_sides_take_turns_and_the_median_counts() -> None:
    calls: list[tuple[str, float]] = []
    values = {"a": iter([100.0, 1.0, 9.0, 2.0]), "b": iter([100.0, 5.0, 4.0, 30.0])}

    def side(name: str):
        def rate(seconds: float) -> float:
            calls.append((name, seconds))
            return next(values[name])

        return rate

    parts: list[float] = []
    found = medians([side("a"), side("b")], Budget(3, 2.0, 1.0), parts.append)
    assert found == [2.0, 5.0]  # the warm-up's 100 does not count
    assert calls == [("a", 1.0), ("b", 1.0)] + [("a", 2.0), ("b", 2.0)] * 3
    assert parts[-1] == 1.0
    assert parts == sorted(parts)


def test_a_rate_is_work_per_second() -> None:
    def work() -> float:
        time.sleep(0.02)
        return 5.0

    assert repeated(work)(0.1) == pytest.approx(250.0, rel=0.3)


def test_quick_budgets_stay_quick() -> None:
    assert QUICK.scaled(seconds=100.0) == QUICK
    assert FULL.scaled(rounds=2, seconds=2).slice_seconds == 2 * FULL.slice_seconds
