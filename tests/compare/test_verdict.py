"""The margin of a verdict, worked by hand."""

from __future__ import annotations

import pytest

from rlx.compare.verdict import KNOWN_RULE, WIDE_RULE, judge
from rlx.reference.atari import Baseline

SCALE = Baseline(random=10.0, human=110.0)


@pytest.mark.parametrize(
    ("score", "word"),
    [(100.0, "within"), (120.0, "within"), (120.1, "above"), (80.0, "within"), (79.9, "below")],
)
def test_two_standard_deviations_where_the_spread_is_known(score: float, word: str) -> None:
    found = judge(score, 100.0, 10.0, SCALE)
    assert (found.word, found.margin, found.rule) == (word, 20.0, KNOWN_RULE)


@pytest.mark.parametrize(("score", "word"), [(235.0, "within"), (263.0, "above"), (157.0, "below")])
def test_a_quarter_of_the_distance_from_random_elsewhere(score: float, word: str) -> None:
    found = judge(score, 210.0, None, SCALE)
    assert (found.word, found.margin, found.rule) == (word, 50.0, WIDE_RULE)


def test_a_reference_that_plays_at_random_has_a_margin_all_the_same() -> None:
    assert judge(14.9, 10.0, None, SCALE).word == "within"
    assert judge(15.1, 10.0, None, SCALE) == judge(15.1, 10.0, None, SCALE)
    assert judge(15.1, 10.0, None, SCALE).word == "above"
    assert judge(15.1, 10.0, None, SCALE).margin == 5.0


def test_below_random_the_distance_still_counts() -> None:
    pong = Baseline(random=-20.7, human=14.6)
    assert judge(0.0, 20.0, None, pong).margin == pytest.approx(40.7 / 4)
