"""Telling a process that Ray has given up from one that it is starting again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray

from rlx.errors import ProcessGoneError


def gone(answers: Mapping[str, Any], timeout_seconds: float = 0.2) -> list[str]:
    """Return the names of the actors that are dead for good.

    Args:
        answers: name -> reference of a call just made. Ray holds back a call to an actor that is starting
            again, and answers one to an actor that is out of restarts with `ActorDiedError` at once.
        timeout_seconds: how long to wait for all of them.
    """
    if not answers:
        return []
    references = list(answers.values())
    ready, _ = ray.wait(references, num_returns=len(references), timeout=timeout_seconds)
    return [name for name, reference in answers.items() if reference in ready and _died(reference)]


def _died(reference: Any) -> bool:
    try:
        ray.get(reference)
    except ray.exceptions.ActorDiedError:
        return True
    except ray.exceptions.RayError:
        return False
    return False


def gone_error(
    name: str, restarts_allowed: bool, max_restarts: int, error: BaseException | None = None
) -> ProcessGoneError:
    """Say which process is gone and why it was not started again.

    Args:
        name: of the process.
        restarts_allowed, max_restarts: the settings.
        error: what Ray said, if that is known.
    """
    if getattr(error, "actor_init_failed", False):
        last = [line.strip() for line in str(error).splitlines() if line.strip()][-1:]
        reason = f"could not be started again: {' '.join(last)}"
    elif not restarts_allowed:
        reason = "restarts are switched off"
    else:
        reason = f"fault_tolerance.max_restarts ({max_restarts}) is used up"
    return ProcessGoneError(
        f"{name} died and {reason}",
        next="see train.log for why; resume from the last checkpoint, with more restarts if that is wanted",
    )
