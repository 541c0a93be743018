"""When a score is read: `--at`, and reading a series of scores there.

A score at a budget is never guessed beyond the ends of a series. Reports of a training curve are noisy, so
those within 2% of the budget are averaged, as the tables of RLlib's README were made from its raw runs;
where no report is so near, and for evaluations, the two neighbours are interpolated linearly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rlx.compare.errors import CompareUsageError
from rlx.reference.reference import ScorePoint, ScoreProtocol

Array = NDArray[np.float64]
Axis = Literal["frames", "seconds"]

#: Reports so near a budget, as a fraction of it, count as being there.  Source: [rl-experiments] README.
WINDOW = 0.02

_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
_SECONDS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgb]?)[-\s]?(steps|frames)", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)")


@dataclass(frozen=True)
class At:
    """A point at which scores are read.

    Attributes:
        point: `final`, `best`, or `at_budget`.
        amount: of the budget, in `unit`; 0 where there is none.
        unit: `steps` are agent steps.
        text: as the user wrote it.
    """

    point: ScorePoint
    amount: float = 0.0
    unit: Literal["steps", "frames", "seconds", ""] = ""
    text: str = ""

    @property
    def axis(self) -> Axis:
        """The axis of the budget."""
        return "seconds" if self.unit == "seconds" else "frames"

    def on_axis(self, frames_per_step: int) -> float:
        """Return the budget in emulator frames, or in seconds."""
        return self.amount * frames_per_step if self.unit == "steps" else self.amount


FINAL, BEST = At("final", text="final"), At("best", text="best")


def at_frames(frames: float) -> At:
    """Return the point at a number of emulator frames."""
    return At("at_budget", frames, "frames", f"{quantity(frames)} frames")


def at_seconds(seconds: float) -> At:
    """Return the point at a wall time."""
    return At("at_budget", seconds, "seconds", duration(seconds))


def parse_at(text: str) -> At:
    """Parse `10M-steps`, `40M-frames`, `1h`, `final` or `best`.

    Raises:
        CompareUsageError: it is none of these, or zero.
    """
    word = text.strip()
    if word in ("final", "best"):
        return FINAL if word == "final" else BEST
    count, time = _COUNT.fullmatch(word), _TIME.fullmatch(word)
    if count is not None:
        amount = float(count[1]) * _SCALES[count[2].lower()]
        unit: Literal["steps", "frames"] = "steps" if count[3].lower() == "steps" else "frames"
        found = At("at_budget", amount, unit, word)
    elif time is not None:
        found = At("at_budget", float(time[1]) * _SECONDS[time[2]], "seconds", word)
    else:
        raise CompareUsageError(
            f"{text!r} is no budget", "--at", "write 10M-steps, 40M-frames, 30min, 1h, final or best"
        )
    if found.amount <= 0:
        raise CompareUsageError(f"{text!r} is an empty budget", "--at", "it must be more than 0")
    return found


@dataclass(frozen=True, eq=False)
class Series:
    """Scores of one agent on one environment under one protocol, by when they were made.

    Attributes:
        source: where they are from, in words.
        protocol: how they were measured; its `score_point` is left open, for reading decides it.
        env_frames: `[n]` emulator frames, not decreasing.
        seconds: `[n]` wall time since the start, NaN where not recorded; None if nowhere.
        score: `[n]`.
        spread: `[n]` standard deviation over seeds; None for a single run.
        reports: whether each point is a report of a training curve, to be averaged.
    """

    source: str
    protocol: ScoreProtocol
    env_frames: Array
    seconds: Array | None
    score: Array
    spread: Array | None = None
    reports: bool = False


@dataclass(frozen=True)
class Reading:
    """A score read at a point; `reason` says why there is none.

    Attributes:
        score: None if missing.
        env_frames, seconds: at which it was read; None if not known.
        spread: standard deviation over seeds there.
        point: `final`, `best`, `at_budget` or `unstated`.
        taken: what it is, in words.
        reason: why it is missing; empty if it is not.
    """

    score: float | None
    point: ScorePoint
    env_frames: float | None = None
    seconds: float | None = None
    spread: float | None = None
    taken: str = ""
    reason: str = ""


def read(series: Series, at: At, frames_per_step: int = 1) -> Reading:
    """Read a series at a point.

    Args:
        series: n scores.
        at: the end, the highest score, or a budget.
        frames_per_step: emulator frames per agent step, for budgets in steps.

    Returns:
        The score, or the reason why there is none.
    """
    if not len(series.score):
        return Reading(None, at.point, reason=f"{series.source}: there is no score yet")
    if at.point != "at_budget":
        index = int(np.argmax(series.score)) if at.point == "best" else len(series.score) - 1
        words = "highest" if at.point == "best" else "last"
        return _at_point(series, index, at.point, f"{series.source}, {words} of {len(series.score)}")
    return _at_budget(series, at, at.on_axis(frames_per_step))


def ends(series: Series, axis: Axis) -> tuple[float, float] | None:
    """Return the first and last place of a series on an axis; None if it was not recorded."""
    places = _places(series, axis)
    return None if places is None else (float(places[0]), float(places[-1]))


def quantity(value: float) -> str:
    """Write a count with three digits: 40M, 1.5k, 200."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Write a wall time: 45 s, 12 min, 2.3 h."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _places(series: Series, axis: Axis) -> Array | None:
    places = series.env_frames if axis == "frames" else series.seconds
    if places is None or not len(places) or not np.isfinite(places).all():
        return None
    return places


def _at_budget(series: Series, at: At, target: float) -> Reading:
    places = _places(series, at.axis)
    if places is None:
        missing = "wall time was" if at.axis == "seconds" else "frames were"
        return Reading(None, "at_budget", reason=f"{series.source}: {missing} not recorded")
    shown = duration if at.axis == "seconds" else (lambda value: f"{quantity(value)} frames")
    near = np.abs(places - target) <= WINDOW * target
    if places[0] <= target <= places[-1]:
        if series.reports and near.any():
            return _mean(series, near, f"{series.source}, mean of {near.sum()} within 2% of {shown(target)}")
        return _interpolated(series, places, target, f"{series.source}, interpolated at {shown(target)}")
    if not series.reports and near.any():
        index = int(np.argmin(np.abs(places - target)))
        return _at_point(series, index, "at_budget", f"{series.source} at {shown(float(places[index]))}")
    span = f"{shown(float(places[0]))} to {shown(float(places[-1]))}"
    reason = f"{series.source}: has scores from {span}, none at {shown(target)}"
    return Reading(None, "at_budget", reason=reason)


def _at_point(series: Series, index: int, point: ScorePoint, taken: str) -> Reading:
    return Reading(
        float(series.score[index]), point, float(series.env_frames[index]),
        _finite(None if series.seconds is None else series.seconds[index]),
        _finite(None if series.spread is None else series.spread[index]), taken,
    )  # fmt: skip


def _mean(series: Series, rows: NDArray[np.bool_], taken: str) -> Reading:
    def mean(values: Array | None) -> float | None:
        return None if values is None else _finite(values[rows].mean())

    return Reading(
        float(series.score[rows].mean()), "at_budget", mean(series.env_frames), mean(series.seconds),
        mean(series.spread), taken,
    )  # fmt: skip


def _interpolated(series: Series, places: Array, target: float, taken: str) -> Reading:
    def value(values: Array | None) -> float | None:
        return None if values is None else _finite(np.interp(target, places, values))

    return Reading(
        value(series.score), "at_budget", value(series.env_frames), value(series.seconds),
        value(series.spread), taken,
    )  # fmt: skip


def _finite(value: float | np.floating | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
