"""What a watcher sees, drawn on a recorded console."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from rlx.runs.live import LiveView, clock, quantity, sparkline
from rlx.runs.stopping import Periodic, progress, reached
from rlx.runs.view import Pace, PlainView, RunContext
from tests.runs.fake_engine import FakeEngine

CONTEXT = RunContext(Path("runs/pong"), "apex_dqn", "ALE/Pong-v5", 3, {"env_steps": 1000, "seconds": 3600.0})


def row(engine: FakeEngine, seconds: float) -> dict[str, object]:
    return {**engine.train()["rlx"], "seconds": seconds}


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_live_panel_shows_all_of_it(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    view = LiveView(console)
    view.start(CONTEXT)
    assert "building the engine" in capture(width, view)
    engine = FakeEngine()
    for index in range(4):
        view.update(row(engine, 10.0 * (index + 1)))
    view.update({**row(engine, 50.0), "evaluation_return_mean": 12.5, "evaluation_return_std": 1.0})
    view.checkpoint("checkpoint_000007")
    view.event("info", "saved checkpoint_000007")
    shown = capture(width, view)
    parts = ["apex_dqn", "Pong", "seed 3", "env_steps 500 / 1000", "50.0%", "50s to go", "50 steps/s"]
    parts += ["200 frames/s", "5 updates/s", "7.9 of 8", "3.0 updates", "1234 env steps", "50% full"]
    parts += ["runners 25% for the learner · learner 1% for data", "12.50 ± 1.00", "checkpoint_000007", "█"]
    flat = " ".join(shown.split())
    missing = [part for part in parts if part not in flat]
    assert missing == ([] if width > 60 else missing)
    assert max(len(line) for line in shown.splitlines()) <= width
    view.finish(SimpleNamespace(state="finished", reason="env_steps >= 1000"))


def capture(width: int, view: LiveView) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(view.render())
    return captured.get()


def test_plain_lines_parse_as_pairs() -> None:
    stream = io.StringIO()
    view = PlainView(stream)
    view.start(CONTEXT)
    engine = FakeEngine()
    view.update(row(engine, 10.0))
    view.update(row(engine, 20.0))
    view.event("warning", "disk full")
    lines = stream.getvalue().splitlines()
    data = [line for line in lines if not line.startswith("#")]
    pairs = dict(pair.split("=", 1) for pair in data[1].split(" "))
    assert float(pairs["env_steps"]) == 200
    assert float(pairs["env_frames"]) == 800
    assert float(pairs["progress"]) == 0.2
    assert float(pairs["eta_seconds"]) == 80  # 800 steps at 10 a second
    assert "# warning: disk full" in lines


def test_sparklines() -> None:
    assert sparkline([0, 7], 10) == "▁█"
    assert sparkline([3, 3, 3], 10) == "▁▁▁"
    assert sparkline(list(range(8)), 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0.0] * 50 + [1.0] * 50, 2) == "▁█"
    assert sparkline([], 10) == ""


def test_words() -> None:
    assert [clock(s) for s in (0, 59.9, 61, 3725, 90_000)] == ["0s", "59s", "1:01", "1:02:05", "1d 1h"]
    assert [quantity(n) for n in (950, 12_345, 4_560_000, 2.5, None)] == [
        "950",
        "12.3k",
        "4.56M",
        "2.50",
        "-",
    ]


def test_the_nearest_condition_is_the_one_reached_first() -> None:
    stop = {"env_steps": 1000.0, "seconds": 60.0, "return_mean": 20.0}
    now = {"env_steps": 900, "seconds": 30.0, "return_mean": float("nan")}
    nearest = progress(stop, now, {"env_steps": 1.0})
    assert nearest is not None
    assert (nearest.condition, nearest.eta_seconds) == ("seconds", 30.0)
    nearest = progress(stop, now, {"env_steps": 10.0})
    assert nearest is not None
    assert (nearest.condition, nearest.eta_seconds, nearest.fraction) == ("env_steps", 10.0, 0.9)
    assert reached(stop, now) is None
    assert reached(stop, {**now, "return_mean": 20.0}) == "return_mean >= 20"


def test_pace_uses_the_newest_rows() -> None:
    pace = Pace({"env_steps": 1000.0})
    pace.add({"env_steps": 0, "seconds": 0.0})
    where = pace.add({"env_steps": 500, "seconds": 10.0})
    assert where is not None
    assert where.eta_seconds == 10.0


def test_periodic_by_steps_is_at_multiples_however_it_starts() -> None:
    for start in (0, 150, 199):
        due = Periodic(None, 100, now=0.0, env_steps=start)
        seen = []
        for steps in range(start + 30, 600, 30):
            if due.due(0.0, steps):
                seen.append(steps // 100)
                due.mark(0.0, steps)
        assert seen == list(range(start // 100 + 1, 6))
