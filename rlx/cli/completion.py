"""Shell completion of experiments, runs, algorithms and environments. Imports nothing heavy; never fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path


def experiments(incomplete: str) -> list[str]:
    """Return shipped experiments and YAML files that begin so."""

    def names() -> Iterable[str]:
        from rlx.experiment.catalog import shipped_experiments

        yield from (item.name for item in shipped_experiments())
        yield from _files(incomplete, (".yaml", ".yml"))

    return _beginning(names, incomplete)


def runs(incomplete: str) -> list[str]:
    """Return runs below `runs/`, by name and by path, that begin so."""

    def names() -> Iterable[str]:
        from rlx.runs.summary import run_paths

        for path in run_paths(Path("runs")):
            yield path.name
            yield str(path)

    return _beginning(names, incomplete)


def runs_and_experiments(incomplete: str) -> list[str]:
    """Return what `rlx show` takes."""
    return [*runs(incomplete), *experiments(incomplete)]


def algorithms(incomplete: str) -> list[str]:
    """Return algorithms that begin so."""

    def names() -> Iterable[str]:
        from rlx.experiment.presets import PRESETS

        return PRESETS

    return _beginning(names, incomplete)


def environments(incomplete: str) -> list[str]:
    """Return known environments that begin so."""

    def names() -> Iterable[str]:
        from rlx.envs.ids import list_env_ids

        return list_env_ids()

    return _beginning(names, incomplete)


def settings(incomplete: str) -> list[str]:
    """Return `section.key=` of every value that `--set` can give."""

    def names() -> Iterable[str]:
        from rlx.experiment.hints import known_paths

        return (f"{'.'.join(path)}=" for path in known_paths())

    return _beginning(names, incomplete)


def stop_conditions(incomplete: str) -> list[str]:
    """Return `condition=` of every stop condition."""

    def names() -> Iterable[str]:
        from rlx.runs.stopping import CONDITIONS

        return (f"{name}=" for name in CONDITIONS)

    return _beginning(names, incomplete)


def protocols(incomplete: str) -> list[str]:
    """Return protocols of `rlx evaluate` that begin so."""

    def names() -> Iterable[str]:
        from rlx.evaluation.protocols import PROTOCOLS

        return PROTOCOLS

    return _beginning(names, incomplete)


def references(incomplete: str) -> list[str]:
    """Return names of published results that go on with the last word of a list with commas."""
    before, comma, last = incomplete.rpartition(",")

    def names() -> Iterable[str]:
        from rlx.reference import references as known

        return (reference.name for reference in known())

    return [f"{before}{comma}{name}" for name in _beginning(names, last)]


def checkpoints(incomplete: str) -> list[str]:
    """Return the words for a checkpoint that begin so."""
    return [word for word in ("best", "last") if word.startswith(incomplete)]


def _beginning(names: Callable[[], Iterable[str]], incomplete: str) -> list[str]:
    try:
        return sorted({name for name in names() if name.startswith(incomplete)})
    except Exception:
        # A completion that prints an error breaks the line that is being typed.
        return []


def _files(incomplete: str, endings: tuple[str, ...]) -> Iterable[str]:
    folder = incomplete.rpartition("/")[0]
    for path in Path(folder or ".").iterdir():
        shown = f"{folder}/{path.name}" if folder else path.name
        if path.is_dir() and not path.name.startswith("."):
            yield f"{shown}/"
        elif path.name.endswith(endings):
            yield shown
