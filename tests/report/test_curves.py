"""Curves over seeds, thinned without losing peaks, and never a reference that was measured otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlx.compare.comparison import read_agents
from rlx.compare.errors import MixedProtocolsError
from rlx.reference.catalog import find_reference
from rlx.report.curves import Track, over_seeds, panels, references_to_draw, refuse_mixed, thin
from tests.compare.made import line, make_run


def track(label: str, x: list[float], y: list[float]) -> Track:
    return Track(label, np.array(x), np.array(y))


def test_mean_and_spread_are_where_all_seeds_are() -> None:
    first = track("a", [0, 10, 20, 30], [0, 10, 20, 30])
    second = track("b", [5, 25], [25, 25])
    mean, spread = over_seeds([first, second], "agent")
    assert mean.x.tolist() == [10, 20]
    assert mean.y.tolist() == [17.5, 22.5]
    assert spread is not None
    assert spread.tolist() == [7.5, 2.5]


def test_seeds_that_share_no_stretch_have_no_mean() -> None:
    mean, spread = over_seeds([track("a", [0, 1], [0, 1]), track("b", [5, 6], [9, 9])], "agent")
    assert (mean.y.tolist(), spread) == ([0, 1], None)


def test_thinning_keeps_ends_and_peaks() -> None:
    x = np.arange(100_000, dtype=np.float64)
    y = np.zeros(100_000)
    y[54_321], y[12_345] = 9.0, -7.0
    xs, ys = thin(x, y, 100)
    assert len(xs) <= 400
    assert (xs[0], xs[-1], ys.max(), ys.min()) == (0.0, 99_999.0, 9.0, -7.0)
    assert xs[ys.argmax()] == 54_321
    assert (np.diff(xs) > 0).all()
    few = np.arange(10.0)
    assert thin(few, few)[0] is few


def test_one_seed_has_no_band(tmp_path: Path) -> None:
    make_run(tmp_path, line(40e6, 7000, 100.0))
    frames, seconds = panels(read_agents([str(tmp_path)]), [find_reference("rllib-apex")])
    assert [(panel.axis, len(panel.curves)) for panel in (frames, seconds)] == [("frames", 2), ("seconds", 2)]
    own, reference = frames.curves
    assert (own.spread, own.seeds, own.mean.y[-1]) == (None, (), 100.0)
    assert (reference.own, reference.name) == (False, "rllib-apex")
    assert seconds.curves[0].mean.x[-1] == 7000


def test_no_wall_time_and_no_curve(tmp_path: Path) -> None:
    make_run(tmp_path, [(1e6, float("nan"), 1.0), (2e6, float("nan"), 2.0)], name="a", env="CartPole-v1")
    frames, seconds = panels(read_agents([str(tmp_path)]), [find_reference("rllib-apex")])
    assert [len(frames.curves), len(seconds.curves)] == [1, 0]
    make_run(tmp_path / "x", [(1e6, 1.0, None)], name="b", env="CartPole-v1")
    assert [panel.curves for panel in panels(read_agents([str(tmp_path / "x")]), [])] == [(), ()]


def test_what_was_measured_otherwise_is_left_out_or_marked(tmp_path: Path) -> None:
    make_run(tmp_path, line(40e6, 7000, 100.0))
    agents, sticky = read_agents([str(tmp_path)]), [find_reference("dopamine-dqn")]
    assert [curve.name for curve in panels(agents, sticky)[0].curves] == ["ours"]
    marked = panels(agents, sticky, allow_mixed=True)[0].curves[1]
    assert any("sticky" in text for text in marked.differences)
    with pytest.raises(MixedProtocolsError, match="sticky"):
        refuse_mixed(agents, sticky)
    refuse_mixed(agents, [find_reference("rllib-apex")])


def test_references_to_draw() -> None:
    assert [one.name for one in references_to_draw("rainbow, dqn,rainbow")] == ["rainbow", "dqn"]
    assert references_to_draw("") == []
    assert "rllib-apex" in [one.name for one in references_to_draw(None)]
