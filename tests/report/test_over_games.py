"""Intervals and profiles are those of the document."""

from __future__ import annotations

import pytest

from rlx.report.chart import PLOT_HEIGHT, TOP
from rlx.report.looks import looks_of
from rlx.report.over_games import STATISTICS, estimate_text, interval_figures, profile_figure
from rlx.report.scene import Area, Line, Marker
from tests.report.made import estimate, text_at, texts

LOOKS = looks_of(["ours"], ["ours", "dqn"])


def test_intervals_are_in_their_places() -> None:
    values = {name: estimate(2.0, 1.0, 4.0) for name in STATISTICS}
    rows = [
        {"of": "ours", "agent": "ours", "beside": "dqn", "games": ["Pong"], "values": values},
        {
            "of": "dqn",
            "agent": "ours",
            "beside": "dqn",
            "games": ["Pong"],
            "values": {name: estimate(3.0) for name in STATISTICS},
        },
    ]
    figures = interval_figures({"aggregates": rows}, LOOKS, "over")
    assert [figure.title for figure in figures] == list(STATISTICS.values())
    median = figures[0]
    zero, four = text_at(median, "0")[0], text_at(median, "4")[0]
    (whisker,) = [shape for shape in median.shapes if isinstance(shape, Line) and shape.width == 2.5]
    assert [x for x, _ in whisker.points] == pytest.approx([zero + (four - zero) / 4, four])
    ours, theirs = [shape for shape in median.shapes if isinstance(shape, Marker)]
    assert ours.at[0] == pytest.approx((zero + four) / 2)
    assert theirs.at[0] == pytest.approx(zero + 0.75 * (four - zero))
    assert (ours.color, theirs.color) == ("k0", "k2")
    assert "2.00 [1.00, 4.00]" in texts(median.shapes)
    assert "1 game of ours that dqn has too" in texts(median.shapes)
    assert texts(figures[-1].shapes)[-1] == "games"


def test_no_games_no_figures() -> None:
    assert interval_figures({"aggregates": []}, LOOKS, "over") == []
    assert profile_figure({"profiles": []}, LOOKS, "profile") is None


def test_one_seed_has_no_interval() -> None:
    assert estimate_text(estimate(1.5)) == "1.50"
    points = [
        {"agent": "ours", "threshold": tau, "fraction": f, "low": None, "high": None} for tau, f in _POINTS
    ]
    scene = profile_figure({"profiles": points}, LOOKS, "profile")
    assert scene is not None
    assert not [shape for shape in scene.shapes if isinstance(shape, Area)]


_POINTS = ((0.0, 1.0), (0.5, 0.75), (10.0, 0.0))


def test_a_profile_has_the_document_s_fractions() -> None:
    points = [
        {"agent": "ours", "threshold": tau, "fraction": f, "low": f / 2, "high": f} for tau, f in _POINTS
    ]
    scene = profile_figure({"profiles": points}, LOOKS, "profile")
    assert scene is not None
    (line,) = [shape for shape in scene.shapes if isinstance(shape, Line) and shape.tip == "ours"]
    bottom = TOP + PLOT_HEIGHT
    assert [y for _, y in line.points] == pytest.approx([TOP, TOP + PLOT_HEIGHT / 4, bottom])
    (band,) = [shape for shape in scene.shapes if isinstance(shape, Area)]
    assert band.points[-1][1] == pytest.approx(TOP + PLOT_HEIGHT / 2)
    assert {"0", "0.5", "10", "fraction of runs x games"} <= set(texts(scene.shapes))
    assert "0.75 above 0.5" in scene.description
