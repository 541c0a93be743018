"""Bars by game: whose, in which order, and how long on a log scale."""

from __future__ import annotations

from typing import Any

import pytest

from rlx.report.bars import NAMES, VALUES, WIDTH, Bar, bars_by_game, game_bars
from rlx.report.looks import looks_of
from rlx.report.scene import Area
from tests.report.made import text_at, texts


def score(game: str | None, hns: float | None, agent: str = "ours") -> dict[str, Any]:
    return {"agent": agent, "env": f"{game}-v4", "game": game, "score": {"hns": hns}}


def beside(game: str, ours: float, reference: str, theirs: float | None, **more: Any) -> dict[str, Any]:
    row = {"agent": "ours", "env": f"{game}-v4", "game": game, "reference": reference, "comparable": True}
    return {**row, "ours": {"hns": ours}, "reference_hns": theirs, **more}


LOOKS = looks_of(["ours"], ["rainbow", "dqn"])


def test_each_game_has_ours_then_theirs_and_the_best_game_is_first() -> None:
    document = {
        "scores": [score("Pong", 0.5), score("Breakout", 3.0), score(None, None)],
        "comparisons": [
            beside("Breakout", 2.0, "rainbow", 14.4),
            beside("Breakout", 2.5, "dqn", 13.3),
            beside("Pong", 0.5, "rainbow", 1.2),
            beside("Pong", 0.5, "dqn", 9.9, comparable=False),
        ],
    }
    assert bars_by_game(document) == {
        "Breakout": [
            Bar("ours", True, "ours, as rainbow", 2.0),
            Bar("ours", True, "ours, as dqn", 2.5),
            Bar("rainbow", False, "rainbow", 14.4),
            Bar("dqn", False, "dqn", 13.3),
        ],
        "Pong": [Bar("ours", True, "ours", 0.5), Bar("rainbow", False, "rainbow", 1.2)],
    }


def test_without_a_reference_the_first_table_s_score_is_shown() -> None:
    document = {"scores": [score("Pong", 0.5)], "comparisons": []}
    assert bars_by_game(document) == {"Pong": [Bar("ours", True, "ours", 0.5)]}
    assert game_bars({"scores": [score(None, None)], "comparisons": []}, LOOKS, "k") is None
    assert game_bars({"scores": [score("Pong", None)], "comparisons": []}, LOOKS, "k") is None


def test_bars_go_from_human_by_ratio() -> None:
    document = {"scores": [score("Pong", 10.0)], "comparisons": [beside("Pong", 10.0, "dqn", 0.1)]}
    scene = game_bars(document, LOOKS, "k")
    assert scene is not None
    ours, theirs = [shape for shape in scene.shapes if isinstance(shape, Area)]
    # 0.1 to 10 are two decades; 1 is in the middle.
    middle = (NAMES + WIDTH - VALUES) / 2
    assert [x for x, _ in ours.points] == pytest.approx([middle, WIDTH - VALUES, WIDTH - VALUES, middle])
    assert [x for x, _ in theirs.points] == pytest.approx([middle, NAMES, NAMES, middle])
    assert (ours.color, theirs.color) == ("k0", "k2")
    assert text_at(scene, "1")[0] == pytest.approx(middle)
    assert {"10.0", "0.10", "Pong", "human-normalised score (1 = human)"} <= set(texts(scene.shapes))
    assert "Pong: ours 10.0, dqn 0.10" in scene.description


def test_scores_below_the_random_policy_end_at_the_axis() -> None:
    scene = game_bars({"scores": [score("Pong", -0.2)], "comparisons": []}, LOOKS, "k")
    assert scene is not None
    (bar,) = [shape for shape in scene.shapes if isinstance(shape, Area)]
    assert min(x for x, _ in bar.points) == NAMES
    assert "-0.20" in texts(scene.shapes)
