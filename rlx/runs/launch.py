"""Start experiments and go on with runs: one run after the other, each in its directory."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rlx.experiment.check import all_conflicts
from rlx.experiment.override import parse_stop
from rlx.experiment.problems import ExperimentError, Location, Problem
from rlx.experiment.resolve import Experiment, from_recorded
from rlx.experiment.spec import ExperimentSpec
from rlx.runs import remote
from rlx.runs.bucket import Bucket
from rlx.runs.directory import STOPPED, RunDirectory
from rlx.runs.engine import Engine, EngineFactory
from rlx.runs.errors import RunDirectoryError, RunExistsError, RunNotFoundError
from rlx.runs.loop import RunResult, train
from rlx.runs.mirror import Mirror
from rlx.runs.noise import captured, quiet_libraries
from rlx.runs.preflight import preflight
from rlx.runs.summary import find_run
from rlx.runs.view import View

log = logging.getLogger(__name__)

IF_EXISTS = ("fail", "resume", "overwrite")


def build_engine(spec: ExperimentSpec, run_dir: Path) -> Engine:
    """Build the engine of one run. Imports Ray and torch."""
    quiet_libraries()
    from rlx.experiment.build import build_engine as build

    engine: Engine = build(spec, run_dir)
    return engine


def launch(
    experiment: Experiment,
    root: Path,
    view: Callable[[], View],
    *,
    if_exists: str = "fail",
    mirror: str | None = None,
    say: Callable[[str], None] = log.warning,
    capture_terminal: bool = True,
    engine_factory: EngineFactory = build_engine,
) -> Iterator[RunResult]:
    """Train every run of an experiment, one after the other.

    A failed run does not keep the next one from starting; a stopped one does.

    Args:
        experiment: resolved and checked.
        root: where run directories are made.
        view: makes the view of one run.
        if_exists: `fail` (before anything starts), `resume` or `overwrite`; holds for the bucket too.
        mirror: `s3://bucket/prefix`, where a copy of each run is kept, under its name.
        say: called with a sentence for what is found in the bucket before a run starts.
        capture_terminal: whether stderr and prints of libraries go to train.log.
        engine_factory: see `rlx.runs.engine`.

    Yields:
        How each run ended.

    Raises:
        ExperimentError: the machine cannot run it.
        RlxError: a directory cannot be used.
    """
    checks = preflight(experiment)
    directories = [RunDirectory(root / check.run.name) for check in checks]
    if if_exists == "fail":
        _refuse_existing(directories)
        if mirror is not None:
            remote.refuse_existing(mirror, [directory.path.name for directory in directories])
    for check, directory in zip(checks, directories, strict=True):
        spec = check.run.spec
        if if_exists == "resume":
            directory.wait_until_silent(say)
        result = train(
            spec,
            directory,
            engine_factory,
            view(),
            if_exists=if_exists,
            protocol=check.protocol,
            around=_around(spec, capture_terminal),
            mirror=_open_mirror(mirror, directory.path, spec, if_exists, say),
        )
        yield result
        if result.state == STOPPED:
            return


def resume(
    text: str,
    root: Path,
    view: View,
    *,
    stop: Sequence[str] = (),
    mirror: str | None = None,
    say: Callable[[str], None] = log.warning,
    capture_terminal: bool = True,
    engine_factory: EngineFactory = build_engine,
) -> RunResult:
    """Go on with a run from its newest valid checkpoint, as its manifest describes it.

    Args:
        text: path, name or beginning of the name of the run.
        root: where runs are looked for by name.
        view: shows it.
        stop: `CONDITION=NUMBER` texts; replaces the recorded stop conditions.
        mirror: `s3://bucket/prefix`: where the bucket's copy of the run is newer, it is fetched before.
        say: called with a sentence for what is found in the bucket.
        capture_terminal: whether stderr and prints of libraries go to train.log.
        engine_factory: see `rlx.runs.engine`.

    Raises:
        RunNotFoundError, RunLockedError, RunDirectoryError, ExperimentError.
    """
    if mirror is None:
        directory, claim = find_run(text, root), None
        directory.wait_until_silent(say)
    else:
        path = _find_path(text, root, mirror)
        claim = remote.bring(mirror, RunDirectory(path), say=say)
        directory = RunDirectory(path)
    spec = recorded_spec(directory, stop)
    copy = None if mirror is None else _mirror(mirror, directory.path, spec, claim)
    around = _around(spec, capture_terminal)
    return train(spec, directory, engine_factory, view, if_exists="resume", around=around, mirror=copy)


def recorded_spec(directory: RunDirectory, stop: Sequence[str] = ()) -> ExperimentSpec:
    """Read the spec of a run from its manifest, with other stop conditions if some are given.

    Raises:
        RunDirectoryError: this version of rlx cannot read it.
        ExperimentError: a stop condition is wrong.
    """
    recorded: dict[str, Any] = dict(directory.manifest.get("spec") or {})
    document = parse_stop(stop)
    if document is not None:
        recorded["stop"] = document.data["stop"]
    try:
        spec = from_recorded(recorded)
    except ExperimentError:
        raise
    except ValueError as error:
        version = directory.manifest.get("rlx_version", "unknown")
        raise RunDirectoryError(
            f"the recorded experiment is not valid here (recorded by rlx {version}): {error}",
            str(directory.path / "manifest.json"),
        ) from None
    unreachable = [conflict for conflict in all_conflicts(spec) if conflict.paths[0].startswith("stop")]
    if document is not None and unreachable:
        where = Location("--stop")
        raise ExperimentError([Problem(where, c.paths[0], c.message, c.hint) for c in unreachable])
    return spec


def _refuse_existing(directories: Sequence[RunDirectory]) -> None:
    """Complain before the first run, not after hours of it."""
    there = [directory for directory in directories if directory.exists]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise RunExistsError(
            f"a run is already here ({there[0].state})",
            f"{there[0].path}{more}",
            "--if-exists resume goes on with it, --if-exists overwrite deletes it, --name gives another name",
        )


def _find_path(text: str, root: Path, mirror: str) -> Path:
    """Find a run here or in the bucket: by its whole name in either before the beginning of one.

    Raises:
        RunNotFoundError: it is in neither.
    """
    for path in (Path(text), root / text):
        if (path / "manifest.json").is_file():
            return path
    there = remote.find_name(mirror, text)
    if there is not None and there == Path(text).name:
        return root / there
    try:
        return find_run(text, root).path
    except RunNotFoundError:
        if there is None:
            raise
        return root / there


def _open_mirror(
    url: str | None, path: Path, spec: ExperimentSpec, if_exists: str, say: Callable[[str], None]
) -> Mirror | None:
    """Make the copy of a run that `launch` starts, after the directory is as new as the bucket."""
    if url is None:
        return None
    if if_exists == "resume":
        claim = remote.bring(url, RunDirectory(path), say=say)
    else:
        claim = remote.wait_until_free(Bucket(url).below(path.name), say)
    return _mirror(url, path, spec, claim)


def _mirror(url: str, path: Path, spec: ExperimentSpec, claim: str | None) -> Mirror:
    return Mirror(url, path, keep_last=spec.checkpointing.keep_last, claim=claim)


def _around(spec: Any, terminal: bool) -> Callable[[Path], AbstractContextManager[object]]:
    level = str(spec.debugging.log_level)
    capture = functools.partial(captured, level=level, terminal=terminal)
    return lambda path: capture(path / "train.log")
