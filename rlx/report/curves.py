"""Learning curves: those of the runs, over seeds, and those of references that were measured alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rlx.compare.budget import Array, Axis, Series
from rlx.compare.comparison import DEFAULT_REFERENCES
from rlx.compare.errors import MixedProtocolsError
from rlx.compare.matching import describe_differences, reference_curve
from rlx.compare.subject import Agent, Subject
from rlx.reference.catalog import find_reference
from rlx.reference.reference import Reference

AXES: tuple[Axis, ...] = ("frames", "seconds")


@dataclass(frozen=True, eq=False)
class Track:
    """One line of scores, `[n]` each, `x` not decreasing."""

    label: str
    x: Array
    y: Array


@dataclass(frozen=True, eq=False)
class Curve:
    """A learning curve of an agent or a reference.

    Attributes:
        name: the agent's or reference's.
        own: whether it is of a run that is looked at.
        mean: over seeds, where all of them have scores; the seed itself if there is one.
        spread: `[n]` standard deviation over seeds (population); None for one.
        seeds: each seed, if there are several and they are known.
        differences: how it was measured otherwise than the runs; empty if it was not, as far as is known.
        hardware: what its wall time was measured on; empty if not known.
    """

    name: str
    own: bool
    mean: Track
    spread: Array | None
    seeds: tuple[Track, ...] = ()
    differences: tuple[str, ...] = ()
    hardware: str = ""


@dataclass(frozen=True, eq=False)
class Panel:
    """All curves on one environment against one axis; none if nothing was recorded."""

    env: str
    axis: Axis
    curves: tuple[Curve, ...]


def panels(
    agents: Sequence[Agent], references: Sequence[Reference], *, allow_mixed: bool = False
) -> list[Panel]:
    """Return the panels of every environment, frames before wall time.

    Args:
        agents: what is looked at.
        references: published results; those without a curve on a game are left out there.
        allow_mixed: whether curves that were measured otherwise are shown, marked; else they are left out.
    """
    found = []
    for env in dict.fromkeys(env for agent in agents for env in agent.runs):
        runs = {agent.name: agent.runs[env] for agent in agents if env in agent.runs}
        for axis in AXES:
            own = [_own(name, members, axis) for name, members in runs.items()]
            theirs = [_reference(one, runs, axis) for one in references]
            shown = [curve for curve in (*own, *theirs) if curve is not None]
            kept = [curve for curve in shown if allow_mixed or not curve.differences]
            found.append(Panel(env, axis, tuple(kept)))
    return found


def references_to_draw(to: str | None) -> list[Reference]:
    """Return the references that are named, with commas, or those that `rlx compare` looks at by default."""
    names = DEFAULT_REFERENCES if to is None else [name.strip() for name in to.split(",") if name.strip()]
    return list(dict.fromkeys(find_reference(name) for name in names))


def refuse_mixed(agents: Sequence[Agent], references: Sequence[Reference]) -> None:
    """Refuse references that were asked for and whose curves were measured otherwise.

    Raises:
        MixedProtocolsError: with the differences.
    """
    for panel in panels(agents, references, allow_mixed=True):
        for curve in panel.curves:
            if curve.differences:
                raise MixedProtocolsError(
                    f"the curve of {curve.name} was measured otherwise ({'; '.join(curve.differences)})",
                    panel.env,
                    "--allow-mixed draws it, marked",
                )


def thin(x: Array, y: Array, columns: int = 240) -> tuple[Array, Array]:
    """Leave out points that a drawing of so many columns cannot show.

    Of each column the first, lowest, highest and last point stay, so that no peak is lost.

    Args:
        x, y: `[n]`, x not decreasing.

    Returns:
        The points that stay, `[m]` each.
    """
    if len(x) <= 4 * columns or x[-1] <= x[0]:
        return x, y
    column = np.minimum(((x - x[0]) / (x[-1] - x[0]) * columns).astype(int), columns - 1)
    starts = np.flatnonzero(np.r_[True, np.diff(column) > 0])
    kept: set[int] = set()
    for start, stop in zip(starts, np.r_[starts[1:], len(x)], strict=True):
        part = y[start:stop]
        kept |= {int(start), int(start + part.argmin()), int(start + part.argmax()), int(stop - 1)}
    order = sorted(kept)
    return x[order], y[order]


def _own(name: str, runs: Sequence[Subject], axis: Axis) -> Curve | None:
    tracks, hardware = [], []
    for run in runs:
        track = None if run.training is None else _track(run.training, axis, _seed(run))
        if track is not None:
            tracks.append(track)
            hardware.append(run.hardware)
    if not tracks:
        return None
    words = "; ".join(dict.fromkeys(filter(None, hardware)))
    if len(tracks) == 1:
        return Curve(name, True, tracks[0], None, hardware=words)
    mean, spread = over_seeds(tracks, name)
    return Curve(name, True, mean, spread, tuple(tracks), hardware=words)


def over_seeds(tracks: Sequence[Track], name: str) -> tuple[Track, Array | None]:
    """Return mean and standard deviation at the points of the first seed where all seeds have scores.

    Several points of one seed are joined by straight lines. Where the seeds share no stretch, the first one
    stands alone, without a spread.
    """
    low, high = max(track.x[0] for track in tracks), min(track.x[-1] for track in tracks)
    first = tracks[0].x
    x = first[(first >= low) & (first <= high)]
    if not len(x):
        return Track(name, first, tracks[0].y), None
    scores = np.array([np.interp(x, track.x, track.y) for track in tracks])
    return Track(name, x, scores.mean(axis=0)), scores.std(axis=0)


def _reference(reference: Reference, runs: Mapping[str, Sequence[Subject]], axis: Axis) -> Curve | None:
    members = [run for group in runs.values() for run in group]
    game = members[0].game
    series = reference_curve(reference, game) if game is not None else None
    track = None if series is None else _track(series, axis, reference.name)
    if series is None or track is None:
        return None
    own = [run.training.protocol for run in members if run.training is not None]
    differences = [text for protocol in own for text in describe_differences(protocol, series.protocol)]
    return Curve(
        reference.name, False, track, series.spread, differences=tuple(dict.fromkeys(differences)),
        hardware=reference.hardware,
    )  # fmt: skip


def _track(series: Series, axis: Axis, label: str) -> Track | None:
    places = series.env_frames if axis == "frames" else series.seconds
    if places is None or not len(places) or not np.isfinite(places).all():
        return None
    return Track(label, places, series.score)


def _seed(run: Subject) -> str:
    return run.path.name if run.seed is None else f"seed {run.seed}"
