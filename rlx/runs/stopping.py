"""When a run is finished, how far it is, and when something periodic is due."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONDITIONS = ("env_steps", "env_frames", "updates", "seconds", "return_mean", "evaluation_return_mean")
_RETURNS = ("return_mean", "evaluation_return_mean")


@dataclass(frozen=True)
class Progress:
    """The condition nearest to its limit. `fraction` is in [0, 1]; `eta_seconds` is None if unknown."""

    condition: str
    value: float
    limit: float
    fraction: float
    eta_seconds: float | None


def limits(stop: Any) -> dict[str, float]:
    """Return the conditions that are set, from a `stop` section (model or mapping)."""
    given = stop if isinstance(stop, Mapping) else {key: getattr(stop, key, None) for key in CONDITIONS}
    return {key: float(value) for key in CONDITIONS if (value := given.get(key)) is not None}


def reached(stop: Mapping[str, float], row: Mapping[str, Any]) -> str | None:
    """Return the first condition that a row fulfils, as `name >= limit`, or None."""
    for key, limit in stop.items():
        value = row.get(key)
        if value is not None and not math.isnan(value) and value >= limit:
            return f"{key} >= {limit:g}" if limit != int(limit) else f"{key} >= {int(limit)}"
    return None


def progress(
    stop: Mapping[str, float], row: Mapping[str, Any], rates: Mapping[str, float] | None = None
) -> Progress | None:
    """Return how far a run is: the condition that will be reached first, else the one that is furthest.

    Args:
        stop: limit of each condition.
        row: the newest metrics.
        rates: growth per second of the counts; `seconds` is 1 of itself. Returns have none.
    """
    candidates = []
    for key, limit in stop.items():
        value = row.get(key)
        if value is None or math.isnan(value):
            continue
        fraction = min(1.0, max(0.0, value / limit)) if limit > 0 else float(value >= limit)
        rate = 1.0 if key == "seconds" else (rates or {}).get(key, 0.0)
        eta = max(0.0, limit - value) / rate if rate > 0 and key not in _RETURNS else None
        candidates.append(Progress(key, float(value), limit, fraction, eta))
    timed = [c for c in candidates if c.eta_seconds is not None]
    if timed:
        return min(timed, key=lambda c: c.eta_seconds or 0.0)
    return max(candidates, key=lambda c: c.fraction, default=None)


class Periodic:
    """Tell when something is due, by seconds or by env steps; whichever comes first.

    Env-step intervals are multiples of the interval, so that a resumed run acts at the same counts.

    Args:
        interval_seconds: None or 0 is never.
        interval_env_steps: None or 0 is never.
        now: the clock at the start.
        env_steps: the count at the start.
    """

    def __init__(
        self,
        interval_seconds: float | None,
        interval_env_steps: int | None,
        *,
        now: float,
        env_steps: int,
    ) -> None:
        self._seconds = interval_seconds or None
        self._steps = interval_env_steps or None
        self._last_time = now
        self._last_steps = env_steps

    def due(self, now: float, env_steps: int) -> bool:
        """Return whether an interval has passed since the last `mark`."""
        by_time = self._seconds is not None and now - self._last_time >= self._seconds
        by_steps = self._steps is not None and env_steps // self._steps > self._last_steps // self._steps
        return by_time or by_steps

    def mark(self, now: float, env_steps: int) -> None:
        """Remember that it was done, or tried."""
        self._last_time = now
        self._last_steps = env_steps
