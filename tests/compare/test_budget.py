"""Reading a series at a budget: numbers worked by hand, and no score where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from rlx.compare.budget import BEST, FINAL, Series, at_frames, at_seconds, duration, parse_at, quantity, read
from rlx.compare.errors import CompareUsageError
from rlx.reference.reference import ScoreProtocol

ANY = ScoreProtocol("unstated", None, None, None, "unstated", "unstated")


def series(reports: bool = False, seconds: bool = True) -> Series:
    """Return scores 10, 20, 40, 30 at 100, 200, 300, 400 frames and 1, 2, 4, 8 seconds."""
    clock = np.array([1.0, 2.0, 4.0, 8.0]) if seconds else None
    frames, score = np.array([100.0, 200.0, 300.0, 400.0]), np.array([10.0, 20.0, 40.0, 30.0])
    return Series("it", ANY, frames, clock, score, spread=score / 10, reports=reports)


@pytest.mark.parametrize(
    ("text", "frames"),
    [("10M-steps", 40e6), ("40M-frames", 40e6), ("1.5k-frames", 1500), ("2B-steps", 8e9), ("7-steps", 28)],
)
def test_counts_are_in_frames_of_the_run(text: str, frames: float) -> None:
    at = parse_at(text)
    assert (at.point, at.axis, at.on_axis(4)) == ("at_budget", "frames", frames)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h", 3600), ("30min", 1800), ("30m", 1800), ("1.5d", 129600)]
)
def test_times(text: str, seconds: float) -> None:
    at = parse_at(text)
    assert (at.axis, at.on_axis(4)) == ("seconds", seconds)


def test_steps_are_frames_where_nothing_is_skipped() -> None:
    assert parse_at("10k-steps").on_axis(1) == 10_000


@pytest.mark.parametrize("text", ["10M", "ten-steps", "-1h", "0h", "best-of", "1w", ""])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(CompareUsageError, match="budget"):
        parse_at(text)


def test_final_and_best() -> None:
    assert (parse_at("final"), parse_at("best")) == (FINAL, BEST)
    last, best = read(series(), FINAL), read(series(), BEST)
    assert (last.score, last.env_frames, last.seconds, last.spread) == (30.0, 400.0, 8.0, 3.0)
    assert (best.score, best.env_frames, best.seconds, best.point) == (40.0, 300.0, 4.0, "best")


def test_between_two_points_it_is_interpolated() -> None:
    found = read(series(), at_frames(250))
    assert (found.score, found.seconds, found.spread) == (30.0, 3.0, 3.0)
    found = read(series(), at_seconds(3))
    assert (found.score, found.env_frames) == (30.0, 250.0)


def test_beyond_the_ends_there_is_no_score() -> None:
    for at in (at_frames(99), at_frames(401), at_seconds(0.5), at_seconds(9)):
        found = read(series(reports=True), at)
        assert found.score is None
        assert "has scores from" in found.reason
    assert read(series(seconds=False), at_seconds(2)).reason == "it: wall time was not recorded"


def test_reports_within_two_percent_are_averaged() -> None:
    frames = np.array([970.0, 980.0, 1000.0, 1020.0, 1021.0])
    curve = Series("it", ANY, frames, None, np.array([900.0, 1.0, 2.0, 6.0, 900.0]), reports=True)
    found = read(curve, at_frames(1000))
    assert found.score == 3.0
    assert found.env_frames == 1000.0
    assert "mean of 3" in found.taken


def test_reports_far_from_the_budget_are_interpolated() -> None:
    assert read(series(reports=True), at_frames(250)).score == 30.0


def test_an_evaluation_near_the_budget_counts() -> None:
    one = Series("it", ANY, np.array([1010.0]), None, np.array([5.0]))
    assert read(one, at_frames(1000)).score == 5.0
    assert read(one, at_frames(900)).score is None


def test_an_empty_series_has_no_score() -> None:
    empty = Series("it", ANY, np.array([]), None, np.array([]))
    assert read(empty, FINAL).reason == "it: there is no score yet"


def test_words() -> None:
    assert [quantity(value) for value in (4e7, 1500, 2e9, 12)] == ["40M", "1.5k", "2B", "12"]
    assert [duration(value) for value in (45, 600, 8136)] == ["45 s", "10 min", "2.26 h"]
