"""`rlx watch` hands its options on and prints what it gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlx.cli.exit_codes import ExitCode
from rlx.runs.watch import VideoSettings
from tests.cli.commands import rlx

RECORD: dict[str, Any] = {
    "run": "pong", "checkpoint": "checkpoint_000003", "env_steps": 5000, "protocol": "noop30",
    "epsilon": 0.01, "seed": 7, "episode": 1, "return": -20.0, "length": 200, "frames": 800,
    "game_seconds": 13.333, "end": "terminated", "value_mean": 0.5, "value_min": -1.0, "value_max": 2.0,
    "actions": {"NOOP": 0, "FIRE": 50, "RIGHT": 150}, "random_actions": 2,
    "video": {"pictures": 150, "seconds": 10.0, "fps": 15.0, "width": 320, "height": 420, "bytes": 9000,
              "cut": True},
    "file": "v/pong.webp",
}  # fmt: skip


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, run: Path) -> list[dict[str, Any]]:
    """What the function is called with, on a run in `runs/`."""
    seen: list[dict[str, Any]] = []

    def play(directory: Path, **options: Any) -> list[dict[str, Any]]:
        seen.append({"directory": directory, **options})
        return [RECORD]

    monkeypatch.setattr("rlx.runs.watch.watch", play)
    return seen


def test_every_option_is_handed_on(calls: list[dict[str, Any]], run: Path) -> None:
    options = "--checkpoint best --episodes 3 --protocol sticky --epsilon 0.1 --seed 7 --overlay -o v/a.mp4"
    more = "--max-seconds 9 --fps 30 --scale 3 --force"
    assert rlx("watch", run.name, *options.split(), *more.split()).exit_code == 0
    (call,) = calls
    del call["on_step"]
    assert call == {
        "directory": run,
        "checkpoint": "best",
        "episodes": 3,
        "protocol": "sticky",
        "epsilon": 0.1,
        "seed": 7,
        "settings": VideoSettings(Path("v/a.mp4"), True, 9.0, 30.0, 3, True),
    }


def test_defaults_are_those_of_the_function(calls: list[dict[str, Any]], run: Path) -> None:
    assert rlx("watch", run.name).exit_code == 0
    assert calls[0]["settings"] == VideoSettings()
    assert (calls[0]["checkpoint"], calls[0]["episodes"], calls[0]["protocol"]) == ("last", 1, None)


def test_what_is_printed(calls: list[dict[str, Any]], run: Path) -> None:
    printed = rlx("watch", run.name)
    assert printed.stdout.splitlines() == [
        "run       pong, checkpoint_000003 (5000 env steps)",
        "protocol  noop30: up to 30 no-op starts, no sticky actions, 108,000 frames",
        "policy    epsilon 0.01, seed 7",
        "",
        "episode  1, terminated",
        "return   -20",
        "length   200 env steps, 800 frames, 13.3s of the game",
        "value    mean 0.50, from -1.00 to 2.00 (greatest Q of each state)",
        "actions  RIGHT 75%, FIRE 25%; 2 at random",
        "video    v/pong.webp: 150 pictures of 320x420, 10.0s at 15 per second, 9.0 kB",
    ]
    assert "cut after 10s; --max-seconds shows more" in printed.stderr


def test_json_is_alone_on_standard_output(calls: list[dict[str, Any]], run: Path) -> None:
    printed = rlx("watch", run.name, "--json")
    assert json.loads(printed.stdout) == [RECORD]
    assert printed.stderr == ""


def test_a_run_that_is_not_there(calls: list[dict[str, Any]]) -> None:
    assert rlx("watch", "no-such-run").exit_code == ExitCode.RUN
    assert not calls
