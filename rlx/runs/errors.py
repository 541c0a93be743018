"""Errors of runs: each says what, where and what next. The CLI words them in one place."""

from __future__ import annotations

from rlx.errors import EvaluationAbandonedError, NonFiniteLossError, RlxError

__all__ = [
    "EvaluationAbandonedError",
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


class NoCheckpointError(RlxError):
    """A checkpoint is needed and no valid one is there."""
