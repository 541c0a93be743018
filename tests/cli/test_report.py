"""`rlx report` and `rlx plot` through typer's runner: files, exit codes, messages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rlx.cli.exit_codes import ExitCode
from tests.cli.commands import rlx


def data(file: str) -> object:
    found = re.search(r'<script type="application/json" id="rlx-data">(.*?)</script>', Path(file).read_text())
    assert found
    return json.loads(found[1])


def test_the_page_has_what_compare_prints(run: Path) -> None:
    arguments = ("ours", "--to", "rllib-apex", "--at", "40M-frames", "--require", "Breakout>=1")
    done = rlx("report", *arguments, "-o", "x/page.html")
    assert (done.exit_code, done.stdout) == (ExitCode.OK, "")
    assert "wrote x/page.html" in done.stderr
    assert data("x/page.html") == json.loads(rlx("compare", *arguments, "--format", "json").stdout)
    assert rlx("report", "ours").exit_code == ExitCode.OK
    assert Path("report.html").exists()


def test_a_requirement_that_is_not_met(run: Path) -> None:
    done = rlx("report", str(run), "--require", "Breakout>=999")
    assert done.exit_code == ExitCode.REQUIREMENT_NOT_MET
    assert "not met: Breakout>=999" in done.stderr
    assert Path("report.html").exists()


@pytest.mark.parametrize("verb", ["report", "plot"])
def test_what_is_wrong_is_said_and_nothing_written(run: Path, verb: str) -> None:
    assert rlx(verb, "nothing", "-o", "a.svg").exit_code == ExitCode.RUN
    assert rlx(verb, str(run), "--to", "rainbw", "-o", "a.svg").exit_code == ExitCode.USAGE
    mixed = rlx(verb, str(run), "--to", "dopamine-dqn", "-o", "a.svg")
    assert mixed.exit_code == ExitCode.RUN
    assert "--allow-mixed" in mixed.stderr
    assert not Path("a.svg").exists()


def test_plot_writes_the_format_of_the_name(run: Path) -> None:
    assert rlx("plot", "ours").exit_code == ExitCode.OK
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    assert rlx("plot", "ours", "-o", "y/c.svg").exit_code == ExitCode.OK
    assert Path("y/c.svg").read_text().startswith("<?xml")
    other = rlx("plot", "ours", "-o", "c.jpg")
    assert other.exit_code == ExitCode.USAGE
    assert "c.jpg: a picture is written as png or svg; give -o curves.png or -o curves.svg" in other.stderr
    assert not Path("c.jpg").exists()
