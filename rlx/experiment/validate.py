"""Validate merged data and word what pydantic found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from rlx.experiment import hints
from rlx.experiment.document import Path, read_scalar
from rlx.experiment.layers import Layers
from rlx.experiment.problems import Problem
from rlx.experiment.spec import ExperimentSpec

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}
_MISSING = {
    "env": "name an environment, e.g. env: CartPole-v1",
    "stop": "say when to stop, e.g. stop: {env_steps: 1000000}",
}
_PATTERNS = {
    "name": "letters, digits and . _ - only",
    "device": "auto, cpu, cuda or cuda:N",
}


def validate(layers: Layers) -> tuple[ExperimentSpec | None, list[Problem], list[Path]]:
    """Validate the merged layers.

    Returns:
        The spec (None if there are problems), the problems, and the paths they are about.
    """
    try:
        return ExperimentSpec.model_validate(layers.data), [], []
    except ValidationError as error:
        problems: dict[Path, Problem] = {}
        for found in error.errors(include_url=False):
            path = tuple(str(part) for part in found["loc"])
            if path[:1] == ("env",):
                path = ("env",)  # the alternatives of the union stand in the rest
            problems.setdefault(path, _problem(path, found, layers))
        # A list whose items are all wrong also counts as empty; the items say it better.
        outer = {path[:length] for path in problems for length in range(len(path))}
        problems = {path: problem for path, problem in problems.items() if path not in outer}
        return None, list(problems.values()), list(problems)


def _problem(path: Path, found: Mapping[str, Any], layers: Layers) -> Problem:
    unknown = found["type"] == "extra_forbidden"
    message, hint = _wording(path, found)
    return Problem(layers.place(path, key=unknown), ".".join(path), message, hint)


def _wording(path: Path, found: Mapping[str, Any]) -> tuple[str, str]:
    if path == ("env",) and found["type"] != "missing":
        return f"expected an environment id or a list of them, got {as_yaml(found['input'])}", ""
    return word(path, found, unknown_key=hints.unknown_key, missing=_MISSING, patterns=_PATTERNS)


def word(
    path: Path,
    found: Mapping[str, Any],
    *,
    unknown_key: Callable[[Path], str],
    missing: Mapping[str, str],
    patterns: Mapping[str, str],
) -> tuple[str, str]:
    """Word one error of pydantic.

    Args:
        path: where it is.
        found: an item of `ValidationError.errors()`.
        unknown_key: gives a hint for the path of an unknown key.
        missing: field -> hint, for fields that are missing.
        patterns: field -> what its pattern means.

    Returns:
        The message and the hint.
    """
    kind, given, ctx = found["type"], found["input"], found.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key", unknown_key(path)
    if kind == "missing":
        return "is missing", missing.get(path[-1], "")
    if kind == "literal_error":
        choices = [choice.strip("'") for choice in ctx["expected"].replace(" or ", ", ").split(", ")]
        hint = hints.closest(given, choices) if isinstance(given, str) else ""
        return f"expected one of {', '.join(choices)}, got {as_yaml(given)}", hint
    if kind in _KINDS:
        quoted = isinstance(given, str) and isinstance(read_scalar(given), (int, float))
        hint = "remove the quotes" if quoted and kind != "bool_type" else ""
        return f"expected {_KINDS[kind]}, got {as_yaml(given)}", hint
    if kind == "string_pattern_mismatch":
        return f"expected {patterns.get(path[-1], ctx['pattern'])}, got {as_yaml(given)}", ""
    if kind in ("too_short", "string_too_short"):
        return "must not be empty", ""
    return _range_wording(kind, given, ctx) or str(found["msg"]), ""


def _range_wording(kind: str, given: Any, ctx: Mapping[str, Any]) -> str:
    limits = {
        "greater_than": ("gt", "more than"),
        "greater_than_equal": ("ge", "at least"),
        "less_than": ("lt", "less than"),
        "less_than_equal": ("le", "at most"),
    }
    if kind == "finite_number":
        return f"must be finite, got {as_yaml(given)}"
    if kind not in limits:
        return ""
    key, words = limits[kind]
    limit = ctx[key]
    shown = int(limit) if float(limit).is_integer() else limit
    return f"must be {words} {shown}, got {as_yaml(given)}"


def as_yaml(value: Any) -> str:
    """Show a value as it would stand in the YAML, shortened."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(as_yaml(item) for item in value) + "]"
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
