"""Aggregates over games with intervals over seeds, performance profiles, and which agent is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

import numpy as np

from rlx.compare.beside import Row
from rlx.compare.budget import Array
from rlx.compare.scores import OwnRow, Score, baseline
from rlx.evaluation import statistics as stats

#: Name -> statistic of a matrix of human-normalised scores.
STATISTICS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "median_hns": stats.median,
        "mean_hns": stats.mean,
        "iqm_hns": stats.interquartile_mean,
        "capped_mean_hns": stats.capped_mean,
        "p5_hns": stats.fifth_percentile,
        "games_above_human": stats.games_above_human,
    }
)
#: Where a performance profile is read, in fractions of the human score.
THRESHOLDS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)

Generator = np.random.Generator


@dataclass(frozen=True)
class Estimate:
    """A value, and the ends of its 95% interval over seeds; None where seeds cannot say."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Aggregate:
    """What the scores over some games come to.

    Attributes:
        of: the agent or reference.
        agent: the agent that it belongs to.
        beside: the reference with which the games are shared; empty for all games of the agent.
        games: ALE names.
        seeds: per game; None where games differ, or a reference does not say.
        values: name of the statistic -> estimate.
        reason: why there are no intervals; empty if there are.
    """

    of: str
    agent: str
    beside: str
    games: tuple[str, ...]
    seeds: int | None
    values: Mapping[str, Estimate]
    reason: str


@dataclass(frozen=True)
class ProfilePoint:
    """The fraction of an agent's runs x games above a threshold."""

    agent: str
    threshold: float
    fraction: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Improvement:
    """The probability that `agent` scores above `other` on a game; ties count half."""

    agent: str
    other: str
    envs: tuple[str, ...]
    probability: Estimate | None
    reason: str


def aggregates(own: Sequence[OwnRow], beside: Sequence[Row], rng: Generator) -> list[Aggregate]:
    """Return the aggregates of each agent over its games, and of both sides over the games shared.

    Games without a score are left out, and so is what was measured otherwise than its reference.
    """
    found = []
    for agent in dict.fromkeys(row.agent for row in own):
        rows = {
            row.game: row.score
            for row in own
            if row.agent == agent and row.game and row.score.hns is not None
        }
        if rows:
            found.append(_aggregate(agent, agent, "", rows, rng))
    for agent, reference in dict.fromkeys((row.agent, row.reference) for row in beside):
        shared = [
            row
            for row in beside
            if (row.agent, row.reference) == (agent, reference)
            and row.comparable
            and row.ours.hns is not None
            and row.reference_hns is not None
        ]
        if shared:
            found.append(_aggregate(agent, agent, reference, {row.game: row.ours for row in shared}, rng))
            found.append(_of_reference(agent, reference, shared))
    return found


def profiles(own: Sequence[OwnRow], rng: Generator) -> list[ProfilePoint]:
    """Return the performance profile of each agent over its games; bands need two seeds of every game."""
    found: list[ProfilePoint] = []
    for agent in dict.fromkeys(row.agent for row in own):
        scores = {row.game: row.score for row in own if row.agent == agent and row.score.hns is not None}
        if not scores:
            continue
        matrix, _ = _matrix(scores)
        if len(matrix) < 2:
            fractions = stats.performance_profile(matrix, THRESHOLDS)
            found += [
                ProfilePoint(agent, tau, float(value), None, None)
                for tau, value in zip(THRESHOLDS, fractions, strict=True)
            ]
            continue
        profile = stats.profile_with_bands(matrix, THRESHOLDS, rng)
        found += [ProfilePoint(agent, *map(float, point)) for point in zip(*profile, strict=True)]
    return found


def improvements(own: Sequence[OwnRow], rng: Generator) -> list[Improvement]:
    """Compare each pair of agents over the environments that both have, in raw scores."""
    agents = list(dict.fromkeys(row.agent for row in own))
    return [_improvement(one, other, own, rng) for one, other in combinations(agents, 2)]


def _aggregate(of: str, agent: str, beside: str, scores: Mapping[str, Score], rng: Generator) -> Aggregate:
    matrix, reason = _matrix(scores)
    if reason:
        values = {name: Estimate(float(statistic(matrix))) for name, statistic in STATISTICS.items()}
    else:
        intervals = stats.bootstrap(matrix, STATISTICS, rng)
        values = {name: Estimate(*intervals[name]) for name in STATISTICS}
    counts = {score.seeds for score in scores.values()}
    seeds = counts.pop() if len(counts) == 1 else None
    return Aggregate(of, agent, beside, tuple(scores), seeds, values, reason)


def _of_reference(agent: str, reference: str, shared: Sequence[Row]) -> Aggregate:
    matrix = np.array([[row.reference_hns for row in shared]], dtype=np.float64)
    values = {name: Estimate(float(statistic(matrix))) for name, statistic in STATISTICS.items()}
    games = tuple(row.game for row in shared)
    return Aggregate(reference, agent, reference, games, None, values, "single seeds are not published")


def _matrix(scores: Mapping[str | None, Score] | Mapping[str, Score]) -> tuple[Array, str]:
    """Return human-normalised scores `[seeds, games]`, and why they allow no interval.

    Where games have different numbers of seeds, the matrix has one row, the means.
    """
    columns = []
    for game, score in scores.items():
        scale = baseline(game)
        values = [seed.score for seed in score.per_seed if seed.score is not None]
        columns.append([scale.normalise(value) for value in values] if scale is not None else values)
    return _rectangle(columns)


def _rectangle(columns: Sequence[Sequence[float]]) -> tuple[Array, str]:
    counts = {len(column) for column in columns}
    if len(counts) > 1:
        means = np.array([[float(np.mean(column)) for column in columns]])
        low, high = min(counts), max(counts)
        return means, f"games have different numbers of seeds ({low} to {high}): no interval"
    matrix = np.array(columns, dtype=np.float64).T
    reason = "one seed: an interval over seeds needs two or more" if len(matrix) < 2 else ""
    return matrix, reason


def _improvement(one: str, other: str, own: Sequence[OwnRow], rng: Generator) -> Improvement:
    tables = [
        {row.env: row for row in own if row.agent == name and row.comparable and row.score.score is not None}
        for name in (one, other)
    ]
    envs = tuple(env for env in tables[0] if env in tables[1])
    if not envs:
        return Improvement(one, other, (), None, "no environment that both have comparable scores of")
    columns = [
        [[s.score for s in table[env].score.per_seed if s.score is not None] for env in envs]
        for table in tables
    ]
    (x, why_x), (y, why_y) = (_rectangle(side) for side in columns)
    if why_x or why_y:
        point = float(stats.probability_of_improvement(x, y))
        return Improvement(one, other, envs, Estimate(point), why_x or why_y)
    return Improvement(one, other, envs, Estimate(*stats.bootstrap_improvement(x, y, rng)), "")
