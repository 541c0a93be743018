"""What whole episodes of one policy say: mean return and how sure of it one can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mean_interval(
    returns: Sequence[float], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return a percentile bootstrap interval of the mean return of one policy's episodes.

    It is about the episodes alone: how another training run would do, it cannot say.

    Args:
        returns: of each episode, at least two.
        confidence: in (0, 1).
        resamples: how many samples of the episodes, with replacement.
        seed: of the resampling.

    Raises:
        ValueError: fewer than two episodes.
    """
    values = np.asarray(returns, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"an interval needs at least two episodes, there are {len(values)}")
    picks = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(values[picks].mean(axis=1), [tail, 1.0 - tail])
    return float(low), float(high)
