"""The live panel of a run in a terminal."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rlx.runs.stopping import Progress
from rlx.runs.view import Pace, RunContext

_BARS = "▁▂▃▄▅▆▇█"


class LiveView:
    """Redraw one panel: progress, return curve, speeds, replay, waiting, checkpoint, events.

    Args:
        console: a terminal's console.
        refresh_per_second: how often it is drawn; low, because it shares the machine with the run.
    """

    def __init__(self, console: Console | None = None, refresh_per_second: float = 2.0) -> None:
        self._console = console if console is not None else Console()
        self._refresh = refresh_per_second
        self._live: Live | None = None
        self._context: RunContext | None = None
        self._pace = Pace({})
        self._progress: Progress | None = None
        self._row: dict[str, Any] = {}
        self._returns: list[float] = []
        self._evaluation = ""
        self._checkpoint = ("none yet", 0.0)
        self._events: deque[tuple[str, str, str]] = deque(maxlen=5)
        self._began = time.monotonic()
        self._row_at = self._began

    def start(self, context: RunContext) -> None:
        """Begin to draw."""
        self._context = context
        self._pace = Pace(context.stop)
        self._began = self._row_at = time.monotonic()
        self._live = Live(
            console=self._console,
            get_renderable=self.render,
            refresh_per_second=self._refresh,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def update(self, row: Mapping[str, Any]) -> None:
        """Take a row."""
        self._row = dict(row)
        self._row_at = time.monotonic()
        self._progress = self._pace.add(row)
        value = row.get("return_mean")
        if value is not None and math.isfinite(value):
            self._returns.append(float(value))
        if row.get("evaluation_return_mean") is not None:
            mean, std = row["evaluation_return_mean"], row.get("evaluation_return_std") or 0.0
            self._evaluation = f"{mean:.2f} ± {std:.2f} at {quantity(row.get('env_steps'))} steps"

    def event(self, level: str, text: str) -> None:
        """Add a line to the newest events; warnings stay on the screen above the panel as well."""
        self._events.append((time.strftime("%H:%M:%S"), level, text))
        if level == "warning":
            self._console.print(Text(f"warning: {text}", style="yellow"), soft_wrap=True)

    def checkpoint(self, name: str) -> None:
        """Remember the newest checkpoint."""
        self._checkpoint = (name, time.monotonic())

    def finish(self, result: Any) -> None:
        """Draw for the last time and leave the panel on the screen."""
        if self._live is not None:
            self._events.append((time.strftime("%H:%M:%S"), "info", f"{result.state}: {result.reason}"))
            self._live.stop()
            self._live = None

    def render(self) -> RenderableType:
        """Return the panel as it is now."""
        context = self._context
        title = "" if context is None else f"{context.algorithm} · {context.env} · seed {context.seed}"
        subtitle = "" if context is None else str(context.path)
        if not self._row:
            waited = clock(time.monotonic() - self._began)
            body: list[RenderableType] = [
                Text(f"building the engine and filling the first iteration … {waited}")
            ]
        else:
            body = [self._bar(), self._curve(), self._figures()]
        return Panel(
            Group(*body, *self._event_lines()),
            title=Text(title),
            subtitle=Text(subtitle, style="dim"),
            # Room for the `^C` that a terminal echoes where the cursor is: a wrapped line spoils the picture.
            width=max(20, self._console.width - 4),
        )

    def _bar(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True, justify="right")
        elapsed = f"{clock(self._row.get('seconds') or 0.0)} elapsed"
        where = self._progress
        if where is None:
            grid.add_row("no stop condition reached yet", "", elapsed)
            return grid
        eta = "" if where.eta_seconds is None else f", {clock(where.eta_seconds)} to go"
        text = f"{where.condition} {quantity(where.value)} / {quantity(where.limit)}"
        bar = ProgressBar(total=1.0, completed=where.fraction)
        grid.add_row(text, bar, f"{100 * where.fraction:.1f}%  {elapsed}{eta}")
        return grid

    def _curve(self) -> RenderableType:
        width = max(10, self._console.width - 50)
        newest = f"{self._returns[-1]:.2f}" if self._returns else "no episode finished yet"
        line = f"return {newest:>8}  {sparkline(self._returns, width)}"
        if self._returns:
            line += f"  [{min(self._returns):.4g} … {max(self._returns):.4g}]"
        return Text(line, no_wrap=True, overflow="ellipsis")

    def _figures(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        for _ in range(4):
            grid.add_column(no_wrap=True)
        row = self._row
        pairs = [
            ("speed", f"{_rate(row, 'env_steps')} steps/s · {_rate(row, 'env_frames')} frames/s"),
            ("learner", f"{_rate(row, 'updates')} updates/s · loss {_real(row, 'loss', '.4g')}"),
            ("replay", f"{_percent(row, 'replay_fill')} full · {quantity(row.get('replay_env_steps'))}"),
            ("replay ratio", f"{_real(row, 'replay_ratio', '.3g')} of {_target(row)} samples/step"),
            ("policy lag", f"{_real(row, 'policy_lag_updates', '.1f')} updates"),
            ("data age", f"{quantity(row.get('sample_age_env_steps'))} env steps"),
            ("waiting", f"runners {_percent(row, 'runner_wait_fraction')} for the learner · learner "
             f"{_percent(row, 'learner_wait_fraction')} for data"),
            ("runners", f"{quantity(row.get('healthy_runners'))} healthy · "
             f"{quantity(row.get('restarted_runners'))} restarted"),
            ("evaluation", self._evaluation or "none yet"),
            ("checkpoint", self._checkpoint_text()),
        ]  # fmt: skip
        columns = 2 if self._console.width >= 110 else 1
        for index in range(0, len(pairs), columns):
            cells: list[RenderableType] = []
            for name, text in pairs[index : index + columns]:
                cells += [Text(name, style="bold cyan"), Text(text)]
            grid.add_row(*cells)
        return grid

    def _checkpoint_text(self) -> str:
        name, at = self._checkpoint
        return name if not at else f"{name} ({clock(time.monotonic() - at)} ago)"

    def _event_lines(self) -> list[RenderableType]:
        styles = {"warning": "yellow", "info": "dim"}
        return [
            Text(f"{at} {text}", style=styles.get(level, ""), no_wrap=True, overflow="ellipsis")
            for at, level, text in list(self._events)
        ]


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw values as bars, oldest left; more values than `width` are averaged in equal groups."""
    if not values or width < 1:
        return ""
    count = min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    groups = [values[start:end] for start, end in itertools.pairwise(edges)]
    means = [sum(group) / len(group) for group in groups]
    low, high = min(means), max(means)
    if high == low:
        return _BARS[0] * count
    top = len(_BARS) - 1
    return "".join(_BARS[round((mean - low) / (high - low) * top)] for mean in means)


def clock(seconds: float) -> str:
    """Word a duration: `42s`, `3:05`, `2:03:05`, `3d 2h`."""
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 86_400:
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 86_400}d {whole // 3600 % 24}h"


def quantity(value: float | int | None) -> str:
    """Word a count: `950`, `12.3k`, `4.56M`."""
    if value is None or not math.isfinite(value):
        return "-"
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= factor:
            scale = 1e3 if letter == "k" else factor
            return f"{value / scale:.3g}{letter}" if value / scale < 1000 else f"{value / scale:.0f}{letter}"
    return f"{value:.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.2f}"


def _rate(row: Mapping[str, Any], key: str) -> str:
    return quantity(row.get(f"{key}_per_second"))


def _real(row: Mapping[str, Any], key: str, form: str) -> str:
    value = row.get(key)
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def _percent(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.0f}%"


def _target(row: Mapping[str, Any]) -> str:
    return _real(row, "replay_ratio_target", ".3g") if row.get("replay_ratio_target") else "free"
