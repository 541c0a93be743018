"""Find what the arguments of `rlx compare` name: runs, folders of runs, and results of other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rlx.compare.errors import CompareError, CompareUsageError
from rlx.compare.other_tools import RESULT_FILES, read_csv, read_rllib
from rlx.compare.rlx_run import read_rlx_run
from rlx.compare.subject import Subject
from rlx.reference.atari import find_game
from rlx.runs.summary import find_run, run_paths


def read_subjects(
    texts: Sequence[str], root: Path, columns: Mapping[str, str] | None = None, game: str | None = None
) -> list[Subject]:
    """Read every run that is named.

    Args:
        texts: run directories by path or name below `root`; folders of runs or of Tune's trials;
            `progress.csv`, `result.json`, or a CSV with `columns`.
        root: folder of run directories.
        columns: name -> column of a CSV, as `parse_columns` returns them.
        game: environment id or game of results that do not say.

    Raises:
        RlxError: one is not there, or damaged, or an option does not fit.
    """
    if game is not None and "-v" not in game:
        # A bare word is the name of a game; ids of other environments have a version.
        find_game(game)
    return [subject for text in texts for subject in _read(text, root, columns, game)]


def _read(text: str, root: Path, columns: Mapping[str, str] | None, game: str | None) -> list[Subject]:
    path = Path(text)
    if path.is_file():
        if columns is not None:
            return read_csv(path, columns, game)
        if path.name in RESULT_FILES and not (path.parent / "manifest.json").exists():
            return [read_rllib(path, game)]
        if path.name in (*RESULT_FILES, "manifest.json"):
            return [read_rlx_run(path.parent)]
        raise CompareUsageError(
            "which columns are to be read?", text, "give --columns steps=…,score=… and --game"
        )
    if path.is_dir() and not (path / "manifest.json").exists():
        return _folder(path, game)
    return [read_rlx_run(find_run(text, root).path)]


def _folder(path: Path, game: str | None) -> list[Subject]:
    if _is_trial(path):
        return [read_rllib(path, game)]
    runs = run_paths(path)
    trials = sorted(child for child in path.iterdir() if child.is_dir() and _is_trial(child))
    trials = [child for child in trials if child not in runs]
    if not runs and not trials:
        raise CompareError(
            f"neither a run (manifest.json) nor a result of another tool ({' or '.join(RESULT_FILES)})",
            str(path),
            "rlx ls lists runs",
        )
    return [*map(read_rlx_run, runs), *(read_rllib(trial, game) for trial in trials)]


def _is_trial(path: Path) -> bool:
    return any((path / name).is_file() for name in RESULT_FILES)
