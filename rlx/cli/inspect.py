"""`rlx ls` and `rlx show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlx.cli import completion, output
from rlx.cli.options import Debug, Json, Out


def ls(out: Out = Path("runs"), json: Json = False, debug: Debug = False) -> None:
    """List runs with state, progress, score and age, newest first."""
    from rlx.runs.summary import list_runs

    output.runs(list_runs(out), out, as_json=json)


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|EXPERIMENT",
            help="Run (path, or name below --out) or experiment (YAML file, or name of a shipped one).",
            autocompletion=completion.runs_and_experiments,
        ),
    ],
    out: Out = Path("runs"),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a run, or an experiment with every value resolved."""
    from rlx.cli.lookup import find

    found = find(what, out)
    if found.run is not None:
        from rlx.runs.summary import describe, returns

        output.run(describe(found.run), returns(found.run), as_json=json)
    else:
        output.experiment(found.experiment, as_json=json)
