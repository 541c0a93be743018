"""`rlx algorithms` and `rlx schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlx.cli import completion, output
from rlx.cli.options import Debug, Json


def algorithms(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show every value of this one and its source.", autocompletion=completion.algorithms
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the algorithms and what each is built on, or show one with its values."""
    from rlx.experiment.presets import PRESETS, preset_values

    if name is None:
        output.algorithms(list(PRESETS.values()), as_json=json)
    else:
        known = _known(name, list(PRESETS))
        output.algorithm(PRESETS[known], preset_values(known), as_json=json)


def schema(
    file: Annotated[Path | None, typer.Option("-o", "--output", help="File to write; else print it.")] = None,
    debug: Debug = False,
) -> None:
    """Write the JSON Schema of experiment files, for editors."""
    from rlx.experiment.schema import schema_text

    output.text_or_file(schema_text(), file)


def _known(name: str, names: list[str]) -> str:
    from rlx.experiment.hints import closest
    from rlx.experiment.problems import ExperimentError, Location, Problem

    if name in names:
        return name
    hint = closest(name, names) or f"known: {', '.join(names)}"
    raise ExperimentError([Problem(Location("algorithms"), "", f"algorithm {name!r} is unknown", hint)])
