"""The scores of the runs themselves: over seeds, and all of one kind, so that they can share a column."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from rlx.compare.budget import At, Reading, Series
from rlx.compare.errors import MixedProtocolsError
from rlx.compare.matching import describe_differences, read_own
from rlx.compare.subject import Agent, Subject
from rlx.reference.atari import Baseline, find_game

TRAINING = "training return"


@dataclass(frozen=True)
class SeedScore:
    """The score of one seed, or the reason why it has none."""

    seed: int | None
    path: str
    score: float | None
    env_frames: float | None
    seconds: float | None
    taken: str
    reason: str


@dataclass(frozen=True)
class Score:
    """A score over seeds.

    Attributes:
        score: mean over the seeds that have one; None if none has.
        spread: standard deviation over them (population); None for fewer than two.
        hns: human-normalised, as a fraction; None outside the 57 games.
        seeds: seeds that have a score.
        env_frames, seconds: means over them.
        taken: which score this is.
        reason: why it is missing, or which seeds lack it.
        per_seed: each seed.
    """

    score: float | None
    spread: float | None
    hns: float | None
    seeds: int
    env_frames: float | None
    seconds: float | None
    taken: str
    reason: str
    per_seed: tuple[SeedScore, ...]


@dataclass(frozen=True)
class OwnRow:
    """The score of an agent on one environment.

    Attributes:
        kind: which of its scores this is.
        protocol: how it was measured, in words.
        comparable: whether all agents on this game were measured in this way.
    """

    agent: str
    env: str
    game: str | None
    kind: str
    protocol: str
    comparable: bool
    score: Score


def baseline(game: str | None) -> Baseline | None:
    """Return the random and human scores of a game, to one decimal; None outside the 57."""
    return None if game is None else find_game(game).baseline


def over_seeds(
    runs: Sequence[Subject], readings: Sequence[Reading], game: str | None, advice: Sequence[str] = ()
) -> Score:
    """Put the readings of several seeds together."""
    found = [reading for reading in readings if reading.score is not None]
    values = [reading.score for reading in found if reading.score is not None]
    mean = statistics.fmean(values) if values else None
    scale = baseline(game)
    return Score(
        score=mean,
        spread=statistics.pstdev(values) if len(values) > 1 else None,
        hns=None if mean is None or scale is None else scale.normalise(mean),
        seeds=len(values),
        env_frames=_mean([reading.env_frames for reading in found]),
        seconds=_mean([reading.seconds for reading in found]),
        taken=found[0].taken if found else "",
        reason="; ".join(dict.fromkeys((*_lacking(runs, readings), *filter(None, advice)))),
        per_seed=tuple(
            SeedScore(
                run.seed, str(run.path), reading.score, reading.env_frames, reading.seconds, reading.taken,
                reading.reason,
            )
            for run, reading in zip(runs, readings, strict=True)
        ),
    )  # fmt: skip


def own_rows(agents: Sequence[Agent], at: At, *, allow_mixed: bool) -> list[OwnRow]:
    """Return a row per agent and environment, all with the same kind of score.

    Evaluations come before training returns where every run has them.

    Raises:
        MixedProtocolsError: agents on one game were measured in different ways, and that is not allowed.
    """
    kind = _common_kind([subject for agent in agents for subject in agent.subjects], at)
    mixed = _mixed(agents, kind)
    if mixed and not allow_mixed:
        (name, words), *_ = mixed.items()
        raise MixedProtocolsError(
            f"runs on {name} were measured in different ways ({words})",
            next="--allow-mixed shows them, each with its protocol",
        )
    rows = []
    for agent in agents:
        for env, runs in agent.runs.items():
            series = [_of_kind(run, kind) for run in runs]
            readings = [_read(run, one, at, kind) for run, one in zip(runs, series, strict=True)]
            game = runs[0].game
            words = next((one.protocol.words for one in series if one is not None), "")
            comparable = (game or env) not in mixed
            rows.append(
                OwnRow(agent.name, env, game, kind, words, comparable, over_seeds(runs, readings, game))
            )
    return rows


def _common_kind(subjects: Sequence[Subject], at: At) -> str:
    """Return the kind of score that most runs have at this point; of several, the first in their order."""
    kinds = dict.fromkeys(_kind(series) for subject in subjects for series in subject.series)

    def having(kind: str) -> int:
        readings = [_read(subject, _of_kind(subject, kind), at, kind) for subject in subjects]
        return sum(reading.score is not None for reading in readings)

    order = [*(kind for kind in kinds if kind != TRAINING), TRAINING]
    return max(order, key=having)


def _mixed(agents: Sequence[Agent], kind: str) -> dict[str, str]:
    """Return what differs between agents, by game."""
    by_game: dict[str, list[Series]] = {}
    for agent in agents:
        for env, runs in agent.runs.items():
            found = [series for run in runs if (series := _of_kind(run, kind)) is not None]
            by_game.setdefault(runs[0].game or env, []).extend(found)
    mixed: dict[str, str] = {}
    for name, all_series in by_game.items():
        for one, other in combinations(all_series, 2):
            differences = describe_differences(one.protocol, other.protocol)
            if differences:
                mixed.setdefault(name, "; ".join(differences))
    return mixed


def _read(subject: Subject, series: Series | None, at: At, kind: str) -> Reading:
    if series is None:
        return Reading(None, at.point, reason=f"there is no score of this kind ({kind})")
    return read_own(subject, series, at)


def _kind(series: Series) -> str:
    return TRAINING if series.reports else series.source


def _of_kind(subject: Subject, kind: str) -> Series | None:
    return next((series for series in subject.series if _kind(series) == kind), None)


def _lacking(runs: Sequence[Subject], readings: Sequence[Reading]) -> list[str]:
    """Say why seeds have no score: one sentence for those that share a reason."""
    by_reason: dict[str, list[str]] = {}
    for run, reading in zip(runs, readings, strict=True):
        if reading.score is None:
            by_reason.setdefault(reading.reason, []).append(_seed(run))
    return [f"{', '.join(seeds)}: {reason}" for reason, seeds in by_reason.items()]


def _seed(run: Subject) -> str:
    return f"seed {run.seed}" if run.seed is not None else run.path.name


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None
