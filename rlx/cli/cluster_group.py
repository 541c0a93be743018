"""The group of `rlx cluster`, which the verbs of a cluster's life and those that use one join."""

from __future__ import annotations

from pathlib import Path

import typer

DEFAULT = Path("cluster/aws.yaml")

app = typer.Typer(
    name="cluster",
    help="From one machine to a cluster, on AWS or on hosts, and back to nothing.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
