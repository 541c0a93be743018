"""Scales: from values to places on an axis, and the round values at which an axis has ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

#: Unit of a wall time -> its seconds, the longest first.
TIME_UNITS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
#: An axis of time is in the longest unit of which it has at least so many.
_ENOUGH = 1.5


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high` drawn between two places.

    Attributes:
        low, high: values at its ends; above 0 if `log`.
        start, end: places of the ends, in units of the drawing.
        log: whether equal distances are equal ratios.
        ticks: values that are labelled.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value is, beyond the ends too; on a log scale all below `low` is at the low end."""
        if self.log:
            if value <= self.low:
                return self.start
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def linear(values: Iterable[float], start: float, end: float, ticks: int = 5, *, zero: bool = False) -> Scale:
    """Return a linear scale that holds all values: ticks at round values, ends at quarters between them.

    Args:
        values: finite; none gives 0 to 1.
        start, end: places of the ends.
        ticks: about so many steps.
        zero: whether 0 is on the scale in any case.
    """
    found = [*values, *([0.0] if zero else [])] or [0.0, 1.0]
    low, high = min(found), max(found)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = 0.5 * abs(low) or 0.5
        low, high = low - half, high + half
    step = round_step((high - low) / ticks)
    quarter = step / 4
    first, last = math.floor(low / quarter + 1e-9), math.ceil(high / quarter - 1e-9)
    return exact(first * quarter, last * quarter, start, end, ticks)


def exact(low: float, high: float, start: float, end: float, ticks: int = 5) -> Scale:
    """Return a linear scale whose ends are `low` and `high`, with ticks at round values between them."""
    if high <= low:
        return linear([low], start, end, ticks)
    step = round_step((high - low) / ticks)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounded, because 3 times 0.1 is not 0.3.
    ticks_at = tuple(float(f"{index * step:.12g}") for index in range(first, last + 1))
    return Scale(low, high, start, end, ticks_at)


def decades(values: Iterable[float], start: float, end: float, *, floor: float = 0.01) -> Scale:
    """Return a log scale over whole powers of ten that holds 1 and all values of at least `floor`.

    At most seven powers are labelled, 1 among them.
    """
    found = [1.0, *(value for value in values if value >= floor)]
    first, last = math.floor(math.log10(min(found)) + 1e-9), math.ceil(math.log10(max(found)) - 1e-9)
    last += first == last
    powers = range(first, last + 1)
    every = math.ceil(len(powers) / 7)
    ticks = tuple(10.0**power for power in powers if power % every == 0)
    return Scale(10.0**first, 10.0**last, start, end, ticks, log=True)


def round_step(rough: float) -> float:
    """Return the 1, 2 or 5 times a power of ten that is next above `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * size for size in (1.0, 2.0, 5.0, 10.0) if power * size >= rough * (1.0 - 1e-9))


def tick_text(value: float) -> str:
    """Write the value of a tick: 0.25, 400, 2.5k, 40M."""
    size = abs(value)
    for factor, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= factor:
            return f"{_plain(value / factor)}{letter}"
    return _plain(value)


def value_text(value: float) -> str:
    """Write a score with three digits at least, without an exponent: 0.05, 1.52, 14.4, 1933."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def time_unit(longest: float) -> tuple[str, float]:
    """Return the unit in which a time of so many seconds reads well, and its seconds."""
    return next(
        ((name, size) for name, size in TIME_UNITS.items() if longest >= _ENOUGH * size), ("seconds", 1.0)
    )


def _plain(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:.6g}"
