"""Which of a run's scores may stand beside a published one: the one that was measured in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rlx.compare.budget import BEST, FINAL, WINDOW, At, Reading, Series, at_frames, at_seconds, quantity, read
from rlx.compare.rlx_run import score_protocol
from rlx.compare.subject import Subject
from rlx.evaluation.protocols import PROTOCOLS
from rlx.reference.curves import curve
from rlx.reference.reference import Reference, ScoreProtocol

Missing = Literal["", "protocol", "value"]

#: How scores of `rlx evaluate --protocol NAME` are measured on Atari.
_EVALUABLE = {
    name: score_protocol(played.changes, "evaluation", played.title)
    for name, played in PROTOCOLS.items()
    if "atari" in played.families
}
_FIELDS = {
    "start": "start",
    "noop_max": "most no-ops",
    "sticky_action_probability": "sticky actions",
    "max_episode_frames": "episode cap in frames",
    "score_kind": "kind of score",
    "score_point": "best or final",
}


@dataclass(frozen=True)
class Match:
    """The score of a run that fits, or why none does.

    Attributes:
        reading: the score; that of the series that comes nearest where none fits.
        protocol: how it was measured, with its point.
        missing: `protocol` if no score was measured in the same way, `value` if one was, but not here.
        differences: `field: ours, theirs` in words.
        advice: a command that would make the score; empty if there is none.
    """

    reading: Reading
    protocol: ScoreProtocol | None
    missing: Missing = ""
    differences: tuple[str, ...] = ()
    advice: str = ""


def find_match(subject: Subject, wanted: ScoreProtocol, at: At) -> Match:
    """Find the score of a run that was measured as `wanted` says, and read it.

    Args:
        subject: a run.
        wanted: a protocol; what it leaves open fits everything.
        at: where to read; `wanted.score_point` must be the same point, or open.

    Returns:
        The first score that fits, in the order of `subject.series`.
    """
    fits = [series for series in subject.series if not _differs(series.protocol, wanted)]
    found = [(series, read_own(subject, series, at)) for series in fits]
    best = next((pair for pair in found if pair[1].score is not None), found[0] if found else None)
    if best is None:
        return _nearest(subject, wanted, at)
    series, reading = best
    own = replace(series.protocol, score_point=reading.point)
    differences = describe_differences(own, wanted)
    if differences:
        return Match(reading, own, "protocol", differences)
    # At a budget no command helps unless a checkpoint happens to be there.
    helps = reading.score is None and at.point != "at_budget"
    advice = command(subject, wanted, at) if helps else ""
    return Match(reading, own, "value" if reading.score is None else "", advice=advice)


def read_own(subject: Subject, series: Series, at: At) -> Reading:
    """Read a series of a run; an evaluation of an early checkpoint is not its final score."""
    reading = read(series, at, subject.frames_per_step)
    end = subject.env_frames
    reached = reading.env_frames
    if at.point != "final" or series.reports or reached is None or not end:
        return reading
    if reached >= (1.0 - WINDOW) * end:
        return reading
    reason = f"{series.source}: the newest is at {quantity(reached)} of {quantity(end)} frames"
    return Reading(None, "final", reason=reason)


def at_of(reference: Reference) -> At:
    """Return the point at which a reference's scores were read."""
    point, budget = reference.protocol.score_point, reference.budget
    if point == "best":
        return BEST
    if point == "at_budget" and budget.env_frames is not None:
        return at_frames(budget.env_frames)
    if point == "at_budget" and budget.seconds is not None:
        return at_seconds(budget.seconds)
    return FINAL


def reference_curve(reference: Reference, game: str) -> Series | None:
    """Return the learning curve of a reference as a series; None if it has none."""
    found = curve(reference, game)
    if found is None:
        return None
    open_point = replace(reference.protocol, score_point="unstated")
    return Series(
        "its curve", open_point, found.env_frames, found.seconds, found.score_mean, found.score_std,
        reports=reference.kind == "rllib",
    )  # fmt: skip


def read_reference(reference: Reference, game: str, at: At | None) -> tuple[Reading, ScoreProtocol]:
    """Read a reference's score on a game, and say how it was measured.

    Args:
        reference: a published result.
        game: ALE name.
        at: None for the score that it publishes. A point is read on its curve if it has one; the published
            score stands for it where that was made at this very budget.

    Returns:
        The score or why there is none, and its protocol with the point at which it was read.
    """
    protocol = reference.protocol
    published = _published(reference, game)
    if at is None or at.point == protocol.score_point:
        same = at is None or at.point != "at_budget" or _same_budget(reference, at)
        if same:
            return published, protocol
    series = reference_curve(reference, game)
    if series is not None:
        reading = read(series, at or FINAL, 4)
        return reading, replace(protocol, score_point=reading.point)
    if at is None or at.point != "at_budget" or _same_budget(reference, at):
        return published, protocol
    reason = f"no learning curve; its score is at {reference.budget.words or 'a budget that is not stated'}"
    return Reading(None, at.point, reason=reason), replace(protocol, score_point=at.point)


def describe_differences(ours: ScoreProtocol, theirs: ScoreProtocol) -> tuple[str, ...]:
    """Return what two protocols do not share, as `field: ours, not theirs`."""
    return tuple(
        f"{_FIELDS[name]}: {getattr(ours, name)}, not {getattr(theirs, name)}"
        for name in ours.differences(theirs)
    )


def open_words(ours: ScoreProtocol, theirs: ScoreProtocol) -> tuple[str, ...]:
    """Return what one of two protocols leaves open, so that nobody knows whether it is equal."""
    names = dict.fromkeys((*ours.unknown(), *theirs.unknown()))
    noop = {ours.start, theirs.start} == {"noop"}
    return tuple(_FIELDS[name] for name in names if name != "noop_max" or noop)


def command(subject: Subject, wanted: ScoreProtocol, at: At) -> str:
    """Return the `rlx evaluate` that would make the score; empty if none would."""
    if subject.tool != "rlx" or subject.game is None:
        return ""
    point = replace(wanted, score_point="unstated")
    name = next((name for name, played in _EVALUABLE.items() if not played.differences(point)), "")
    if not name or wanted.score_kind != "evaluation":
        return ""
    which = "best" if at.point == "best" else "last"
    return f"rlx evaluate {subject.path} --protocol {name} --checkpoint {which}"


def _nearest(subject: Subject, wanted: ScoreProtocol, at: At) -> Match:
    """Return the score with the fewest differences, to be shown apart or refused."""
    if not subject.series:
        return Match(Reading(None, at.point, reason="the run has no score yet"), None, "value")
    series = min(subject.series, key=lambda series: len(_differs(series.protocol, wanted)))
    reading = read_own(subject, series, at)
    own = replace(series.protocol, score_point=reading.point)
    return Match(reading, own, "protocol", describe_differences(own, wanted), command(subject, wanted, at))


def _differs(own: ScoreProtocol, wanted: ScoreProtocol) -> Sequence[str]:
    return replace(own, score_point="unstated").differences(wanted)


def _published(reference: Reference, game: str) -> Reading:
    score = reference.scores.get(game)
    budget = reference.budget
    if score is None:
        few = reference.games
        there = f"; it has {', '.join(few)}" if len(few) < 8 else ""
        return Reading(None, reference.protocol.score_point, reason=f"no score of {game}{there}")
    return Reading(
        score, reference.protocol.score_point, budget.env_frames, budget.seconds,
        reference.spreads.get(game), f"published, {budget.words or 'budget not stated'}",
    )  # fmt: skip


def _same_budget(reference: Reference, at: At) -> bool:
    own = reference.budget.seconds if at.axis == "seconds" else reference.budget.env_frames
    target = at.on_axis(4)
    return own is not None and abs(own - target) <= WINDOW * target
