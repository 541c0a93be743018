"""`rlx report` and `rlx plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlx.cli import output
from rlx.cli.options import AllowMixed, At, Columns, Debug, Game, Out, Require, Runs, To


def report(
    runs: Runs,
    to: To = None,
    at: At = None,
    allow_mixed: AllowMixed = False,
    require: Require = None,
    columns: Columns = None,
    game: Game = None,
    title: Annotated[str, typer.Option("--title", help="Heading; default: the names of the agents.")] = "",
    file: Annotated[Path, typer.Option("-o", "--output", help="Page to write.")] = Path("report.html"),
    out: Out = Path("runs"),
    debug: Debug = False,
) -> None:
    """Write one page with curves, comparisons, experiment, speed and deviations; it needs no network."""
    from rlx.report.report import report as work

    made = work(
        runs, out, to=to, at=at, allow_mixed=allow_mixed, require=require or (), columns=columns, game=game,
        title=title,
    )  # fmt: skip
    output.text_or_file(made.html, file)
    raise typer.Exit(int(output.requirements(made.document)))


def plot(
    runs: Runs,
    to: To = None,
    allow_mixed: AllowMixed = False,
    columns: Columns = None,
    game: Game = None,
    file: Annotated[Path, typer.Option("-o", "--output", help="Picture to write: .png or .svg.")] = Path(
        "curves.png"
    ),
    out: Out = Path("runs"),
    debug: Debug = False,
) -> None:
    """Draw learning curves against frames and wall time, as PNG or SVG."""
    from rlx.report.plot import picture_format
    from rlx.report.plot import plot as work

    picture, notes = work(
        runs, picture_format(file), out, to=to, allow_mixed=allow_mixed, columns=columns, game=game
    )
    output.notes(notes)
    output.bytes_file(picture, file)
