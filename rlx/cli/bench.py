"""`rlx bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlx.cli import output
from rlx.cli.options import Debug


def bench(
    json: Annotated[Path | None, typer.Option("--json", help="Also write the rows to this file.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Run this figure; repeatable.")] = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="Shorter and less exact.")] = False,
    debug: Debug = False,
) -> None:
    """Measure this machine: speed of the parts and of the whole, with limits and floors."""
    from rlx.runs.noise import quiet_libraries

    quiet_libraries()
    from rlx.bench import run

    rows = run(only=only or None, device=device, quick=quick)
    raise typer.Exit(output.bench_rows(rows, json))
