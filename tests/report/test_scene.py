"""Looks differ by more than hue, and scenes are put side by side."""

from __future__ import annotations

from rlx.report.looks import looks_of
from rlx.report.scene import MARKERS, Line, Marker, Scene, Text, fit, grid_of, marker_points, style


def test_no_two_of_sixteen_series_look_the_same() -> None:
    looks = [style(index) for index in range(16)]
    assert len({(look.color, look.marker) for look in looks}) == 16
    assert len({look.marker for look in looks[:8]}) == 8
    assert all(look.dash for look in looks)
    assert style(3, solid=True).dash == ()


def test_an_agent_and_a_reference_of_one_name_are_told_apart() -> None:
    looks = looks_of(["rainbow"], ["rainbow", "dqn"])
    assert looks.of("rainbow", own=True) != looks.of("rainbow", own=False)
    assert looks.label("rainbow", own=True) == "rainbow"
    assert looks.label("rainbow", own=False) == "rainbow (published)"
    assert looks.label("dqn", own=False) == "dqn"


def test_texts_are_cut_visibly() -> None:
    assert fit("short", 10, 100) == "short"
    # 57 units hold ten letters of size 10.
    assert fit("abcdefghijklm", 10, 57) == "abcdefghi…"


def test_a_grid_moves_every_shape() -> None:
    shapes = (Line(((0.0, 0.0), (5.0, 5.0)), "k0"), Marker((1.0, 2.0), "ring", "k0"))
    scene = Scene("a", "A", "", 100.0, 50.0, shapes)
    grid = grid_of([scene, scene, scene], 2, key="g", title="G", gap=10.0)
    lines = [shape.points[0] for shape in grid.shapes if isinstance(shape, Line)]
    assert lines == [(10.0, 30.0), (120.0, 30.0), (10.0, 110.0)]
    assert [shape.at for shape in grid.shapes if isinstance(shape, Marker)][1] == (121.0, 32.0)
    assert (grid.width, grid.height) == (230.0, 170.0)
    assert [shape.text for shape in grid.shapes if isinstance(shape, Text)] == ["A", "A", "A"]


def test_markers_are_around_their_point() -> None:
    for shape in MARKERS:
        corners = marker_points(shape, (10.0, 20.0), 3.0)
        assert (not corners) == (shape in ("circle", "ring"))
        for x, y in corners:
            assert abs(x - 10.0) <= 4.1
            assert abs(y - 20.0) <= 4.1
