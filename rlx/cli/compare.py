"""`rlx compare` and `rlx references`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rlx.cli import completion, output
from rlx.cli.options import AllowMixed, At, Columns, Debug, Game, Json, Out, Require, Runs, To


class Format(StrEnum):
    """What `rlx compare` prints."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


def compare(
    runs: Runs,
    to: To = None,
    at: At = None,
    format: Annotated[Format, typer.Option("--format", help="What is printed.")] = Format.TABLE,
    allow_mixed: AllowMixed = False,
    require: Require = None,
    columns: Columns = None,
    game: Game = None,
    file: Annotated[Path | None, typer.Option("-o", "--output", help="File to write; else print it.")] = None,
    out: Out = Path("runs"),
    debug: Debug = False,
) -> None:
    """Compare runs with each other and with published results, measured in the same way."""
    from rlx.compare.comparison import compare as work

    document = work(
        runs, out, to=to, at=at, allow_mixed=allow_mixed, require=require or (), columns=columns, game=game
    )
    raise typer.Exit(int(output.comparison(document, format.value, file)))


def references(
    name: Annotated[
        str | None,
        typer.Argument(help="Show all of this one, scores included.", autocompletion=completion.references),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the published results to compare with, or show one with its scores."""
    from rlx.reference import find_reference
    from rlx.reference import references as known

    if name is None:
        output.references(known(), as_json=json)
    else:
        output.reference(find_reference(name), as_json=json)
