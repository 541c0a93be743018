"""Learning curves are drawn where their numbers are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlx.compare.comparison import read_agents
from rlx.report.chart import LEFT, PLOT_HEIGHT, RIGHT, TOP, WIDTH, clipped, learning_curves
from rlx.report.curves import Curve, Panel, Track, panels
from rlx.report.looks import looks_of
from rlx.report.scene import Area, Line, Marker, Scene
from tests.compare.made import make_run
from tests.report.made import text_at, texts

LOOKS = looks_of(["ours"], ["theirs"])


def curve(
    name: str, x: list[float], y: list[float], *, own: bool = True, spread: float | None = None
) -> Curve:
    band = None if spread is None else np.full(len(x), spread)
    return Curve(name, own, Track(name, np.array(x), np.array(y)), band)


def drawn(*curves: Curve, axis: str = "frames") -> Scene:
    scene = learning_curves(Panel("Env-v0", "seconds" if axis == "seconds" else "frames", curves), LOOKS, "k")
    assert scene is not None
    return scene


def curve_line(scene: Scene, tip: str) -> Line:
    (found,) = [shape for shape in scene.shapes if isinstance(shape, Line) and shape.tip == tip]
    return found


def test_points_are_in_their_places() -> None:
    scene = drawn(curve("ours", [0.0, 50.0, 100.0], [0.0, 400.0, 200.0]))
    right, bottom = WIDTH - RIGHT, TOP + PLOT_HEIGHT
    points = curve_line(scene, "ours").points
    places = [(LEFT, bottom), ((LEFT + right) / 2, TOP), (right, TOP + PLOT_HEIGHT / 2)]
    assert [*sum(points, ())] == pytest.approx([*sum(places, ())])
    assert text_at(scene, "40") == pytest.approx((LEFT + 0.4 * (right - LEFT), bottom + 17))
    assert text_at(scene, "300") == pytest.approx((LEFT - 6, bottom - 0.75 * PLOT_HEIGHT + 4))
    assert {"environment frames", "training return", "0", "400", "100", "ours"} <= set(texts(scene.shapes))
    assert "ours: 200 at 100 frames" in scene.description


def test_own_lines_are_solid_and_published_ones_dashed() -> None:
    scene = drawn(curve("ours", [0, 9], [0, 1]), curve("theirs", [0, 9], [0, 2], own=False))
    assert curve_line(scene, "ours").dash == ()
    assert curve_line(scene, "theirs").dash
    shapes = {shape.shape for shape in scene.shapes if isinstance(shape, Marker)}
    assert len(shapes) == 2


def test_a_long_reference_ends_a_quarter_beyond_the_runs() -> None:
    ours = curve("ours", [0.0, 100.0], [0.0, 10.0])
    scene = drawn(ours, curve("theirs", [0.0, 200.0], [0.0, 400.0], own=False))
    end = curve_line(scene, "theirs").points[-1]
    # 125 of 200 frames: a score of 250.
    assert end[0] == pytest.approx(WIDTH - RIGHT)
    assert end == pytest.approx((WIDTH - RIGHT, TOP), abs=1e-6)
    late = drawn(ours, curve("theirs", [500.0, 900.0], [7.0, 9.0], own=False))
    assert "theirs (begins beyond the axis)" in texts(late.shapes)


def test_the_band_is_one_spread_wide() -> None:
    scene = drawn(curve("ours", [0.0, 100.0], [100.0, 100.0], spread=100.0))
    (band,) = [shape for shape in scene.shapes if isinstance(shape, Area)]
    heights = sorted({y for _, y in band.points})
    assert heights == pytest.approx([TOP, TOP + PLOT_HEIGHT])


def test_wall_time_has_a_unit() -> None:
    scene = drawn(curve("ours", [0.0, 7200.0], [0.0, 1.0]), axis="seconds")
    assert "wall time (hours)" in texts(scene.shapes)
    assert "2" in texts(scene.shapes)
    assert "at 2 h" in scene.description


def test_a_single_point_is_seen() -> None:
    scene = drawn(curve("ours", [100.0], [5.0]))
    assert [shape.tip for shape in scene.shapes if isinstance(shape, Marker)][:1] == ["ours: 5.00"]
    assert curve_line(scene, "ours").points[0][0] == pytest.approx(WIDTH - RIGHT)


def test_nothing_recorded_is_no_figure(tmp_path: Path) -> None:
    make_run(tmp_path, [(1e6, 1.0, None)], env="CartPole-v1")
    for panel in panels(read_agents([str(tmp_path)]), []):
        assert learning_curves(panel, LOOKS, "k") is None


def test_clipping_interpolates() -> None:
    x, y = clipped(np.array([0.0, 10.0, 20.0]), np.array([0.0, 1.0, 2.0]), 15.0)
    assert (x.tolist(), y.tolist()) == ([0.0, 10.0, 15.0], [0.0, 1.0, 1.5])
    assert clipped(np.array([5.0]), np.array([1.0]), 1.0)[0].tolist() == []
