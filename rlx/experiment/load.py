"""Load an experiment from a YAML file and the options of a command line."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

from rlx.experiment import legacy, override
from rlx.experiment.document import Document, parse_tolerantly
from rlx.experiment.problems import ExperimentError, Location, Problem
from rlx.experiment.resolve import Experiment, resolve


def load_experiment(
    path: str | pathlib.Path,
    overrides: Sequence[str] = (),
    *,
    seeds: Sequence[int] = (),
    stop: Sequence[str] = (),
    envs: Sequence[str] = (),
) -> Experiment:
    """Load, override, resolve and check an experiment.

    Args:
        path: a YAML file.
        overrides: `PATH=VALUE` texts, as after `--set`; later ones win.
        seeds: replaces `seeds`.
        stop: `CONDITION=NUMBER[,...]` texts, as after `--stop`; replaces the whole section.
        envs: replaces `env`.

    Raises:
        ExperimentError: with every problem found in the file and the options.
    """
    file = pathlib.Path(path)
    return load_text(read_text(file), str(path), overrides, seeds=seeds, stop=stop, envs=envs)


def load_text(
    text: str,
    source: str,
    overrides: Sequence[str] = (),
    *,
    seeds: Sequence[int] = (),
    stop: Sequence[str] = (),
    envs: Sequence[str] = (),
) -> Experiment:
    """Load like `load_experiment`, from a text whose places are named after `source`.

    Raises:
        ExperimentError: with every problem found in the text and the options.
    """
    document, problems = parse_tolerantly(text, source)
    if not isinstance(document.data, dict):
        where = document.places.get((), Location(source))
        raise ExperimentError([*problems, Problem(where, "", "expected a mapping, e.g. algorithm: dqn")])
    notes: list[str] = []
    if legacy.is_legacy(document):
        document, notes = legacy.convert(document)
    documents = [document]
    jobs: list[Callable[[], Document | None]] = [lambda: override.parse_envs(envs)]
    jobs += [lambda: override.parse_seeds(seeds), lambda: override.parse_stop(stop)]
    jobs += [lambda text=text: override.parse_override(text) for text in overrides]  # type: ignore[misc]
    for job in jobs:
        try:
            given = job()
        except ExperimentError as error:
            problems += error.problems
        else:
            documents += [given] if given is not None else []
    if any(("stop",) in given.places and given.places[("stop",)].source == "--stop" for given in documents):
        # `--stop` says it all: drop what the file says.
        documents[0].data.pop("stop", None)
    try:
        experiment = resolve(documents, file=source, name=_name(source), notes=notes)
    except ExperimentError as error:
        problems += error.problems
    if problems:
        raise ExperimentError(problems)
    return experiment


def _name(source: str) -> str:
    return pathlib.PurePath(source).name.split(".")[0] or "experiment"


def read_text(file: pathlib.Path) -> str:
    """Read a text file.

    Raises:
        ExperimentError: it cannot be read, or is no UTF-8.
    """
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        place = Location(str(file), line, column)
        raise ExperimentError([Problem(place, "", "not UTF-8 text")]) from None
    except OSError as error:
        raise ExperimentError(
            [Problem(Location(str(file)), "", f"cannot be read: {error.strerror}")]
        ) from None
