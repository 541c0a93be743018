"""The errors that more than one part of rlx raises or catches. Imports nothing.

Errors of one part stand in that part: `rlx.runs.errors`, `rlx.envs.errors`, `rlx.experiment.problems`.
"""

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


class EvaluationAbandonedError(RlxError):
    """Episodes that were being played are given up, because somebody asked for a stop. They count nowhere."""


class NonFiniteLossError(RlxError):
    """The loss or a gradient became NaN or infinite. Raised by a learner; ends the run."""


class CheckpointError(RlxError):
    """The state of a learner could not be written or read."""


class NeverStartedError(RlxError):
    """A process of the run failed while it started, or found no room within the time for it. Ends the run."""


class ProcessGoneError(RlxError):
    """A process of the run died and may not be started again. Ends the run."""
