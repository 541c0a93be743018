"""Read results of other tools: `progress.csv` and `result.json` of RLlib and Tune, and CSVs by columns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rlx.compare.budget import Series
from rlx.compare.errors import CompareError, CompareUsageError
from rlx.compare.records import Row, last_known, number, points, read_csv_rows, read_json_rows
from rlx.compare.subject import Subject
from rlx.reference.atari import find_game
from rlx.reference.errors import UnknownGameError, did_you_mean
from rlx.reference.reference import ScoreKind, ScoreProtocol

RESULT_FILES = ("result.json", "progress.csv")
COLUMNS = ("frames", "steps", "seconds", "score", "seed")

# Newer names first: a file of the old API stack has the old ones only.
_SCORES = (
    "env_runners/episode_return_mean",
    "env_runners/episode_reward_mean",
    "sampler_results/episode_reward_mean",
    "episode_reward_mean",
)
_STEPS = (
    "num_env_steps_sampled_lifetime",
    "env_runners/num_env_steps_sampled_lifetime",
    "timesteps_total",
    "num_env_steps_sampled",
)
_SECONDS = ("time_total_s",)
_VERSION = re.compile(r"-v(\d+)$")


def parse_columns(text: str) -> dict[str, str]:
    """Parse `frames=column,score=column`.

    Raises:
        CompareUsageError: an unknown name, or neither frames nor steps, or no score.
    """
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = part.partition("=")
        if not equals or not column or name not in COLUMNS:
            hint = did_you_mean(name, COLUMNS) or f"write NAME=COLUMN; names are {', '.join(COLUMNS)}"
            raise CompareUsageError(f"{part!r} names no column", "--columns", hint)
        found[name] = column
    if "score" not in found or not {"frames", "steps"} & set(found):
        raise CompareUsageError(
            "a curve needs a score and its frames or steps", "--columns", "e.g. --columns steps=t,score=r"
        )
    return found


def read_rllib(path: Path, game: str | None = None) -> Subject:
    """Read a trial of RLlib or Tune.

    Args:
        path: its directory, or `progress.csv` or `result.json` itself.
        game: environment id or game, where `params.json` does not say.

    Raises:
        CompareError: a file is damaged, or lacks the columns.
        CompareUsageError: the environment is not known.
    """
    file = path if path.is_file() else next(path / name for name in RESULT_FILES if (path / name).is_file())
    rows = _flat_rows(file)
    params = _params(file.parent, rows)
    env = str(game or params.get("env") or "")
    if not env:
        raise CompareUsageError("which environment this is of is not recorded", str(file), "give --game")
    keys = [_column(rows, names, file, what) for names, what in ((_STEPS, "steps"), (_SCORES, "returns"))]
    scale = frames_per_step(env)
    seconds = _present(rows, _SECONDS)
    table = [
        (number(row, keys[0], file) * scale, _seconds(row, seconds, file), number(row, keys[1], file))
        for row in rows
    ]
    config = {key: value for key, value in params.items() if key not in ("env", "seed", "env_config")}
    folder = file.resolve().parent
    name = folder.parent.name if (folder / "params.json").exists() and folder.parent.name else folder.name
    seed = params.get("seed")
    words = f"{keys[1]} of training episodes, exploration included; starts and cap not recorded"
    notes = (f"frames are {scale} x {keys[0]}",) if scale > 1 else ()
    return _subject(
        path, "rllib", name, env, table, json.dumps(config, sort_keys=True, default=str),
        _protocol(env, "training", words), seed if isinstance(seed, int) else None, notes,
    )  # fmt: skip


def read_csv(path: Path, columns: Mapping[str, str], game: str | None) -> list[Subject]:
    """Read a table by the names of its columns; a `seed` column makes one run per seed.

    Raises:
        CompareError: it is damaged, or lacks a column.
        CompareUsageError: no game is given.
    """
    if not game:
        raise CompareUsageError("a CSV does not say which environment it is of", str(path), "give --game")
    rows = read_csv_rows(path)
    for column in columns.values():
        if rows and column not in rows[0].cells:
            there = ", ".join(rows[0].cells)
            hint = did_you_mean(column, rows[0].cells) or f"there are: {there}"
            raise CompareError(f"no column {column!r}", str(path), hint)
    seeds = dict.fromkeys(
        number(row, columns["seed"], path) if "seed" in columns else math.nan for row in rows
    )
    if "seed" not in columns:
        return [_csv_subject(path, rows, columns, game, None)]
    return [
        _csv_subject(
            path,
            [row for row in rows if number(row, columns["seed"], path) == seed],
            columns,
            game,
            int(seed),
        )
        for seed in seeds
        if not math.isnan(seed)
    ]


def frames_per_step(env: str) -> int:
    """Return 4 on Atari, where other tools skip 4 frames, and 1 elsewhere."""
    return 4 if _atari_game(env) is not None else 1


def _csv_subject(
    path: Path, rows: Sequence[Row], columns: Mapping[str, str], game: str, seed: int | None
) -> Subject:
    scale = 1 if "frames" in columns else frames_per_step(game)
    count = columns.get("frames") or columns["steps"]
    table = [
        (
            number(row, count, path) * scale,
            _seconds(row, columns.get("seconds"), path),
            number(row, columns["score"], path),
        )
        for row in rows
    ]
    for earlier, later in pairwise(row[0] for row in table):
        if later < earlier:
            raise CompareError(
                f"{count} goes back from {earlier:g} to {later:g}: several runs in one table?",
                str(path),
                "name the column that tells them apart, seed=COLUMN",
            )
    words = f"column {columns['score']!r}; how it was measured is not recorded"
    protocol = _protocol(game, "unstated", words)
    return _subject(path, "csv", path.stem, game, table, "", protocol, seed, ())


def _subject(
    path: Path,
    tool: Any,
    name: str,
    env: str,
    table: Sequence[tuple[float, float, float]],
    settings: str,
    protocol: ScoreProtocol,
    seed: int | None,
    notes: tuple[str, ...],
) -> Subject:
    curve = Series(
        "training return" if tool == "rllib" else "its score", protocol, *points(table), reports=True
    )
    if not len(curve.score):
        raise CompareError("no row has a score and a count of steps", str(path), "nothing to compare yet")
    return Subject(
        path=path, tool=tool, name=name, algorithm="", env=env, game=_atari_game(env), seed=seed,
        frames_per_step=frames_per_step(env), settings=settings, series=(curve,),
        env_frames=last_known(table, 0), seconds=last_known(table, 1), notes=notes,
    )  # fmt: skip


def _protocol(env: str, kind: ScoreKind, words: str) -> ScoreProtocol:
    """Return what an id says of the protocol: sticky actions; starts and cap were the wrapper's choice."""
    sticky = None
    version = _VERSION.search(env)
    if _atari_game(env) is not None and version is not None:
        sticky = 0.0 if version[1] == "4" else 0.25
    return ScoreProtocol("unstated", None, sticky, None, kind, "unstated", words)


def _atari_game(env: str) -> str | None:
    """Return the game of an id or of a bare name; MinAtar's and other environments have none."""
    try:
        return find_game(env).name
    except UnknownGameError:
        return None


def _flat_rows(file: Path) -> list[Row]:
    if file.suffix == ".csv":
        return read_csv_rows(file)
    return [Row(row.line, _flat(row.cells)) for row in read_json_rows(file)]


def _flat(cells: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in cells.items():
        if isinstance(value, Mapping) and key != "config":
            found.update(_flat(value, f"{prefix}{key}/"))
        else:
            found[f"{prefix}{key}"] = value
    return found


def _params(folder: Path, rows: Sequence[Row]) -> dict[str, Any]:
    file = folder / "params.json"
    if file.is_file():
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CompareError(
                f"damaged ({error})", str(file), "give --game and take the file away"
            ) from None
        return found if isinstance(found, dict) else {}
    config = rows[0].cells.get("config") if rows else None
    return dict(config) if isinstance(config, Mapping) else {}


def _present(rows: Sequence[Row], names: Sequence[str]) -> str | None:
    """Return the first name that some row has a value of."""
    empty = (None, "", "nan")
    return next((name for name in names if any(row.cells.get(name) not in empty for row in rows)), None)


def _column(rows: Sequence[Row], names: Sequence[str], file: Path, what: str) -> str:
    found = _present(rows, names)
    if found is None:
        raise CompareError(
            f"no column of {what} that RLlib writes ({', '.join(names)})",
            str(file),
            "name them with --columns",
        )
    return found


def _seconds(row: Row, column: str | None, file: Path) -> float:
    return math.nan if column is None else number(row, column, file)
