"""The rate limiter: holds learned samples to a ratio of inserted env steps."""

from __future__ import annotations

import math
from typing import Any


class RateLimiter:
    """Count env steps in and samples out, and say which side may go on.

    With I env steps inserted and L samples learned, the samples owed are ``ratio * (I - min_env_steps) - L``.

    - The learner may take a batch when at least a whole batch is owed. So L never exceeds
      ``ratio * (I - min_env_steps)``, and the last batch is at most one batch behind it.
    - Runners may insert while at most ``max(tolerance * ratio * min_env_steps, 2 * largest batch)`` samples
      are owed; the largest batch is the largest that `may_learn` or `learn` was given. Before the warm-up
      ends they always may. What they have under way when they are stopped still comes in: the samples owed
      may exceed the bound by ratio times that.

    When runners may not insert, more than two batches are owed, so the learner may learn: none waits forever.
    Over a run ``L / (I - min_env_steps)`` is below the ratio by at most what is owed over the env steps.

    With ``ratio=None`` both run free; the learner only waits for `min_env_steps`.

    Args:
        ratio: samples learned per env step inserted; None is free.
        min_env_steps: env steps before the learner starts.
        tolerance: lead of the runners as a share of the samples that `min_env_steps` would give.

    Raises:
        ValueError: a negative or zero ratio, or a negative count or tolerance.

    Source: [Reverb] section 3.4 (rate limiters) for the idea; the bounds are ours.
    """

    def __init__(self, ratio: float | None, min_env_steps: int, tolerance: float = 0.1) -> None:
        if ratio is not None and not (ratio > 0.0 and math.isfinite(ratio)):
            raise ValueError(f"ratio is {ratio}, must be positive or None")
        if min_env_steps < 0 or not (tolerance >= 0.0 and math.isfinite(tolerance)):
            raise ValueError("min_env_steps and tolerance must not be negative")
        self.ratio = ratio
        self.min_env_steps = min_env_steps
        self.tolerance = tolerance
        self._inserted_env_steps = 0
        self._learned_samples = 0
        self._largest_batch = 0

    @property
    def inserted_env_steps(self) -> int:
        """Env steps inserted so far."""
        return self._inserted_env_steps

    @property
    def learned_samples(self) -> int:
        """Samples learned so far."""
        return self._learned_samples

    @property
    def owed_samples(self) -> float:
        """Samples that may still be learned for what came in; without a ratio infinite after warm-up."""
        after_start = self._inserted_env_steps - self.min_env_steps
        if self.ratio is None:
            return math.inf if after_start >= 0 else -math.inf
        return self.ratio * after_start - self._learned_samples

    @property
    def measured_ratio(self) -> float:
        """Samples learned per env step inserted after the start; 0 before it."""
        after_start = self._inserted_env_steps - self.min_env_steps
        return self._learned_samples / after_start if after_start > 0 else 0.0

    def insert(self, env_steps: int) -> None:
        """Count env steps that came in."""
        if env_steps < 0:
            raise ValueError(f"env_steps is {env_steps}")
        self._inserted_env_steps += env_steps

    def learn(self, samples: int) -> None:
        """Count samples that were taken to learn from."""
        if samples < 0:
            raise ValueError(f"samples is {samples}")
        self._largest_batch = max(self._largest_batch, samples)
        self._learned_samples += samples

    def may_insert(self) -> bool:
        """Tell whether runners may go on."""
        if self.ratio is None or self._inserted_env_steps < self.min_env_steps:
            return True
        lead = max(self.tolerance * self.ratio * self.min_env_steps, 2.0 * self._largest_batch)
        return self.owed_samples <= lead

    def may_learn(self, batch: int) -> bool:
        """Tell whether the learner may take `batch` samples."""
        self._largest_batch = max(self._largest_batch, batch)
        if self._inserted_env_steps < self.min_env_steps:
            return False
        # A ratio such as 1/3 must not cost one more env step for a rounding error.
        slack = 1e-9 * max(1.0, self._learned_samples)
        return self.owed_samples + slack >= batch

    def get_state(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "inserted_env_steps": self._inserted_env_steps,
            "learned_samples": self._learned_samples,
            "largest_batch": self._largest_batch,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the result of `get_state`."""
        self._inserted_env_steps = int(state["inserted_env_steps"])
        self._learned_samples = int(state["learned_samples"])
        self._largest_batch = int(state["largest_batch"])

    def check_valid(self) -> None:
        """Raise RuntimeError if more was learned than the ratio allows, or both sides would wait."""
        if min(self._inserted_env_steps, self._learned_samples, self._largest_batch) < 0:
            raise RuntimeError("rate limiter: a count is negative")
        if not self.may_insert() and not self.may_learn(self._largest_batch):
            raise RuntimeError("rate limiter: neither side may go on")
