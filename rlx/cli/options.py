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
Mirror = Annotated[
    str | None,
    typer.Option(
        "--mirror",
        metavar="s3://BUCKET/PREFIX",
        help="Keep a copy of the run there, and look there for it first.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks, and what libraries print.", callback=_remember_debug)
]
Plain = Annotated[bool, typer.Option("--plain", help="Print key=value lines instead of the live view.")]
Checkpoint = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        metavar="best|last|N",
        help="best has the highest evaluation of the training.",
        autocompletion=completion.checkpoints,
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="noop30 (default on Atari), sticky, or as-trained (default elsewhere).",
        autocompletion=completion.protocols,
    ),
]
Epsilon = Annotated[
    float | None,
    typer.Option("--epsilon", min=0.0, max=1.0, help="Chance of a random action; default: the run's."),
]
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
Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="Runs, folders of runs, or progress.csv, result.json or CSVs of other tools.",
        autocompletion=completion.runs,
    ),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="NAME,...",
        help="Published results (rlx references lists them); default: well-known ones that fit.",
        autocompletion=completion.references,
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="10M-steps|40M-frames|1h|final|best",
        help="Where scores are read; default: as each reference reads its own, else final.",
    ),
]
AllowMixed = Annotated[
    bool, typer.Option("--allow-mixed", help="Show apart what was measured otherwise, with the reason.")
]
Require = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        metavar="NAME>=NUMBER",
        help="Breakout>=120, median_hns>=1.0, ...: exit code 6 if it is not met. May be repeated.",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="steps=A,score=B",
        help="Columns of a CSV: frames or steps, seconds, score, seed.",
    ),
]
Game = Annotated[
    str | None, typer.Option("--game", help="Environment id or game of results that do not say.")
]
