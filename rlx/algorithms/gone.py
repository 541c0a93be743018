"""Saying of a process that Ray has given up, and why."""

from __future__ import annotations

from rlx.errors import ProcessGoneError


def last_line(error: BaseException) -> str:
    """Return the last line of an error: of a remote one, the exception itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def gone_error(
    name: str, restarts_allowed: bool, max_restarts: int, error: BaseException | None = None
) -> ProcessGoneError:
    """Say which process is gone and why it was not started again.

    Args:
        name: of the process.
        restarts_allowed, max_restarts: the settings.
        error: what Ray said, if that is known.
    """
    if error is not None and getattr(error, "actor_init_failed", False):
        reason = f"could not be started again: {last_line(error)}"
    elif not restarts_allowed:
        reason = "restarts are switched off"
    else:
        reason = f"fault_tolerance.max_restarts ({max_restarts}) is used up"
    return ProcessGoneError(
        f"{name} died and {reason}",
        next="see train.log for why; resume from the last checkpoint, with more restarts if that is wanted",
    )


def overdue_error(name: str, limit_seconds: float) -> ProcessGoneError:
    """Say which process has been away for too long, with every node there."""
    return ProcessGoneError(
        f"{name} did not come back within {limit_seconds:g} s (fault_tolerance.startup_timeout_seconds), "
        "though no node is gone",
        next="see train.log for why; resume from the last checkpoint",
    )
