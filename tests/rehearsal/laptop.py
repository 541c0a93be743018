"""The machine of a user: its home, its `rlx`, and waiting for what a run writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Laptop:
    """Runs `rlx` as a user would.

    Attributes:
        home: of the user.
        environment: beside the usual.
    """

    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "RAY_"))}
        return {**kept, "HOME": str(self.home), "COLUMNS": "200", **self.environment}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `rlx WORDS`, its output in pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", "rlx.cli.main", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment(),
            cwd=self.home,
            start_new_session=True,
        )

    def rlx(self, *words: str, code: int = 0, timeout_seconds: float = 280) -> str:
        """Run `rlx WORDS`, expect its exit code, and return stdout and stderr together."""
        process = self.start(*words)
        try:
            out, _ = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            raise AssertionError(f"rlx {' '.join(words)} has not ended:\n{out}") from None
        assert process.returncode == code, f"rlx {' '.join(words)}: {process.returncode}\n{out}"
        return out

    def json(self, *words: str, code: int = 0) -> Any:
        """Run `rlx WORDS --json`; what it printed, without what it said beside it."""
        out = self.rlx(*words, "--json", code=code)
        begin = min(index for index in (out.find("{"), out.find("[")) if index >= 0)
        return json.JSONDecoder().raw_decode(out[begin:])[0]


def wait_for(what: str, ready: Callable[[], Any], seconds: float, every: float = 1.0) -> float:
    """Wait until `ready()` is true; the seconds that it took."""
    began = time.monotonic()
    while not ready():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)
    return time.monotonic() - began


def last_row(run: Path) -> dict[str, Any]:
    """Return the newest row of a run's metrics; empty before the first."""
    file = run / "result.json"
    lines = file.read_text().splitlines() if file.exists() else []
    for line in reversed(lines):
        try:
            row: dict[str, Any] = json.loads(line)
        except ValueError:
            continue  # being written
        return row
    return {}
