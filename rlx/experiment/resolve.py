"""From preset, file and options to one complete, checked experiment and its runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import BaseModel

from rlx.experiment import check, hints
from rlx.experiment.document import Document, Path
from rlx.experiment.layers import Layers
from rlx.experiment.presets import PRESETS, paper_values
from rlx.experiment.problems import ExperimentError, Location, Problem
from rlx.experiment.spec import ALGORITHMS, ExperimentSpec
from rlx.experiment.validate import as_yaml, validate

_ATARI = re.compile(r"^ALE/|(NoFrameskip|Deterministic)-v\d+$")
_DEFAULT = Location("default")


class Deviation(NamedTuple):
    """A value that differs from the published one."""

    path: str
    paper: Any
    ours: Any


@dataclass(frozen=True)
class RunSpec:
    """One run: one environment, one seed.

    Attributes:
        name: `<experiment>-<environment>-seed<seed>`, fit for a directory.
        spec: the experiment with `env` a single id and `seeds` this one seed.
    """

    name: str
    env: str
    seed: int
    spec: ExperimentSpec


@dataclass(frozen=True)
class Experiment:
    """A resolved experiment and where each of its values came from.

    Attributes:
        origins: path of every value -> where it was given (a preset, a place in the file, an option).
        notes: what the reader should know, e.g. what was translated from an old file.
    """

    spec: ExperimentSpec
    file: str = ""
    origins: Mapping[Path, Location] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def origin(self, path: str) -> Location:
        """Return where the value at a dotted path was given."""
        parts = tuple(path.split("."))
        for length in range(len(parts), 0, -1):
            if parts[:length] in self.origins:
                return self.origins[parts[:length]]
        return _DEFAULT

    def runs(self) -> list[RunSpec]:
        """Return one run for each environment and seed."""
        return runs(self.spec)

    def deviations(self) -> list[Deviation]:
        """Return every value that differs from the paper."""
        return deviations(self.spec)


def resolve(
    documents: Sequence[Document], *, file: str = "", name: str = "", notes: Sequence[str] = ()
) -> Experiment:
    """Lay documents over the preset of their algorithm and check the result.

    Args:
        documents: file first, then options; each with a mapping as data.
        file: name of the file, for places of what is missing.
        name: name of the experiment if none is given.

    Raises:
        ExperimentError: with every problem.
    """
    problems: list[Problem] = []
    algorithm = _algorithm(documents, file, problems)
    layers = Layers()
    layers.places[()] = Location(file or "experiment")
    layers.add_preset(algorithm)
    for document in documents:
        layers.add(document)
    if documents and () in documents[0].places:
        layers.places[()] = documents[0].places[()]
    if name and "name" not in layers.data:
        layers.data["name"] = name
    if problems:
        layers.data["algorithm"] = algorithm
    spec, found, bad = validate(layers)
    problems += found
    # Values that are wrong give way to the preset's, so that the rest can be checked as well.
    checked = spec or _without(bad, documents, algorithm, name)
    if checked is not None:
        problems += check.conflicts(checked, layers, ignore=_uncertain(bad, layers, bool(problems)))
    if problems or spec is None:
        raise ExperimentError(problems)
    return Experiment(spec, file, _origins(spec, layers), tuple(notes))


def from_mapping(values: Mapping[str, Any]) -> ExperimentSpec:
    """Resolve an experiment given as plain data, as a YAML would give it.

    Raises:
        ExperimentError: with every problem.
    """
    return resolve([Document(dict(values))], name="experiment").spec


def from_recorded(values: Mapping[str, Any]) -> ExperimentSpec:
    """Read a resolved spec that an older rlx may have recorded.

    Settings that did not exist then have the preset's value: what was done before there was a choice.

    Args:
        values: what a manifest has under `spec`.

    Raises:
        ValueError: it is no spec (pydantic's ValidationError), or has settings that are no more.
    """
    layers = Layers()
    if values.get("algorithm") in PRESETS:
        layers.add_preset(str(values["algorithm"]))
    layers.add(Document(dict(values)))
    # Not merged: a plugin that the preset switches on may have been switched off.
    layers.data["plugins"] = values.get("plugins") or {}
    return ExperimentSpec.model_validate(layers.data)


def runs(spec: ExperimentSpec) -> list[RunSpec]:
    """Return one run for each environment and seed of an experiment."""
    return [_run(spec, env, seed) for env in spec.envs for seed in spec.seeds]


def deviations(spec: ExperimentSpec) -> list[Deviation]:
    """Return every value of an experiment that differs from the published one, in the order of the sections.

    The environment's protocol is compared for Atari only. A protocol value of None means what the
    environment id means, and is listed, because that depends on the id.
    """
    published = paper_values(spec.algorithm, atari=any(_ATARI.search(env) for env in spec.envs))
    order = {path: index for index, path in enumerate(hints.known_paths())}
    found = []
    for path, value in sorted(published.items(), key=lambda item: order.get(item[0], 0)):
        if path[0] == "plugins" and not _deviates_in_plugin(spec, path):
            continue
        ours = _get(spec, path)
        if ours != (tuple(value.value) if isinstance(value.value, list) else value.value):
            found.append(Deviation(".".join(path), value.value, ours))
    return found


def _run(spec: ExperimentSpec, env: str, seed: int) -> RunSpec:
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", env).strip("-")
    single = spec.model_copy(update={"env": env, "seeds": (seed,)})
    return RunSpec(f"{spec.name}-{slug}-seed{seed}", env, seed, single)


def _algorithm(documents: Sequence[Document], file: str, problems: list[Problem]) -> str:
    """Find the algorithm; if it is missing or unknown, complain and go on with `dqn`."""
    given: Any = None
    place = documents[0].places.get(()) if documents else None
    for document in documents:
        if "algorithm" in document.data:
            given, place = document.data["algorithm"], document.place(("algorithm",))
    if isinstance(given, str) and given in PRESETS:
        return given
    where = place or Location(file or "experiment")
    known = f"known: {', '.join(ALGORITHMS)}"
    if given is None:
        problems.append(Problem(where, "algorithm", "is missing", known))
    else:
        near = hints.closest(str(given), ALGORITHMS)
        problems.append(Problem(where, "algorithm", f"{as_yaml(given)} is unknown", near or known))
    return "dqn"


def _uncertain(bad: Sequence[Path], layers: Layers, broken: bool) -> list[Path]:
    """List the paths whose values may not be what the user meant.

    These are the bad ones; and beside an unknown key, which may be a misspelled one, all that was not given.
    """
    known = hints.known_paths()
    uncertain = [*bad, ("algorithm",)] if broken else list(bad)
    for section in {path[:-1] for path in bad if path not in known and len(path) <= 2}:
        beside = [path for path in known if path[: len(section)] == section and len(path) > 1]
        uncertain += [path for path in beside if path not in layers.keys]
    return uncertain


def _without(
    bad: Sequence[Path], documents: Sequence[Document], algorithm: str, name: str
) -> ExperimentSpec | None:
    """Resolve again with the preset's values in place of the bad ones; None if that does not help."""
    layers = Layers()
    layers.add_preset(algorithm)
    stand_ins: dict[str, Any] = {"name": name or "experiment", "env": "unknown", "stop": {"env_steps": 1}}
    for document in documents:
        layers.add(Document({k: v for k, v in document.data.items() if k != "algorithm"}, {}, {}))
    fallback = Layers()
    fallback.add_preset(algorithm)
    for path in bad:
        while len(path) > 1 and not isinstance(_dig(layers.data, path[:-1]), Mapping):
            path = path[:-1]  # an item of a list, or something below a value that should be a mapping
        layers.remove(path)
        replacement = _dig(fallback.data, path)
        if replacement is not None:
            _put(layers.data, path, replacement)
    for key, value in stand_ins.items():
        layers.data.setdefault(key, value)
    layers.data["algorithm"] = algorithm
    return validate(layers)[0]


def _dig(data: Any, path: Path) -> Any:
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _put(data: dict[str, Any], path: Path, value: Any) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


def _get(spec: BaseModel, path: Path) -> Any:
    value: Any = spec
    for key in path:
        if value is None:
            return None
        value = value.get(key) if isinstance(value, Mapping) else getattr(value, key)
    return value


def _deviates_in_plugin(spec: ExperimentSpec, path: Path) -> bool:
    """Tell whether a plugin's setting can differ from the published one.

    What is not given is the plugin's own default, which is the paper's; a plugin that is switched off counts
    once.
    """
    settings = spec.plugins.get(path[1])
    if settings is None:
        return path[2] == min(key for name, key in _plugin_paths(spec.algorithm) if name == path[1])
    return path[2] in settings


def _plugin_paths(algorithm: str) -> list[tuple[str, str]]:
    return [(path[1], path[2]) for path in paper_values(algorithm) if path[0] == "plugins"]


def _origins(spec: ExperimentSpec, layers: Layers) -> dict[Path, Location]:
    """Find where each leaf of the spec was given."""
    found: dict[Path, Location] = {}

    def walk(value: Any, path: Path) -> None:
        if isinstance(value, BaseModel):
            for key in type(value).model_fields:
                walk(getattr(value, key), (*path, key))
        elif isinstance(value, dict) and value:
            for key, item in value.items():
                walk(item, (*path, key))
        else:
            found[path] = layers.places.get(path, _DEFAULT)

    walk(spec, ())
    return found
