"""`rlx compare` and `rlx references`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rlx.cli import completion, output
from rlx.cli.options import Debug, Json, Out


class Format(StrEnum):
    """What `rlx compare` prints."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Runs, folders of runs, or progress.csv, result.json or CSVs of other tools.",
            autocompletion=completion.runs,
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="NAME,...",
            help="Published results (rlx references lists them); default: well-known ones that fit.",
            autocompletion=completion.references,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="10M-steps|40M-frames|1h|final|best",
            help="Where scores are read; default: as each reference reads its own, else final.",
        ),
    ] = None,
    format: Annotated[Format, typer.Option("--format", help="What is printed.")] = Format.TABLE,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Show apart what was measured otherwise, with the reason.")
    ] = False,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            metavar="NAME>=NUMBER",
            help="Breakout>=120, median_hns>=1.0, ...: exit code 6 if it is not met. May be repeated.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="steps=A,score=B",
            help="Columns of a CSV: frames or steps, seconds, score, seed.",
        ),
    ] = None,
    game: Annotated[
        str | None, typer.Option("--game", help="Environment id or game of results that do not say.")
    ] = None,
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
