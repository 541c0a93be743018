from __future__ import annotations

import numpy as np
import pytest

from rlx.reference import (
    UnknownGameError,
    UnknownReferenceError,
    curve,
    find_reference,
    games,
    games_with_curves,
)
from rlx.reference.dopamine import LAST_POINTS, dopamine_references
from rlx.reference.tables import cached_table


def test_rllib_s_curve_has_wall_time_and_frames() -> None:
    found = curve("rllib-apex", "ALE/Breakout-v5")
    assert found is not None
    assert found.seconds is not None
    assert found.score_std is None
    assert found.num_runs == 1
    (row,) = [
        r for r in cached_table("rllib_runs.csv") if r["run_id"] == "apex-2018-09" and "Breakout" in r["env"]
    ]
    assert found.env_frames[-1] == 4 * int(row["timesteps_total"])
    assert found.seconds[-1] == pytest.approx(float(row["wall_s_total"]), abs=1)
    assert found.score_mean[-1] == pytest.approx(float(row["reward_last"]), rel=1e-3)
    for values in (found.env_frames, found.seconds):
        assert np.all(np.diff(values) > 0)
    assert "g3.16xlarge" in found.hardware


def test_the_mean_of_three_runs() -> None:
    found = curve("rllib-impala-2020-tf", "Breakout")
    assert found is not None
    assert found.score_std is not None
    assert found.num_runs == 3
    # It ends where the shortest run does: at 30,023,500 agent steps.
    assert 0.98 * 4 * 30_023_500 < found.env_frames[-1] <= 4 * 30_023_500
    at_40m = np.argmin(np.abs(found.env_frames - 40e6))
    reference = find_reference("rllib-impala-2020-tf")
    assert found.score_mean[at_40m] == pytest.approx(reference.scores["Breakout"], rel=0.05)


def test_dopamine_s_curve_has_a_spread_and_no_time() -> None:
    found = curve("dopamine-rainbow", "pong")
    assert found is not None
    assert found.seconds is None
    assert found.score_std is not None
    assert found.num_runs == 5
    np.testing.assert_array_equal(found.env_frames, np.arange(1, 200) * 1e6)
    assert (curve("dopamine-c51", "AirRaid") or found).score_mean[:2].tolist() == [470.85, 394.48]


def test_there_is_none() -> None:
    assert curve("apex_dqn", "Pong") is None
    assert curve("rainbow", "Pong") is None
    assert curve("rllib-apex", "Pong") is None
    assert curve("dopamine-dqn", "Surround") is None
    assert curve("rllib-apex", "AirRaid") is None
    assert games_with_curves("apex_dqn") == ()


def test_names_are_checked() -> None:
    with pytest.raises(UnknownGameError):
        curve("dopamine-dqn", "Pnog")
    with pytest.raises(UnknownReferenceError):
        curve("dopamin-dqn-3", "Pong")


def test_games_with_curves() -> None:
    four = ("BeamRider", "Breakout", "Qbert", "SpaceInvaders")
    assert games_with_curves("rllib-apex-1h") == four
    assert games_with_curves("rllib-dqn") == ()
    assert len(games_with_curves("dopamine-iqn")) == 60
    assert all(curve("rllib-apex", game) is not None for game in four)


@pytest.mark.parametrize("reference", dopamine_references(), ids=lambda reference: reference.name)
def test_final_scores_are_the_end_of_the_curves(reference) -> None:
    for game in games():
        found = curve(reference, game.name)
        if found is None:
            assert game.name in ("Defender", "Surround")
            assert reference.scores[game.name] is None
            continue
        assert found.score_std is not None
        assert reference.scores[game.name] == pytest.approx(found.score_mean[-LAST_POINTS:].mean(), rel=1e-5)
        spread = found.score_std[-LAST_POINTS:].mean()
        assert reference.spreads[game.name] == pytest.approx(spread, rel=1e-5, abs=1e-9)


def test_medians_of_the_last_5m_frames() -> None:
    expected = {"dopamine-dqn": 65, "dopamine-c51": 109, "dopamine-iqn": 125, "dopamine-rainbow": 148}
    for name, percent in expected.items():
        reference = find_reference(name)
        assert len(reference.games) == 55
        assert 100 * (reference.median_hns or 0) == pytest.approx(percent, abs=0.5)


def test_curves_cannot_be_changed() -> None:
    for reference, game in (
        ("rllib-apex", "Breakout"),
        ("rllib-impala-2020-tf", "Breakout"),
        ("dopamine-dqn", "Pong"),
    ):
        found = curve(reference, game)
        assert found is not None
        with pytest.raises(ValueError, match="read-only"):
            found.score_mean[0] = 0.0
