"""Aggregates of one set of scores over games, as fractions: 1.0 is the human score.

Plain numbers of one agent, without numpy, so that listing references stays quick. Scores of several seeds,
and intervals, are in `rlx/evaluation/statistics.py`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from rlx.reference.atari import Rounding, games


@dataclass(frozen=True)
class Aggregates:
    """What a set of human-normalised scores comes to.

    Attributes:
        num_games: games that have a score.
        median_hns, mean_hns: over those games; None when there are none.
        capped_mean_hns: mean after clipping each game to 0..1.  Source: [Agent57] section 4.
        p5_hns: 5th percentile, interpolated linearly; None for fewer than two games.
        games_above_human: games at or above 1.
    """

    num_games: int
    median_hns: float | None
    mean_hns: float | None
    capped_mean_hns: float | None
    p5_hns: float | None
    games_above_human: int


def normalise(scores: Mapping[str, float | None], baselines: Rounding = "one_decimal") -> dict[str, float]:
    """Return the human-normalised score of each game that has a score and a baseline.

    Args:
        scores: raw scores by ALE name; None is a missing cell.
        baselines: which random and human scores; `nature2015` lacks eight games.
    """
    found: dict[str, float] = {}
    for game in games():
        score, baseline = scores.get(game.name), game.baselines.get(baselines)
        if score is not None and baseline is not None:
            found[game.name] = baseline.normalise(score)
    return found


def aggregate(scores: Mapping[str, float | None], baselines: Rounding = "one_decimal") -> Aggregates:
    """Aggregate raw scores over the games that have one."""
    values = list(normalise(scores, baselines).values())
    return Aggregates(
        num_games=len(values),
        median_hns=statistics.median(values) if values else None,
        mean_hns=statistics.fmean(values) if values else None,
        capped_mean_hns=statistics.fmean(min(max(v, 0.0), 1.0) for v in values) if values else None,
        p5_hns=statistics.quantiles(values, n=20, method="inclusive")[0] if len(values) > 1 else None,
        games_above_human=sum(value >= 1.0 for value in values),
    )
