"""Calling commands as a shell does, in this process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from rlx.cli.main import app


def rlx(*arguments: str) -> Result:
    """Run `rlx` with these arguments."""
    return CliRunner().invoke(app, list(arguments))
