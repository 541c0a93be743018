"""A run for the commands that read one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compare.made import line, make_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on Breakout in `runs/` of the working directory."""
    monkeypatch.chdir(tmp_path)
    return make_run(Path("runs"), line(50e6, 7000, 150.0))
