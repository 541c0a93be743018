"""Errors of runs: each says what, where and what next. The CLI words them in one place."""

from __future__ import annotations

from rlx.errors import EvaluationAbandonedError, NonFiniteLossError, RlxError

__all__ = [
    "EvaluationAbandonedError",
    "MirrorError",
    "MirrorUsageError",
    "NoCheckpointError",
    "NonFiniteLossError",
    "RlxError",
    "RunDirectoryError",
    "RunExistsError",
    "RunLockedError",
    "RunNotFoundError",
    "RunSpecChangedError",
]


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


class MirrorError(RlxError):
    """The bucket that keeps a copy of runs refuses, or cannot be reached.

    Attributes:
        code: S3's word for it, e.g. `AccessDenied`; empty if it was never asked.
    """

    def __init__(self, what: str, where: str = "", next: str = "", code: str = "") -> None:
        super().__init__(what, where, next)
        self.code = code

    @property
    def absent(self) -> bool:
        """Whether it says that an object is not there."""
        return self.code in ("404", "NoSuchKey")


class MirrorUsageError(RlxError):
    """What was given is no place for a copy of runs."""


class NoCheckpointError(RlxError):
    """A checkpoint is needed and no valid one is there."""
