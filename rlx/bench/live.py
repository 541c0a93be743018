"""What `rlx bench` shows while it measures: a bar for the figure in hand, a line for each that is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from rlx.bench.figure import Row


def line(row: Row) -> str:
    """Return one figure as text: value, limit, ratio, floor."""
    if row.value is None:
        return f"{row.name}: not measured"
    text = f"{row.name}: {row.value:,.4g} {row.unit}"
    if row.limit is not None and row.ratio is not None:
        text += f"; limit {row.limit:,.4g}, ratio {row.ratio:.3g}"
    if row.floor is not None:
        text += f", at least {row.floor:g}: {'ok' if row.ok else 'BELOW'}"
    return text


class LiveView:
    """Print on standard error, through a copy of it: libraries' own output goes to a file meanwhile.

    Args:
        figures: names, in the order of measurement.
    """

    def __init__(self, figures: Sequence[str]) -> None:
        self._stream = os.fdopen(os.dup(2), "w")
        self.console = Console(file=self._stream, highlight=False, soft_wrap=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=len(figures))
        self._done = 0

    def __enter__(self) -> LiveView:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._stream.close()

    def begin(self, name: str) -> None:
        """Show which figure is measured."""
        self._bar.update(self._task, description=name)
        if not self.console.is_terminal:
            self.say(f"measuring {name}")

    def progress(self, part: float) -> None:
        """Show how much of the present figure is done, in 0..1."""
        self._bar.update(self._task, completed=self._done + part)

    def end(self, rows: Sequence[Row]) -> None:
        """Print the rows of the present figure."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        for row in rows:
            colour = {True: "green", False: "red", None: "default"}[row.ok]
            self.console.print(line(row), style=colour)

    def say(self, text: str) -> None:
        """Print a remark."""
        self.console.print(f"  {text}", style="dim")
