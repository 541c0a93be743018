"""The whole document: matched scores, verdicts, budgets and aggregates, with numbers worked by hand.

Breakout: random 1.7, human 30.5. Qbert: random 163.9, human 13455.0. Pong: random -20.7, human 14.6.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlx.compare.comparison import compare
from rlx.compare.errors import CompareError, CompareUsageError, MixedProtocolsError
from rlx.compare.verdict import KNOWN_RULE, WIDE_RULE
from rlx.reference import curve, find_reference
from rlx.reference.errors import UnknownReferenceError
from rlx.runs.files import plain
from tests.compare.made import add_record, line, make_run

STICKY = "ALE/Breakout-v5"


def one(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """Return the only row with these values."""
    (found,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found


def test_the_score_is_the_mean_over_seeds(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, line(4e6, 60, score), seed=seed) for seed, score in enumerate((20.0, 40.0))]
    document = compare([str(run) for run in runs], to="")
    (row,) = document["scores"]
    score = row["score"]
    assert (score["score"], score["spread"], score["seeds"]) == (30.0, 10.0, 2)
    assert score["hns"] == pytest.approx((30.0 - 1.7) / (30.5 - 1.7))
    assert [seed["score"] for seed in score["per_seed"]] == [20.0, 40.0]
    assert (score["env_frames"], score["seconds"]) == (4e6, 60.0)


def test_a_training_reference_is_beside_the_training_return_at_its_budget(tmp_path: Path) -> None:
    # 100 rows of 0.5M frames: 79, 80 and 81 are within 2% of 40M frames, and 80% of the last score.
    run = make_run(tmp_path, line(50e6, 1000, 150.0, rows=100), evaluations=[(50e6, 400.0)])
    row = one(compare([str(run)], to="rllib-apex")["comparisons"], reference="rllib-apex")
    assert row["comparable"]
    assert row["ours"]["score"] == pytest.approx(120.0)
    assert "training return, mean of 3" in row["ours"]["taken"]
    assert (row["theirs"]["score"], row["theirs"]["env_frames"]) == (123.0, 40e6)
    assert row["reference_hns"] == pytest.approx(121.3 / 28.8)
    assert row["verdict"] == {"word": "within", "margin": pytest.approx(121.3 / 4), "rule": WIDE_RULE}
    assert row["unknown"] == ("episode cap in frames",)
    assert "raw run, reports within 2% of 10M steps: 112.06" in row["notes"], (
        "sources disagree: both are shown"
    )


def test_an_evaluation_reference_is_beside_rlx_evaluate(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 1000, 150.0), evaluations=[(50e6, 390.0)])
    row = one(compare([str(run)], to="rainbow")["comparisons"])
    assert row["ours"]["score"] == 390.0
    assert row["ours"]["taken"].startswith("evaluation while training, highest")
    add_record(run, 400.0, 25e6, checkpoint=1)
    add_record(run, 380.0, 50e6, checkpoint=2)
    best, final = compare([str(run)], to="rainbow,r2d2")["comparisons"]
    assert (best["reference"], best["ours"]["score"]) == ("rainbow", 400.0), "its scores are the best ones"
    assert (final["reference"], final["ours"]["score"]) == ("r2d2", 380.0), "its scores are the final ones"
    assert best["frames_ratio"] == pytest.approx(200e6 / 25e6)


def test_an_early_checkpoint_is_not_the_final_score(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 1000, 150.0))
    add_record(run, 400.0, 25e6)
    row = one(compare([str(run)], to="r2d2")["comparisons"])
    assert row["ours"]["score"] is None
    assert row["verdict"] is None
    assert "the newest is at 25M of 50M frames" in row["ours"]["reason"]
    assert "--protocol noop30 --checkpoint last" in row["ours"]["reason"]


def test_sticky_runs_are_beside_dopamine_with_its_spread(tmp_path: Path) -> None:
    reference = find_reference("dopamine-rainbow")
    score, spread = reference.scores["Breakout"], reference.spreads["Breakout"]
    assert score is not None
    assert spread is not None
    for shift, word in ((1.9, "within"), (2.1, "above"), (-2.1, "below")):
        run = make_run(tmp_path / str(shift), line(2e8, 1e5, score + shift * spread), env=STICKY)
        row = one(compare([str(run)], to="dopamine-rainbow")["comparisons"])
        assert row["verdict"]["word"] == word
        assert row["verdict"]["rule"] == KNOWN_RULE
        assert row["verdict"]["margin"] == pytest.approx(2 * spread)


def test_other_protocols_are_refused_with_the_differences_and_the_command(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 1000, 150.0))
    with pytest.raises(MixedProtocolsError) as caught:
        compare([str(run)], to="rllib-apex,rainbow,dopamine-dqn")
    message = str(caught.value)
    assert "rainbow (kind of score: training, not evaluation)" in message
    assert "sticky actions: 0.0, not 0.25" in message
    assert f"rlx evaluate {run} --protocol noop30 --checkpoint best" in message
    assert "rllib-apex" not in message
    with pytest.raises(MixedProtocolsError, match="start: noop, not restored"):
        compare([str(run)], to="go_explore_exploration")


def test_mixed_protocols_are_shown_apart_when_asked_for(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 1000, 150.0))
    document = compare([str(run)], to="rllib-apex,rainbow", allow_mixed=True)
    row = one(document["comparisons"], reference="rainbow")
    assert not row["comparable"]
    assert row["verdict"] is None
    assert row["differences"] == ("kind of score: training, not evaluation",)
    assert row["ours"]["score"] == 150.0
    assert one(document["comparisons"], reference="rllib-apex")["comparable"]
    assert {row["beside"] for row in document["aggregates"]} == {"", "rllib-apex"}, "not in aggregates"


def test_best_is_not_final(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 1000, 150.0), evaluations=[(50e6, 390.0)])
    with pytest.raises(MixedProtocolsError, match="best or final: final, not best"):
        compare([str(run)], to="rainbow", at="final")
    assert one(compare([str(run)], to="r2d2", at="final")["comparisons"])["comparable"]


def test_at_a_budget_the_reference_s_curve_is_read(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 10_000, 100.0, rows=100))
    row = one(compare([str(run)], to="rllib-apex", at="5M-steps")["comparisons"])
    found = curve("rllib-apex", "Breakout")
    assert found is not None
    near = np.abs(found.env_frames - 20e6) <= 0.02 * 20e6
    assert near.sum() >= 2
    assert row["ours"]["score"] == pytest.approx(40.0)
    assert row["theirs"]["score"] == pytest.approx(found.score_mean[near].mean())
    timed = one(compare([str(run)], to="rllib-apex", at="1h")["comparisons"])
    assert timed["ours"]["score"] == pytest.approx(36.0)
    assert timed["ours"]["env_frames"] == pytest.approx(18e6)
    # The README's own number for 1 hour, from all rows of which the curve keeps some.
    assert timed["theirs"]["score"] == pytest.approx(76.372, rel=0.15)
    sticky = make_run(tmp_path, line(50e6, 10_000, 100.0), env=STICKY)
    missing = one(compare([str(sticky)], to="dopamine-dqn", at="1h")["comparisons"])
    assert missing["theirs"]["score"] is None
    assert missing["theirs"]["reason"] == "its curve: wall time was not recorded"


def test_a_run_that_is_too_short_has_no_score_at_the_budget(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(30e6, 1000, 100.0))
    row = one(compare([str(run)], to="rllib-apex")["comparisons"])
    assert row["ours"]["score"] is None
    assert row["verdict"] is None
    assert "none at 40M frames" in row["ours"]["reason"]


def test_equal_budgets_on_both_axes(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(30e6, 20_000, 90.0, rows=100))
    document = compare([str(run)], to="rllib-apex")
    frames, seconds = document["equal_budgets"]
    found = curve("rllib-apex", "Breakout")
    assert found is not None
    assert found.seconds is not None
    assert (frames["axis"], frames["amount"]) == ("frames", 30e6), "ours ends first"
    assert frames["ours"]["score"] == pytest.approx(90 * (0.98 + 0.99 + 1.0) / 3)
    near = np.abs(found.env_frames - 30e6) <= 0.02 * 30e6
    assert frames["theirs"]["score"] == pytest.approx(found.score_mean[near].mean())
    assert (seconds["axis"], seconds["amount"]) == ("seconds", found.seconds[-1]), "theirs ends first"
    share = found.seconds[-1] / 20_000
    assert seconds["ours"]["score"] == pytest.approx(90 * share, rel=0.02)
    assert seconds["ours"]["env_frames"] == pytest.approx(30e6 * share, rel=0.02)
    assert "g3.16xlarge" in seconds["reference_hardware"]
    assert "cores" in seconds["hardware"]


def test_the_wall_time_of_dopamine_is_not_known(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(30e6, 20_000, 90.0), env=STICKY)
    frames, seconds = compare([str(run)], to="dopamine-dqn")["equal_budgets"]
    assert frames["theirs"]["score"] is not None
    assert frames["theirs"]["spread"] is not None
    assert seconds["theirs"]["score"] is None
    assert "wall time was not recorded" in seconds["theirs"]["reason"]


def test_aggregates_over_games_and_seeds(tmp_path: Path) -> None:
    scores = {"Breakout": (1.7, 62.18), "Qbert": (13455.0, 13455.0), "Pong": (-20.7, -20.7)}
    for game, (first, second) in scores.items():
        for seed, score in enumerate((first, second)):
            make_run(tmp_path, line(4e6, 60, score, rows=1), env=f"{game}NoFrameskip-v4", seed=seed)
    document = compare([str(tmp_path)], to="")
    row = one(document["aggregates"], beside="")
    values = {name: estimate["value"] for name, estimate in row["values"].items()}
    # Human-normalised: Breakout 0 and 2.1, Qbert 1 and 1, Pong 0 and 0.
    assert values["mean_hns"] == pytest.approx(4.1 / 6)
    assert values["median_hns"] == pytest.approx(1.0)
    assert values["capped_mean_hns"] == pytest.approx(2 / 3)
    assert values["iqm_hns"] == pytest.approx(0.5)
    assert values["games_above_human"] == 2
    assert values["p5_hns"] == pytest.approx(0.1)
    assert (row["seeds"], row["reason"]) == (2, "")
    interval = row["values"]["mean_hns"]
    assert interval["low"] == pytest.approx(1 / 3)
    assert interval["high"] == pytest.approx(3.1 / 3)
    profile = {point["threshold"]: point for point in document["profiles"]}
    assert profile[0.5]["fraction"] == pytest.approx(3 / 6)
    assert profile[0.5]["low"] <= 3 / 6 <= profile[0.5]["high"]
    assert profile[1.0]["fraction"] == pytest.approx(1 / 6)


def test_one_seed_has_no_interval_and_says_why(tmp_path: Path) -> None:
    make_run(tmp_path, line(4e6, 60, 20.0))
    document = compare([str(tmp_path)], to="")
    row = one(document["aggregates"])
    assert all(estimate["low"] is None and estimate["high"] is None for estimate in row["values"].values())
    assert row["reason"] == "one seed: an interval over seeds needs two or more"
    assert {point["low"] for point in document["profiles"]} == {None}


def test_games_with_different_numbers_of_seeds_have_no_interval(tmp_path: Path) -> None:
    make_run(tmp_path, line(4e6, 60, 1.7, rows=1))
    make_run(tmp_path, line(4e6, 60, 59.3, rows=1), seed=1)
    make_run(tmp_path, line(4e6, 60, 13455.0, rows=1), env="QbertNoFrameskip-v4")
    row = one(compare([str(tmp_path)], to="")["aggregates"])
    assert row["values"]["mean_hns"] == {"value": pytest.approx(1.0), "low": None, "high": None}
    assert "different numbers of seeds (1 to 2)" in row["reason"]


def test_references_are_aggregated_over_the_shared_games_only(tmp_path: Path) -> None:
    make_run(tmp_path, line(50e6, 60, 150.0))
    document = compare([str(tmp_path)], to="rllib-apex")
    row = one(document["aggregates"], of="rllib-apex")
    assert row["games"] == ("Breakout",)
    assert row["values"]["median_hns"]["value"] == pytest.approx(121.3 / 28.8)


def test_probability_of_improvement_between_agents(tmp_path: Path) -> None:
    for seed, score in enumerate((10.0, 30.0)):
        make_run(tmp_path, line(1000, 60, score, rows=1), name="a", env="CartPole-v1", seed=seed)
    for seed, score in enumerate((20.0, 30.0)):
        make_run(tmp_path, line(1000, 60, score, rows=1), name="b", env="CartPole-v1", seed=seed)
    (row,) = compare([str(tmp_path)])["improvements"]
    # a > b in 1 of 4 pairs, and one tie.
    assert {row["agent"], row["other"]} == {"a", "b"}
    expected = 0.375 if row["agent"] == "a" else 0.625
    assert row["probability"]["value"] == pytest.approx(expected)
    assert row["probability"]["low"] <= expected <= row["probability"]["high"]


def test_environments_without_references_are_compared_with_each_other(tmp_path: Path) -> None:
    make_run(tmp_path, line(1000, 60, 10.0), name="a", env="MinAtar/Breakout-v1")
    make_run(tmp_path, line(1000, 60, 10.0), name="a", env="CartPole-v1")
    document = compare([str(tmp_path)])
    assert [row["score"]["score"] for row in document["scores"]] == [10.0, 10.0]
    assert {row["score"]["hns"] for row in document["scores"]} == {None}
    assert (
        document["comparisons"] == document["aggregates"] == document["profiles"] == document["notes"] == []
    )
    with pytest.raises(CompareUsageError, match="none of these is one of the 57 Atari games"):
        compare([str(tmp_path)], to="rainbow")


def test_agents_measured_in_different_ways_do_not_share_a_column(tmp_path: Path) -> None:
    make_run(tmp_path, line(4e6, 60, 20.0), name="a")
    make_run(tmp_path, line(4e6, 60, 20.0), name="b", env=STICKY)
    with pytest.raises(MixedProtocolsError, match="runs on Breakout were measured in different ways"):
        compare([str(tmp_path)], to="")
    document = compare([str(tmp_path)], to="", allow_mixed=True)
    assert [row["comparable"] for row in document["scores"]] == [False, False]
    (row,) = document["improvements"]
    assert row["probability"] is None


def test_evaluations_are_preferred_when_every_run_has_them(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(4e6, 60, 20.0))
    add_record(run, 50.0, 4e6)
    other = make_run(tmp_path, line(4e6, 60, 20.0), seed=1)
    (row,) = compare([str(tmp_path)], to="")["scores"]
    assert (row["kind"], row["score"]["score"]) == ("training return", 20.0)
    add_record(other, 70.0, 4e6)
    (row,) = compare([str(tmp_path)], to="")["scores"]
    assert (row["kind"], row["score"]["score"]) == ("rlx evaluate --protocol noop30", 60.0)


def test_a_seed_without_the_matching_score_is_named_and_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(4e6, 60, 20.0))
    add_record(run, 50.0, 4e6)
    make_run(tmp_path, line(4e6, 60, 20.0), seed=1)
    row = one(compare([str(tmp_path)], to="rainbow")["comparisons"])
    assert (row["ours"]["score"], row["ours"]["seeds"]) == (50.0, 1)
    assert "seed 1: measured otherwise" in row["ours"]["reason"]


def test_without_names_only_fitting_references_are_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 1000, 150.0))
    document = compare([str(run)])
    assert [reference["name"] for reference in document["references"]] == ["rllib-apex", "rllib-dqn"]
    assert "left out, measured otherwise or without a score: dopamine-dqn" in document["notes"][0]


def test_a_game_that_a_reference_lacks_stays_empty(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 1000, 20.0), env="PongNoFrameskip-v4")
    row = one(compare([str(run)], to="rllib-apex")["comparisons"])
    assert row["theirs"]["score"] is None
    assert row["theirs"]["reason"] == "no score of Pong; it has BeamRider, Breakout, Qbert, SpaceInvaders"
    assert row["verdict"] is None


def test_a_run_without_any_score(tmp_path: Path) -> None:
    fresh = make_run(tmp_path, [(400.0, 1.0, None)], seed=1)
    with pytest.raises(CompareError, match="there is no score"):
        compare([str(fresh)])
    make_run(tmp_path, line(50e6, 1000, 150.0))
    document = compare([str(tmp_path)], to="rllib-apex")
    (row,) = document["scores"]
    assert (row["score"]["score"], row["score"]["seeds"]) == (150.0, 1)
    assert "seed 1: there is no score of this kind" in row["score"]["reason"]
    assert one(document["comparisons"])["ours"]["seeds"] == 1
    assert [row["ours"]["seeds"] for row in document["equal_budgets"]] == [1, 1]


def test_a_reference_named_twice_is_there_once(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 1000, 150.0))
    assert len(compare([str(run)], to="rllib-apex, RLlib Ape-X 10M steps,rllib_apex")["comparisons"]) == 1


def test_unknown_references_have_hints(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 1000, 20.0))
    with pytest.raises(UnknownReferenceError, match="did you mean 'rainbow'"):
        compare([str(run)], to="rainbw")


def test_a_trial_of_rllib_compares_with_rllib_s_own(tmp_path: Path) -> None:
    folder = tmp_path / "exp" / "trial"
    folder.mkdir(parents=True)
    (folder / "params.json").write_text('{"env": "BreakoutNoFrameskip-v4"}')
    rows = "".join(f"{step},{step / 1000},{step / 1e5}\n" for step in range(100_000, 12_000_000, 100_000))
    (folder / "progress.csv").write_text("timesteps_total,time_total_s,episode_reward_mean\n" + rows)
    row = one(compare([str(folder)], to="rllib-apex")["comparisons"])
    assert row["ours"]["score"] == pytest.approx(100.0)
    assert set(row["unknown"]) == {"start", "episode cap in frames"}


def test_the_document_is_strict_json_and_repeats_itself(tmp_path: Path) -> None:
    for seed, score in enumerate((150.0, 130.0, 133.0, 171.0, 90.0)):
        make_run(tmp_path, line(50e6, 1000, score), seed=seed)
    texts = [json.dumps(plain(compare([str(tmp_path)])), allow_nan=False) for _ in range(2)]
    assert texts[0] == texts[1], "the bootstrap is seeded"
