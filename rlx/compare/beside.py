"""Runs beside published results: a row per agent, environment and reference; the same at equal budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlx.compare.budget import At, Axis, Reading, at_frames, at_seconds, ends, read
from rlx.compare.errors import MixedProtocolsError
from rlx.compare.matching import (
    Match,
    at_of,
    describe_differences,
    find_match,
    open_words,
    read_reference,
    reference_curve,
)
from rlx.compare.scores import Score, baseline, over_seeds
from rlx.compare.subject import Agent, Subject
from rlx.compare.verdict import Verdict, judge
from rlx.reference.reference import Reference


@dataclass(frozen=True)
class Row:
    """An agent beside a reference on one game.

    Attributes:
        comparable: whether both were measured in the same way, as far as is known.
        differences: where they were not.
        unknown: what one of them leaves open.
        ours: the score that was taken of the runs.
        theirs: the reference's.
        reference_hns: human-normalised, as a fraction.
        frames_ratio: the reference's frames divided by ours; None where one is not known.
        verdict: None where something is missing or differs.
        notes: what other sources say of this cell.
    """

    agent: str
    env: str
    game: str
    reference: str
    comparable: bool
    differences: tuple[str, ...]
    unknown: tuple[str, ...]
    ours: Score
    theirs: Reading
    reference_hns: float | None
    frames_ratio: float | None
    verdict: Verdict | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BudgetRow:
    """An agent and a reference after the same training: `amount` frames, or seconds of wall time.

    Each hardware is that on which its seconds were measured; empty if not known.
    """

    agent: str
    env: str
    game: str
    reference: str
    axis: Axis
    amount: float
    comparable: bool
    ours: Score
    theirs: Reading
    reference_hns: float | None
    verdict: Verdict | None
    hardware: str
    reference_hardware: str


def rows_beside(
    agents: Sequence[Agent], references: Sequence[Reference], at: At | None, *, allow_mixed: bool
) -> list[Row]:
    """Return the rows of all references; environments outside the 57 games have none.

    Args:
        agents: what is compared.
        references: published results that were asked for.
        at: None reads each score as its reference does.
        allow_mixed: whether rows whose protocols differ are returned, marked, without a verdict.

    Raises:
        MixedProtocolsError: protocols differ and that is not allowed; says where, and what would help.
    """
    rows, refused = [], []
    for reference in references:
        for agent in agents:
            for env, runs in agent.runs.items():
                game = runs[0].game
                if game is None:
                    continue
                row, advice = _row(agent.name, env, game, runs, reference, at)
                rows.append(row)
                if not row.comparable:
                    refused.append((row, advice))
    if refused and not allow_mixed:
        raise _refusal(refused)
    return rows


def default_rows(
    agents: Sequence[Agent], references: Sequence[Reference], at: At | None
) -> tuple[list[Row], list[str]]:
    """Return the rows of those references that fit, and the names of those that do not."""
    rows = rows_beside(agents, references, at, allow_mixed=True)
    fitting = [row for row in rows if row.comparable and row.theirs.score is not None]
    kept = {row.reference for row in fitting if row.ours.score is not None}
    left_out = [reference.name for reference in references if reference.name not in kept]
    return [row for row in fitting if row.reference in kept], left_out


def equal_budgets(agents: Sequence[Agent], references: Sequence[Reference], at: At | None) -> list[BudgetRow]:
    """Return training scores of both at equal frames, and at equal wall time.

    The budget is `at` on its own axis, and otherwise the most that all seeds and the reference reached.
    """
    rows = []
    for reference in references:
        for agent in agents:
            for env, runs in agent.runs.items():
                rows.extend(_budget_rows(agent.name, env, runs, reference, at))
    return rows


def _row(
    agent: str, env: str, game: str, runs: Sequence[Subject], reference: Reference, at: At | None
) -> tuple[Row, list[str]]:
    theirs, wanted = read_reference(reference, game, at)
    matches = [find_match(run, wanted, at or at_of(reference)) for run in runs]
    fitting = [match for match in matches if match.missing != "protocol"]
    mixed = not fitting and theirs.score is not None
    advice = [match.advice for match in matches if match.advice]
    readings = [_usable(match, mixed) for match in matches]
    ours = over_seeds(runs, readings, game, [] if mixed or theirs.score is None else advice)
    protocol = next((match.protocol for match in fitting or matches if match.protocol is not None), None)
    differences = tuple(dict.fromkeys(text for match in matches for text in match.differences if mixed))
    row = Row(
        agent, env, game, reference.name, not mixed, differences,
        () if protocol is None else open_words(protocol, wanted), ours, theirs, _hns(game, theirs.score),
        _frames_ratio(ours, theirs), None if mixed else _verdict(game, ours, theirs), _notes(reference, game),
    )  # fmt: skip
    return row, advice


def _usable(match: Match, mixed: bool) -> Reading:
    """Leave out a seed that has no score of the kind that the others have."""
    if match.missing == "protocol" and not mixed:
        return Reading(
            None, match.reading.point, reason=f"measured otherwise ({'; '.join(match.differences)})"
        )
    return match.reading


def _refusal(refused: Sequence[tuple[Row, list[str]]]) -> MixedProtocolsError:
    parts: dict[str, None] = {}
    commands: dict[str, None] = {}
    for row, advice in refused:
        parts[f"{row.reference} ({'; '.join(row.differences)})"] = None
        commands.update(dict.fromkeys(advice))
    games = ", ".join(dict.fromkeys(row.env for row, _ in refused))
    make = f"{' and '.join(commands)} makes what fits, or " if commands else ""
    return MixedProtocolsError(
        f"measured otherwise than {', '.join(parts)}", games, f"{make}--allow-mixed shows them apart"
    )


def _budget_rows(
    agent: str, env: str, runs: Sequence[Subject], reference: Reference, at: At | None
) -> list[BudgetRow]:
    game = runs[0].game
    theirs = reference_curve(reference, game) if game is not None else None
    # A seed without a curve is named in the table of scores.
    runs = [run for run in runs if run.training is not None]
    own = [run.training for run in runs if run.training is not None]
    if game is None or theirs is None or not own:
        return []
    comparable = not any(describe_differences(one.protocol, theirs.protocol) for one in own)
    rows = []
    axes: tuple[Axis, ...] = ("frames", "seconds")
    for axis in axes:
        reached = [span for one in (*own, theirs) if (span := ends(one, axis)) is not None]
        point = _budget_point(axis, at, reached, runs[0].frames_per_step)
        readings = [read(one, point, run.frames_per_step) for run, one in zip(runs, own, strict=True)]
        score, found = over_seeds(runs, readings, game), read(theirs, point, 4)
        rows.append(
            BudgetRow(
                agent, env, game, reference.name, axis, point.amount, comparable, score, found,
                _hns(game, found.score), _verdict(game, score, found) if comparable else None,
                "; ".join(dict.fromkeys(run.hardware for run in runs if run.hardware)), reference.hardware,
            )
        )  # fmt: skip
    return rows


def _budget_point(axis: Axis, at: At | None, reached: Sequence[tuple[float, float]], per_step: int) -> At:
    make = at_seconds if axis == "seconds" else at_frames
    if at is not None and at.point == "at_budget" and at.axis == axis:
        return make(at.on_axis(per_step))
    return make(min((last for _, last in reached), default=0.0))


def _verdict(game: str, ours: Score, theirs: Reading) -> Verdict | None:
    scale = baseline(game)
    if scale is None or ours.score is None or theirs.score is None:
        return None
    return judge(ours.score, theirs.score, theirs.spread, scale)


def _frames_ratio(ours: Score, theirs: Reading) -> float | None:
    if not ours.env_frames or theirs.env_frames is None:
        return None
    return theirs.env_frames / ours.env_frames


def _hns(game: str, score: float | None) -> float | None:
    scale = baseline(game)
    return None if scale is None or score is None else scale.normalise(score)


def _notes(reference: Reference, game: str) -> tuple[str, ...]:
    others = tuple(
        f"{other.where}: {other.score:g}" for other in reference.other_scores if other.game == game
    )
    note = reference.cell_notes.get(game)
    return (*others, note) if note else others
