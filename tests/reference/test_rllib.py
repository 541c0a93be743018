from __future__ import annotations

import pytest

from rlx.reference import find_game, find_reference, references, rllib_experiments, rllib_rows
from rlx.reference.tables import cached_table

RLLIB = [reference for reference in references() if reference.kind in ("rllib", "rllib_readme_plot")]


def test_every_atari_score_of_the_readme_is_in_one_reference() -> None:
    rows = [row for row in rllib_rows() if row.env.endswith("NoFrameskip-v4") and "time_to" not in row.budget]
    assert len(rows) == 88
    for row in rows:
        game = find_game(row.env).name
        steps = row.budget.removesuffix("M_steps")
        found = [
            reference
            for reference in RLLIB
            if reference.title == f"{row.agent}, {row.budget.replace('_', ' ').replace('1h', '1 hour')}"
        ]
        (reference,) = found
        assert reference.scores[game] == row.score
        assert reference.approximate == row.approximate
        if steps.isdigit():
            assert reference.budget.env_frames == int(steps) * 4_000_000
            assert reference.budget.seconds is None
        else:
            assert reference.budget.seconds == 3600.0


def test_every_raw_run_belongs_to_a_reference() -> None:
    used = {run for reference in RLLIB for run in reference.runs}
    assert used == {row["run_id"] for row in cached_table("rllib_runs.csv")}


def test_ape_x() -> None:
    apex = find_reference("rllib-apex")
    assert {game: apex.scores[game] for game in apex.games} == {
        "BeamRider": 6134.0,
        "Breakout": 123.0,
        "Qbert": 15302.0,
        "SpaceInvaders": 686.0,
    }
    assert apex.budget.env_frames == 40_000_000
    assert apex.seeds == 1
    assert "g3.16xlarge" in apex.hardware
    assert (apex.protocol.score_kind, apex.protocol.score_point) == ("training", "at_budget")
    assert rllib_experiments()[apex.experiment]["hyperparameters"]["train_batch_size"] == 512
    others = {other.where: other.score for other in apex.other_scores if other.game == "BeamRider"}
    assert others == {
        "raw run, reports within 2% of 10M steps": 5243.1,
        "raw run, last report": 2850.0,
        "raw run, best report": 8559.0,
    }


def test_ape_x_of_2020_is_another_result() -> None:
    later = find_reference("rllib-apex-2020")
    assert later.scores["Qbert"] == 3870.4
    assert "0.05" in later.caveats[0]


def test_impala_has_no_raw_value_at_an_hour() -> None:
    impala = find_reference("rllib-impala-1h")
    assert impala.scores["Qbert"] == 10850.0
    assert {other.where for other in impala.other_scores} == {"raw run, last report", "raw run, best report"}
    assert any("53 minutes" in caveat for caveat in impala.caveats)


def test_three_runs_have_a_mean_and_a_spread() -> None:
    # Breakout at 10M steps: 392.36, 398.79 and 391.17.
    impala = find_reference("rllib-impala-2020-tf")
    assert impala.seeds == 3
    assert impala.scores["Breakout"] == pytest.approx(394.10667, abs=1e-4)
    assert impala.spreads["Breakout"] == pytest.approx(3.34706, abs=1e-4)
    assert impala.spreads["Pong"] is None
    assert impala.scores["Pong"] is None


def test_pong_is_the_end_of_the_run() -> None:
    pong = find_reference("rllib-impala-pong-64")
    assert pong.scores["Pong"] == 19.88
    assert pong.protocol.score_point == "final"
    assert (pong.budget.env_frames, pong.budget.seconds) == (13_559_250 * 4, 617.0)
    times = {row.workers: row.score for row in rllib_rows() if row.budget == "time_to_reward_18_seconds"}
    assert times == {32: 424.6, 64: 256.1, 128: 184.2}


def test_plots_are_approximate_and_their_protocol_unknown() -> None:
    plot = find_reference("plot-hessel2018-rainbow")
    assert plot.approximate
    assert plot.protocol.unknown() == (
        *("start", "noop_max", "sticky_action_probability", "max_episode_frames", "score_kind"),
    )


def test_experiments_exist() -> None:
    named = {reference.experiment for reference in RLLIB if reference.experiment}
    assert named <= set(rllib_experiments())
    dueling = rllib_experiments()["atari-dqn-dueling-double"]["hyperparameters"]
    assert dueling["dueling"]
    assert dueling["double_q"]
