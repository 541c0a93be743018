"""Errors of runs: each says what, where and what next. The CLI words them in one place."""

from __future__ import annotations


class RlxError(Exception):
    """Say what went wrong, where, and what to do next.

    Args:
        what: one sentence, without a full stop at the end.
        where: the file, run or field it is about; empty if there is none.
        next: what the user can do; empty if there is nothing to suggest.
    """

    def __init__(self, what: str, where: str = "", next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.next = next

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.next}" if self.next else text

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.what, self.where, self.next))


class RunExistsError(RlxError):
    """A run directory is already there and `if_exists` is `fail`."""


class RunLockedError(RlxError):
    """Another process is training in this run directory."""


class RunNotFoundError(RlxError):
    """No run of this name."""


class RunSpecChangedError(RlxError):
    """A run is to be resumed with a spec that would make its two halves incomparable."""


class RunDirectoryError(RlxError):
    """The run directory cannot be read or written."""


class NoCheckpointError(RlxError):
    """A checkpoint is needed and no valid one is there."""


class NonFiniteLossError(RlxError):
    """The loss or a gradient became NaN or infinite. Raised by the engine; ends the run."""
