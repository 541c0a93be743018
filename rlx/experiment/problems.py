"""Errors of an experiment: where, what, and what next; all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Location:
    """Where a value was given: a place in a file, an option of the command line, or a preset.

    `line` and `column` count from 1 and are 0 where there is no file.
    """

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        location: where the value was given.
        path: dotted path in the experiment, "" for the whole of it.
        message: what is wrong.
        hint: what to do about it, "" if there is nothing to say.
    """

    location: Location
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = str(self.location)
        # "--set training.lr" names the path already.
        named = not self.path or where.endswith(f" {self.path}")
        head = where if named else f"{where}: {self.path}"
        return f"{head}: {self.message}" + (f"; {self.hint}" if self.hint else "")

    @property
    def file(self) -> str:
        """The file, option or preset."""
        return self.location.source

    @property
    def line(self) -> int:
        """Line from 1, 0 if there is none."""
        return self.location.line

    @property
    def column(self) -> int:
        """Column from 1, 0 if there is none."""
        return self.location.column


class ExperimentError(Exception):
    """An experiment that cannot be run, with every problem found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(
            sorted(
                dict.fromkeys(problems), key=lambda p: (p.location.line == 0, p.location, p.path, p.message)
            )
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))
