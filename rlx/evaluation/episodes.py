"""What whole episodes of one policy say: how sure of their mean return one can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlx.evaluation.statistics import bootstrap, mean


def mean_interval(
    returns: Sequence[float], rng: np.random.Generator, *, confidence: float = 0.95, resamples: int = 2000
) -> tuple[float, float]:
    """Return a percentile bootstrap interval of the mean return of one policy's episodes.

    It is about the episodes alone: how another training run would do, it cannot say.

    Args:
        returns: of each episode, at least two.
        rng: draws the samples.
        confidence: in (0, 1).
        resamples: how many samples of the episodes, with replacement.

    Raises:
        ValueError: fewer than two episodes.
    """
    values = np.asarray(returns, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"an interval needs at least two episodes, there are {len(values)}")
    found = bootstrap(values[:, None], {"mean": mean}, rng, resamples=resamples, confidence=confidence)[
        "mean"
    ]
    return float(found.low), float(found.high)
