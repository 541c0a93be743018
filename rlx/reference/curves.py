"""Learning curves of references: Dopamine's over five seeds, RLlib's raw runs with wall time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rlx.reference.atari import find_game
from rlx.reference.catalog import find_reference
from rlx.reference.errors import UnknownGameError
from rlx.reference.reference import Reference
from rlx.reference.rllib import FRAMES_PER_STEP
from rlx.reference.tables import Row, read_table

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """A learning curve of n points, read-only.

    Attributes:
        reference: name of the reference.
        game: ALE name.
        env_frames: `[n]` emulator frames, increasing.
        seconds: `[n]` wall time since the start; None where it was not recorded.
        score_mean: `[n]` mean training return, over runs where there are several.
        score_std: `[n]` standard deviation over runs (population); None for one run.
        num_runs: independent runs behind each point.
        hardware: what `seconds` were measured on; empty if not known.
    """

    reference: str
    game: str
    env_frames: Array
    seconds: Array | None
    score_mean: Array
    score_std: Array | None
    num_runs: int
    hardware: str


def curve(reference: str | Reference, game: str) -> Curve | None:
    """Return the learning curve of a reference on a game; None if it has none.

    Several runs are interpolated linearly at the points of the first, up to where the shortest ends. A result
    at a budget has the curve of its whole run.

    Args:
        reference: a reference or its name.
        game: any spelling that `find_game` takes, or one of the five games beside the 57 that Dopamine has.

    Raises:
        UnknownReferenceError, UnknownGameError: no such name.
    """
    found = find_reference(reference) if isinstance(reference, str) else reference
    name = _game_name(game)
    if found.kind == "dopamine":
        rows = _dopamine().get((found.runs[0], name))
        return None if rows is None else _dopamine_curve(found, name, rows)
    runs = [run for key, run in _rllib().items() if key[0] in found.runs and key[1] == name]
    return _mean_of_runs(found, name, runs) if runs else None


def games_with_curves(reference: str | Reference) -> tuple[str, ...]:
    """Return the games of which a reference has a curve, sorted."""
    found = find_reference(reference) if isinstance(reference, str) else reference
    table = _dopamine() if found.kind == "dopamine" else _rllib()
    return tuple(sorted({game for run, game in table if run in found.runs}))


def _game_name(text: str) -> str:
    try:
        return find_game(text).name
    except UnknownGameError:
        others = {game for _, game in _dopamine()}
        bare = text.removeprefix("ALE/").split("NoFrameskip")[0].split("-v")[0]
        if bare in others:
            return bare
        raise


def _dopamine_curve(reference: Reference, game: str, points: Array) -> Curve:
    frames, mean, std, seeds = points
    return Curve(reference.name, game, frames, None, mean, std, int(seeds.min()), reference.hardware)


def _mean_of_runs(reference: Reference, game: str, runs: list[Array]) -> Curve:
    frames, seconds, score = runs[0]
    std = None
    if len(runs) > 1:
        frames = _frozen(frames[frames <= min(run[0][-1] for run in runs)])
        seconds = _frozen(np.mean([np.interp(frames, run[0], run[1]) for run in runs], axis=0))
        scores = np.array([np.interp(frames, run[0], run[2]) for run in runs])
        score, std = _frozen(scores.mean(axis=0)), _frozen(scores.std(axis=0))
    return Curve(reference.name, game, frames, seconds, score, std, len(runs), reference.hardware)


@cache
def _dopamine() -> dict[tuple[str, str], Array]:
    """Map (agent, game) to `[4, n]`: frames, mean, standard deviation, seeds."""
    columns = ("frames_millions", "score_mean", "score_std_over_seeds", "n_seeds")
    found = _group(read_table("curves_dopamine.csv.gz"), ("agent", "game"), columns)
    return {key: _frozen(points * [[1e6], [1.0], [1.0], [1.0]]) for key, points in found.items()}


@cache
def _rllib() -> dict[tuple[str, str], Array]:
    """Map (run id, game) to `[3, n]`: frames, seconds, score."""
    columns = ("timesteps", "wall_s", "episode_reward_mean")
    rows = [row for row in read_table("curves_rllib.csv.gz") if row["episode_reward_mean"]]
    found = _group(rows, ("run_id", "env"), columns)
    scale = [[float(FRAMES_PER_STEP)], [1.0], [1.0]]
    return {(run, find_game(env).name): _frozen(points * scale) for (run, env), points in found.items()}


def _group(
    rows: Iterable[Row], key: tuple[str, str], columns: tuple[str, ...]
) -> dict[tuple[str, str], Array]:
    """Collect columns by key as `[columns, n]`, in order of the first column."""
    points: dict[tuple[str, str], list[list[float]]] = {}
    for row in rows:
        points.setdefault((row[key[0]], row[key[1]]), []).append([float(row[column]) for column in columns])
    return {name: np.array(sorted(values)).T for name, values in points.items()}


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array
