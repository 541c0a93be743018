"""What a run shows while it trains: a live panel in a terminal, plain `key=value` lines elsewhere."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from rlx.runs.stopping import Progress, progress

log = logging.getLogger(__name__)

_COUNTS = ("env_steps", "env_frames", "updates")


@dataclass(frozen=True)
class RunContext:
    """What is known before the first row. `stop` has the limit of each condition."""

    path: Path
    algorithm: str
    env: str
    seed: int
    stop: Mapping[str, float] = field(default_factory=dict)


class View(Protocol):
    """What the loop tells whoever watches."""

    def start(self, context: RunContext) -> None:
        """A session begins; the engine is not built yet."""

    def update(self, row: Mapping[str, Any]) -> None:
        """A row was recorded."""

    def event(self, level: str, text: str) -> None:
        """Something happened (`info` or `warning`)."""

    def checkpoint(self, name: str) -> None:
        """A checkpoint was committed."""

    def finish(self, result: Any) -> None:
        """The session has ended."""


class NullView:
    """Show nothing."""

    def start(self, context: RunContext) -> None:
        """Ignore it."""

    def update(self, row: Mapping[str, Any]) -> None:
        """Ignore it."""

    def event(self, level: str, text: str) -> None:
        """Ignore it."""

    def checkpoint(self, name: str) -> None:
        """Ignore it."""

    def finish(self, result: Any) -> None:
        """Ignore it."""


class SteadyView:
    """Pass everything on to a view until it fails (a closed terminal or pipe); training goes on."""

    def __init__(self, view: View) -> None:
        self._view: View | None = view

    def start(self, context: RunContext) -> None:
        """Pass it on."""
        self._call("start", context)

    def update(self, row: Mapping[str, Any]) -> None:
        """Pass it on."""
        self._call("update", row)

    def event(self, level: str, text: str) -> None:
        """Pass it on."""
        self._call("event", level, text)

    def checkpoint(self, name: str) -> None:
        """Pass it on."""
        self._call("checkpoint", name)

    def finish(self, result: Any) -> None:
        """Pass it on."""
        self._call("finish", result)

    def _call(self, method: str, *arguments: Any) -> None:
        if self._view is None:
            return
        try:
            getattr(self._view, method)(*arguments)
        except Exception as error:
            self._view = None
            log.warning("the view failed and is off", exc_info=error)


class Pace:
    """Progress of a session: the rate of each count since its first row, and the way to the stop."""

    def __init__(self, stop: Mapping[str, float]) -> None:
        self._stop = stop
        self._rows: deque[Mapping[str, Any]] = deque(maxlen=30)

    def add(self, row: Mapping[str, Any]) -> Progress | None:
        """Take a row; where the run stands."""
        self._rows.append(row)
        return progress(self._stop, row, self.rates())

    def rates(self) -> dict[str, float]:
        """Return counts per second over the newest rows."""
        first, last = self._rows[0], self._rows[-1]
        seconds = (last.get("seconds") or 0.0) - (first.get("seconds") or 0.0)
        if seconds <= 0:
            return {key: float(last.get(f"{key}_per_second") or 0.0) for key in _COUNTS}
        return {key: ((last.get(key) or 0) - (first.get(key) or 0)) / seconds for key in _COUNTS}


class PlainView:
    """Write one line of `key=value` pairs per row; events are lines that start with `#`.

    Args:
        stream: where to; standard output if None.
        interval_seconds: at most one line in so many seconds (0: every row). Rows with an evaluation always.
    """

    # One text is easier to read than a list of seventeen literals.
    KEYS = (  # noqa: SIM905
        "seconds env_steps env_frames updates episodes return_mean env_steps_per_second "
        "env_frames_per_second "
        "updates_per_second replay_fill replay_ratio policy_lag_updates sample_age_env_steps "
        "runner_wait_fraction learner_wait_fraction loss evaluation_return_mean"
    ).split()

    def __init__(self, stream: IO[str] | None = None, interval_seconds: float = 0.0) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._interval = interval_seconds
        self._last = -math.inf
        self._pace = Pace({})
        self._lock = threading.Lock()

    def start(self, context: RunContext) -> None:
        """Say what begins."""
        self._pace = Pace(context.stop)
        stop = " ".join(f"stop.{key}={number(limit)}" for key, limit in context.stop.items())
        self._line(
            f"# start run={context.path} algorithm={context.algorithm} env={context.env} seed={context.seed}"
            f" {stop}"
        )

    def update(self, row: Mapping[str, Any]) -> None:
        """Write the row's line."""
        where = self._pace.add(row)
        now = time.monotonic()
        if now - self._last < self._interval and row.get("evaluation_return_mean") is None:
            return
        self._last = now
        parts = [f"{key}={number(row[key])}" for key in self.KEYS if row.get(key) is not None]
        if where is not None:
            parts.append(f"progress={where.fraction:.4f}")
            if where.eta_seconds is not None:
                parts.append(f"eta_seconds={where.eta_seconds:.0f}")
        self._line(" ".join(parts))

    def event(self, level: str, text: str) -> None:
        """Write the event's line."""
        self._line(f"# {level}: {text}")

    def checkpoint(self, name: str) -> None:
        """Its event says it."""

    def finish(self, result: Any) -> None:
        """Say how it ended."""
        self._line(f"# end state={result.state} checkpoint={result.checkpoint or '-'} reason={result.reason}")

    def _line(self, text: str) -> None:
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()


def number(value: Any) -> str:
    """Word a number for a machine: integers whole, floats with six digits."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    return str(value)
