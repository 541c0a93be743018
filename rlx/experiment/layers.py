"""Lay presets, a file and command-line options over each other, remembering where each value came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlx.experiment.document import Document, Path
from rlx.experiment.presets import preset_values
from rlx.experiment.problems import Location

SECTIONS = (
    "stop",
    "environment",
    "env_runners",
    "exploration",
    "replay",
    "training",
    "rl_module",
    "learners",
    "evaluation",
    "checkpointing",
    "fault_tolerance",
    "reporting",
    "resources",
    "debugging",
)


class Layers:
    """The merged data of all layers so far. Mappings merge; lists and scalars replace.

    Attributes:
        data: the merged mapping.
        places: path -> where its value was given.
        keys: path -> where its key was given.
    """

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.places: dict[Path, Location] = {}
        self.keys: dict[Path, Location] = {}

    def add_preset(self, algorithm: str) -> None:
        """Lay down the values of an algorithm."""
        for path, (value, preset) in preset_values(algorithm).items():
            at = self.data
            for key in path[:-1]:
                at = at.setdefault(key, {})
            at[path[-1]] = value
            self.places[path] = Location(f"preset {preset}")

    def add(self, document: Document) -> None:
        """Lay a document, whose data is a mapping, over what is there."""
        self._merge(self.data, document.data, (), document)

    def place(self, path: Path, *, key: bool = False) -> Location:
        """Return where `path`, or the nearest thing around it, was given."""
        for length in range(len(path), -1, -1):
            if key and length == len(path) and path in self.keys:
                return self.keys[path]
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Location("experiment")

    def remove(self, path: Path) -> None:
        """Take out one value, if it is there."""
        at: Any = self.data
        for key in path[:-1]:
            at = at.get(key) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at.pop(path[-1], None)

    def _merge(self, base: dict[str, Any], over: Mapping[str, Any], at: Path, document: Document) -> None:
        for key, value in over.items():
            path = (*at, key)
            if value is None and path[0] in SECTIONS and len(path) == 1:
                value = {}  # `training:` with nothing below it
            if path == ("plugins",):
                value = self._plugins(value, base, document)
            if isinstance(value, Mapping) and isinstance(base.get(key), dict):
                self._note(path, document)
                self._merge(base[key], value, path, document)
            elif isinstance(value, Mapping):
                self._forget(path)
                if path in document.keys:
                    self.places[path] = document.keys[path]
                self._note(path, document)
                base[key] = {}
                self._merge(base[key], value, path, document)
            else:
                self._forget(path)
                self._note_all(path, document)
                base[key] = value

    def _plugins(self, value: Any, base: dict[str, Any], document: Document) -> Any:
        """Turn a list of plugin names, which replaces what was there, into a mapping."""
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            return value
        base.pop("plugins", None)
        self._forget(("plugins",))
        for index, name in enumerate(value):
            place = document.place(("plugins", str(index)))
            if place is not None:
                document.places[("plugins", name)] = place
                document.keys[("plugins", name)] = place
        return {name: {} for name in value}

    def _note(self, path: Path, document: Document) -> None:
        if path in document.places:
            self.places[path] = document.places[path]
        if path in document.keys:
            # The first place is kept: a misspelled key in the file is also shown when an option repeats it.
            self.keys.setdefault(path, document.keys[path])

    def _note_all(self, path: Path, document: Document) -> None:
        for found in [p for p in document.places if p[: len(path)] == path]:
            self._note(found, document)

    def _forget(self, path: Path) -> None:
        for known in (self.places, self.keys):
            for found in [p for p in known if p[: len(path)] == path]:
                del known[found]
