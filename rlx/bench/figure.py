"""What a benchmark figure is, and how two things are compared in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Row:
    """One figure as measured; a row of `rlx bench --json`.

    Attributes:
        name: of the figure.
        value: measured, in `unit`; None if the measurement failed.
        unit: of `value` and `limit`.
        limit: what `value` is held against: the same measured on something else in the same run, or a number.
        ratio: how many times better than the limit; above 1 is better, whichever way the unit goes.
        floor: least `ratio` that is accepted; None: only recorded.
        ok: whether the floor is reached; None without a floor.
    """

    name: str
    value: float | None
    unit: str
    limit: float | None = None
    ratio: float | None = None
    floor: float | None = None
    ok: bool | None = None


def row(
    name: str,
    value: float,
    unit: str,
    *,
    limit: float | None = None,
    floor: float | None = None,
    less_is_better: bool = False,
) -> Row:
    """Make a row and decide whether it reaches its floor.

    Args:
        less_is_better: the ratio is limit / value instead of value / limit.
    """
    ratio = None
    if limit is not None:
        ratio = limit / value if less_is_better else value / limit
    ok = None if ratio is None or floor is None else ratio >= floor
    return Row(name, value, unit, limit, ratio, floor, ok)


def failed(name: str, floor: float | None) -> Row:
    """Make the row of a figure that could not be measured."""
    return Row(name, None, "", None, None, floor, False)


#: Does work for about so many seconds; returns how much of it per second.
Rate = Callable[[float], float]


@dataclass(frozen=True)
class Budget:
    """How long to measure.

    Attributes:
        rounds: how often each side of a comparison has its turn; the median counts.
        slice_seconds: length of a turn.
        warm_up_seconds: of each side before the first turn, not counted.
        quick: sizes (replay, batches) may be cut as well: the figures only show that everything runs.
    """

    rounds: int
    slice_seconds: float
    warm_up_seconds: float
    quick: bool = False

    def scaled(self, rounds: float = 1.0, seconds: float = 1.0) -> Budget:
        """Return a budget of other lengths; a quick one stays as it is."""
        if self.quick:
            return self
        return Budget(
            max(1, round(self.rounds * rounds)), self.slice_seconds * seconds, self.warm_up_seconds * seconds
        )


FULL = Budget(rounds=5, slice_seconds=3.0, warm_up_seconds=2.0)
QUICK = Budget(rounds=1, slice_seconds=0.1, warm_up_seconds=0.0, quick=True)


@dataclass(frozen=True)
class Context:
    """What every figure is given.

    Attributes:
        budget: how long to measure.
        device: what the figures of the GPU path run on.
        progress: called with a number in 0..1 while a figure is measured.
        say: prints a remark.
    """

    budget: Budget
    device: Device
    progress: Callable[[float], None]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Figure:
    """A named measurement that gives one or more rows.

    Attributes:
        name: of its first row; `--only` selects by the beginning of it.
        measure: does it.
        floor: of its first row, for when it fails.
        device: the `--device` that it belongs to.
        names: of all its rows.
    """

    name: str
    measure: Callable[[Context], Iterator[Row]]
    floor: float | None = None
    device: Device = "cpu"
    more_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all its rows."""
        return (self.name, *self.more_names)


def medians(sides: list[Rate], budget: Budget, progress: Callable[[float], None]) -> list[float]:
    """Measure several rates in turns (A B A B ...), so that what the machine does meets all alike.

    Args:
        sides: each works for about the seconds that it is given and returns a rate.
        budget: rounds and lengths.
        progress: told how much is done.

    Returns:
        The median rate of each side.
    """
    if budget.warm_up_seconds:
        for side in sides:
            side(budget.warm_up_seconds)
    found: list[list[float]] = [[] for _ in sides]
    for turn in range(budget.rounds):
        for index, side in enumerate(sides):
            found[index].append(side(budget.slice_seconds))
            progress((turn * len(sides) + index + 1) / (budget.rounds * len(sides)))
    return [statistics.median(rates) for rates in found]


def repeated(work: Callable[[], float]) -> Rate:
    """Turn a piece of work, which returns how much it was, into a rate: it is repeated until time is up."""

    def rate(seconds: float) -> float:
        started = time.perf_counter()
        amount = 0.0
        while True:
            amount += work()
            elapsed = time.perf_counter() - started
            if elapsed >= seconds:
                return amount / elapsed

    return rate
