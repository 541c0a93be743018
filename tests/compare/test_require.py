"""Requirements: what can be asked, and that a missing value never counts as met."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlx.compare.comparison import compare, met
from rlx.compare.errors import CompareUsageError
from tests.compare.made import line, make_run


@pytest.fixture
def runs(tmp_path: Path) -> str:
    """Two seeds on Breakout, 50 and 70: human-normalised 1.68 and 2.37."""
    for seed, score in enumerate((50.0, 70.0)):
        make_run(tmp_path, line(4e6, 60, score), seed=seed)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("Breakout>=60", 60.0, True),
        ("Breakout > 60", 60.0, False),
        ("breakout<=60", 60.0, True),
        ("ALE/Breakout-v5<60", 60.0, False),
        ("BreakoutNoFrameskip-v4>=61", 60.0, False),
        ("ours:Breakout>=6e1", 60.0, True),
        ("Breakout.hns>=2", (60 - 1.7) / 28.8, True),
        ("median_hns>=2.03", (60 - 1.7) / 28.8, False),
        ("median_hns.low>=1.5", (50 - 1.7) / 28.8, True),
        ("median_hns.high<2.4", (70 - 1.7) / 28.8, True),
        ("games_above_human>=1", 1.0, True),
    ],
)
def test_values_and_outcomes(runs: str, text: str, value: float, holds: bool) -> None:
    document = compare([runs], to="", require=[text])
    (outcome,) = document["requirements"]
    assert outcome["value"] == pytest.approx(value)
    assert outcome["met"] is holds
    assert outcome["taken"] == ("over 1 games" if "_h" in text else "training return, last of 50")
    assert met(document) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Breakout=60", "cannot be read"),
        ("Breakout>=many", "cannot be read"),
        ("Breakout>=nan", "cannot be read"),
        (">=3", "cannot be read"),
        ("Braekout>=3", "did you mean 'Breakout'"),
        ("median_hsn>=3", "did you mean 'median_hns'"),
        ("Pong>=3", "no run on Pong is compared"),
        ("Breakout.low>=3", "intervals are of statistics over games"),
        ("median_hns.hns>=3", "human-normalised already"),
        ("theirs:Breakout>=3", "neither a statistic nor a game"),
    ],
)
def test_what_cannot_be_asked(runs: str, text: str, message: str) -> None:
    with pytest.raises(CompareUsageError, match=message):
        compare([runs], to="", require=[text])


def test_an_interval_of_one_seed_is_not_met(tmp_path: Path) -> None:
    make_run(tmp_path, line(4e6, 60, 50.0))
    document = compare([str(tmp_path)], to="", require=["median_hns.low>=-100"])
    (outcome,) = document["requirements"]
    assert (outcome["value"], outcome["met"]) == (None, False)
    assert outcome["reason"] == "one seed: an interval over seeds needs two or more"


def test_a_missing_score_is_not_met(tmp_path: Path) -> None:
    make_run(tmp_path, line(4e6, 60, 50.0), env="CartPole-v1")
    asked = ["CartPole-v1<=1e9", "median_hns<=1e9", "CartPole-v1.hns<=1e9"]
    document = compare([str(tmp_path)], to="", at="10M-steps", require=asked)
    reasons = [outcome["reason"] for outcome in document["requirements"]]
    assert not any(outcome["met"] for outcome in document["requirements"])
    assert "none at 10M frames" in reasons[0]
    assert reasons[1] == "no score of the 57 games"


def test_every_agent_must_meet_it_unless_one_is_named(tmp_path: Path) -> None:
    for name, score in (("good", 90.0), ("good-2", 10.0)):
        make_run(tmp_path, line(1000, 60, score), name=name, env="CartPole-v1")
    document = compare([str(tmp_path)], require=["CartPole-v1>=50", "good:CartPole-v1>=50"])
    outcomes = {(row["requirement"], row["agent"]): row["met"] for row in document["requirements"]}
    assert not met(document)
    assert outcomes == {
        ("CartPole-v1>=50", "good"): True,
        ("CartPole-v1>=50", "good-2"): False,
        ("good:CartPole-v1>=50", "good"): True,
    }
