"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlx.cli import completion

DEBUG_KEY = "rlx.debug"


def _remember_debug(context: typer.Context, value: bool) -> bool:
    if value:
        context.find_root().meta[DEBUG_KEY] = True
    return value


Out = Annotated[Path, typer.Option("--out", help="Folder of the run directories.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks, and what libraries print.", callback=_remember_debug)
]
Plain = Annotated[bool, typer.Option("--plain", help="Print key=value lines instead of the live view.")]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        "--stop",
        metavar="CONDITION=N",
        help="Replaces the stop conditions: env_steps, env_frames, updates, seconds, return_mean, "
        "evaluation_return_mean.",
        autocompletion=completion.stop_conditions,
    ),
]
