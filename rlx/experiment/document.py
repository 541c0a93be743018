"""YAML as plain data that remembers where each value stands.

PyYAML's node graph is read, nothing is constructed or evaluated. Scalars follow the YAML 1.2 core schema
(`1e-4` is a float, `yes` is a string), except that `_` may group the digits of an integer.

Source: [YAML] section 10.3 (core schema).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rlx.experiment.problems import ExperimentError, Location, Problem

Path = tuple[str, ...]

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^(?:[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)

_STRING_TAG = "tag:yaml.org,2002:str"
_PLAIN_TAG = "plain"
_SCALAR_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")} | {
    _PLAIN_TAG
}
_COLLECTION_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

# More values than any experiment has; aliases of aliases can multiply without end.
_MOST_VALUES = 20_000


@dataclass
class Document:
    """Plain data and the place of every key and value in it.

    Attributes:
        data: mappings, lists and scalars.
        places: path -> where the value stands (list items by their index as a string).
        keys: path -> where the key stands.
    """

    data: Any
    places: dict[Path, Location] = field(default_factory=dict)
    keys: dict[Path, Location] = field(default_factory=dict)

    def place(self, path: Path, *, key: bool = False) -> Location | None:
        """Return where `path`, or the nearest thing around it, stands."""
        for length in range(len(path), -1, -1):
            found = (self.keys if key and length == len(path) else self.places).get(path[:length])
            if found is not None:
                return found
        return None


class _Loader(yaml.SafeLoader):
    """A loader used for its nodes only; plain scalars get a tag of ours, `read_scalar` reads them."""

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        if kind is ScalarNode and implicit[0]:
            return _PLAIN_TAG
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]


def read_scalar(text: str) -> Any:
    """Read a plain scalar by the YAML 1.2 core schema."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text.replace("_", ""))
    if _FLOAT.match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def parse_yaml(text: str, source: str, *, option: bool = False) -> Document:
    """Parse one YAML document.

    Args:
        text: the YAML.
        source: file name, or the option it was given by.
        option: `text` is the value of a command-line option, which has no lines.

    Raises:
        ExperimentError: with every problem of the text (one, if it is no YAML at all).
    """
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        raise ExperimentError([_syntax_problem(error, source, option)]) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1
        location = Location(source) if option else Location(source, line, column)
        message = f"the character {chr(_code(error.character))!r} is not allowed in YAML"
        raise ExperimentError([Problem(location, "", message)]) from None
    if node is None:
        return Document(None, {(): Location(source) if option else Location(source, 1, 1)})
    reader = _Reader(source, option)
    document = Document(reader.read(node, ()), reader.places, reader.keys)
    if reader.problems:
        raise _Partial(reader.problems, document)
    return document


class _Partial(ExperimentError):
    """Problems of a text that could still be read for the rest."""

    def __init__(self, problems: list[Problem], document: Document) -> None:
        super().__init__(problems)
        self.document = document


def parse_tolerantly(text: str, source: str) -> tuple[Document, list[Problem]]:
    """Parse like `parse_yaml`, but return the problems of single values beside what could be read.

    Raises:
        ExperimentError: the text is no YAML.
    """
    try:
        return parse_yaml(text, source), []
    except _Partial as error:
        return error.document, list(error.problems)


def _compose(text: str) -> Node | None:
    loader = _Loader(text)
    try:
        node: Node | None = loader.get_single_node()
        return node
    finally:
        loader.dispose()


def _code(character: Any) -> int:
    return character if isinstance(character, int) else ord(character[0])


def _syntax_problem(error: yaml.MarkedYAMLError, source: str, option: bool) -> Problem:
    mark = error.problem_mark or error.context_mark
    location = (
        Location(source) if option or mark is None else Location(source, mark.line + 1, mark.column + 1)
    )
    problem = error.problem or error.context or "not YAML"
    if "'\\t'" in problem:
        return Problem(location, "", "a tab; YAML is indented with spaces")
    context = f"{error.context}, " if error.context and error.problem else ""
    return Problem(location, "", f"not YAML: {context}{problem}")


class _Reader:
    """Turns nodes into data, collecting places and problems."""

    def __init__(self, source: str, option: bool) -> None:
        self.source = source
        self.option = option
        self.places: dict[Path, Location] = {}
        self.keys: dict[Path, Location] = {}
        self.problems: list[Problem] = []
        self._open: list[Node] = []
        self._values = 0

    def read(self, node: Node, path: Path) -> Any:
        self.places[path] = self._locate(node)
        self._values += 1
        if self._values > _MOST_VALUES:
            self._complain(node, path, f"more than {_MOST_VALUES} values")
            raise ExperimentError(self.problems)
        if any(node is other for other in self._open):
            return self._complain(node, path, "an alias of something that contains it")
        known = _SCALAR_TAGS if isinstance(node, ScalarNode) else _COLLECTION_TAGS
        if node.tag not in known:
            return self._complain(node, path, f"the tag {node.tag!r} is not supported; nothing is evaluated")
        self._open.append(node)
        try:
            return self._content(node, path)
        finally:
            self._open.pop()

    def _content(self, node: Node, path: Path) -> Any:
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, str(index))) for index, item in enumerate(node.value)]
        return node.value if node.tag == _STRING_TAG else read_scalar(node.value)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in self._pairs(node, path):
            name = key.value
            if name in data:
                first = self.keys[(*path, name)]
                where = "given twice" if self.option else f"given twice; first in line {first.line}"
                self._complain(key, (*path, name), where)
                continue
            self.keys[(*path, name)] = self._locate(key)
            data[name] = self.read(value, (*path, name))
        return data

    def _pairs(self, node: MappingNode, path: Path) -> Iterator[tuple[ScalarNode, Node]]:
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._complain(key, path, "a key must be a plain word")
            elif key.value == "<<":
                self._complain(key, path, "merge keys (<<) are not supported")
            else:
                yield key, value

    def _locate(self, node: Node) -> Location:
        if self.option:
            return Location(self.source)
        return Location(self.source, node.start_mark.line + 1, node.start_mark.column + 1)

    def _complain(self, node: Node, path: Path, message: str) -> None:
        self.problems.append(Problem(self._locate(node), ".".join(path), message))
