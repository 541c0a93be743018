"""Values given on the command line, as documents laid over the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlx.experiment.document import Document, Path, parse_yaml
from rlx.experiment.problems import ExperimentError, Location, Problem


def parse_override(text: str) -> Document:
    """Parse `training.lr=1e-4` into a document with that one value.

    The value is a YAML scalar, flow list or flow mapping; an empty one is null.

    Raises:
        ExperimentError: there is no `=`, a part of the path is empty, or the value is no YAML.
    """
    dotted, equals, value = text.partition("=")
    path = tuple(part.strip() for part in dotted.split("."))
    dotted = ".".join(path)
    if not equals or not all(path):
        where = Location(f"--set {text}")
        raise ExperimentError([Problem(where, "", "expected PATH=VALUE", "e.g. --set training.lr=1e-4")])
    source = f"--set {dotted}"
    return _at(path, _value(value, source, dotted), source)


def parse_stop(texts: Sequence[str]) -> Document | None:
    """Parse `--stop env_steps=1000,seconds=60` (repeatable) into a complete `stop` section.

    The section replaces the file's: what is not named does not stop the run.

    Returns:
        The document, or None if nothing was given.

    Raises:
        ExperimentError: a part is not `CONDITION=NUMBER`, or a condition is given twice.
    """
    stop: dict[str, Any] = {}
    places: dict[Path, Location] = {}
    problems: list[Problem] = []
    for part in [part.strip() for text in texts for part in text.split(",")]:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        where = Location(f"--stop {part}")
        if not equals or not name or not value:
            hint = "e.g. --stop env_steps=100000,seconds=600"
            problems.append(Problem(where, "", "expected CONDITION=NUMBER", hint))
        elif name in stop:
            problems.append(Problem(where, "", f"{name} is given twice"))
        else:
            stop[name] = _value(value, str(where), f"stop.{name}").data
            places[("stop", name)] = where
    if problems:
        raise ExperimentError(problems)
    if not stop:
        return None
    return Document({"stop": stop}, {("stop",): Location("--stop"), **places}, dict(places))


def parse_seeds(seeds: Sequence[int]) -> Document | None:
    """Return a document for `--seed` (repeatable), or None if nothing was given."""
    return _at(("seeds",), Document(list(seeds)), "--seed") if seeds else None


def parse_envs(envs: Sequence[str]) -> Document | None:
    """Return a document for `--env` (repeatable), or None if nothing was given."""
    if not envs:
        return None
    return _at(("env",), Document(envs[0] if len(envs) == 1 else list(envs)), "--env")


def _value(text: str, source: str, dotted: str) -> Document:
    try:
        return parse_yaml(text, source, option=True)
    except ExperimentError as error:
        raise ExperimentError(
            Problem(p.location, f"{dotted}.{p.path}" if p.path else "", p.message, p.hint)
            for p in error.problems
        ) from None


def _at(path: Path, value: Document, source: str) -> Document:
    """Wrap a value in the mappings of its path; every place is the option."""
    where = Location(source)
    data = value.data
    for key in reversed(path):
        data = {key: data}
    prefixes = [path[:length] for length in range(1, len(path) + 1)]
    inner = [(*path, *below) for below in value.places]
    keys = [(*path, *below) for below in value.keys]
    return Document(data, dict.fromkeys(prefixes[-1:] + inner, where), dict.fromkeys(prefixes + keys, where))
