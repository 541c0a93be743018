"""Every column gives the aggregates that its paper prints, where it is said to, and not elsewhere."""

from __future__ import annotations

import pytest

from rlx.reference import Aggregates, Reference, Rounding, aggregate, find_reference, references
from rlx.reference.published import address, half_unit
from rlx.reference.tables import cached_table, number

ROWS = {row["column"]: row for row in cached_table("atari57_aggregates.csv")}
PAPERS = [reference for reference in references() if reference.kind == "paper"]
# Which random and human scores a paper may have used.
BASELINES: dict[str, tuple[Rounding, ...]] = {"dqn_nature2015": ("nature2015",)}
# Beyond rounding, as fractions. Both medians are Kung-Fu Master, and both printed values would come out with
# a human score of about 22,725 there instead of the 22,736.3 of the table.
NEARLY = {("dueling_ddqn", "median_hns"): 0.0004, ("rainbow", "median_hns"): 0.0007}
STANDARD: tuple[Rounding, ...] = ("one_decimal", "two_decimals")


def half_digit(reference: Reference) -> float:
    """Half a unit of the last digit in a column: what its own rounding may hide."""
    cells = [row[reference.name] for row in cached_table("atari57_scores.csv")]
    return min(half_unit(cell) for cell in cells if cell)


def shifted(reference: Reference, by: float, baselines: Rounding) -> Aggregates:
    """Aggregate with every score moved."""
    moved = {game: None if score is None else score + by for game, score in reference.scores.items()}
    return aggregate(moved, baselines)


def reproduces(reference: Reference, field: str, slack: float = 1e-9) -> bool | None:
    """Say whether the printed value is among those that the printed digits allow; None if none is printed."""
    published = reference.published
    assert published is not None
    printed = getattr(published, field)
    if printed is None:
        return None
    rounding = getattr(published, field.replace("_hns", "_tolerance"))
    half = half_digit(reference)
    for baselines in BASELINES.get(reference.name, STANDARD):
        low = getattr(shifted(reference, -half, baselines), field) - rounding
        high = getattr(shifted(reference, half, baselines), field) + rounding
        if low - slack <= printed <= high + slack:
            return True
    return False


EXPECTED = {
    "match": {(True, True), (True, None)},
    "partial": {(True, False)},
    "mismatch": {(False, False), (False, None)},
}


@pytest.mark.parametrize("reference", PAPERS, ids=lambda reference: reference.name)
def test_printed_aggregates_come_out_exactly_where_the_verdict_says(reference: Reference) -> None:
    if reference.published is None:
        assert reference.name in ("muzero_res2_adam_200m", "go_explore_exploration")
        return
    fields = ("median_hns", "mean_hns")
    found = tuple(reproduces(reference, field, NEARLY.get((reference.name, field), 1e-9)) for field in fields)
    assert found in EXPECTED[reference.published.agreement], reference.published.verdict


def test_what_is_not_quite_exact_is_listed() -> None:
    for name, field in NEARLY:
        assert reproduces(find_reference(name), field) is False


def test_every_verdict_was_looked_at() -> None:
    by_agreement: dict[str, set[str]] = {}
    for reference in PAPERS:
        if reference.published is not None:
            by_agreement.setdefault(reference.published.agreement, set()).add(reference.name)
    assert by_agreement["mismatch"] == {"iqn", "ngu", "r2d2_retrace"}
    assert by_agreement["partial"] == {"dreamer_v2"}
    assert len(by_agreement["match"]) == 16
    assert "unchecked" not in by_agreement
    assert [reference.name for reference in PAPERS] == list(ROWS)


PERCENT = {
    "median_hns_pct": ("one_decimal", "median_hns"),
    "mean_hns_pct": ("one_decimal", "mean_hns"),
    "median_hns_pct_2dp_baselines": ("two_decimals", "median_hns"),
    "mean_hns_pct_2dp_baselines": ("two_decimals", "mean_hns"),
    "median_hns_pct_own_baselines": ("nature2015", "median_hns"),
    "mean_hns_pct_own_baselines": ("nature2015", "mean_hns"),
    "capped_mean_hns_pct": ("one_decimal", "capped_mean_hns"),
    "p5_hns_pct": ("one_decimal", "p5_hns"),
    "mean_hns_pct_if_video_pinball_random_is_16256.9": ("printed_2016", "mean_hns"),
}


@pytest.mark.parametrize("reference", PAPERS, ids=lambda reference: reference.name)
def test_recomputed_columns_are_what_the_loader_computes(reference: Reference) -> None:
    row = ROWS[reference.name]
    for column, (baselines, field) in PERCENT.items():
        expected = number(row[column])
        if expected is None:
            assert column.endswith("own_baselines")
            continue
        actual = getattr(reference.aggregates_with(baselines), field)  # type: ignore[arg-type]
        assert 100 * actual == pytest.approx(expected, abs=0.00501), column
    assert reference.aggregates.games_above_human == int(row["games_at_or_above_human"])
    assert reference.aggregates.num_games == int(row["n_games"]) == len(reference.games)


def test_aggregates_by_hand() -> None:
    # Pong: random -20.7, human 14.6; Freeway: 0, 29.6; Boxing: 0.1, 12.1; Breakout: 1.7, 30.5.
    scores = {"Pong": 14.6, "Freeway": 0.0, "Boxing": 24.1, "Breakout": -12.7, "Alien": None}
    found = aggregate(scores)
    # 1, 0, 2, -0.5
    assert found.num_games == 4
    assert found.median_hns == pytest.approx(0.5)
    assert found.mean_hns == pytest.approx(0.625)
    assert found.capped_mean_hns == pytest.approx(0.5)
    assert found.p5_hns == pytest.approx(-0.5 + 0.15 * 0.5)
    assert found.games_above_human == 2
    assert aggregate({"Pong": None}) == Aggregates(0, None, None, None, None, 0)
    assert aggregate({"Pong": 14.6}).p5_hns is None


def test_the_digits_that_a_reprint_got_wrong() -> None:
    muzero = find_reference("muzero")
    assert muzero.scores["Asteroids"] == 678558.64
    assert muzero.scores["BeamRider"] == 454993.53
    assert "6785558.64" in muzero.cell_notes["Asteroids"]
    wrong = {**muzero.scores, "Asteroids": 6785558.64, "BeamRider": 4549993.53}
    assert 100 * (aggregate(wrong).median_hns or 0) == pytest.approx(2381.5, abs=0.06)


def test_missing_cells_stay_missing() -> None:
    nature, dreamer = find_reference("dqn_nature2015"), find_reference("dreamer_v2")
    missing = {game for game, score in nature.scores.items() if score is None}
    assert missing == {
        *("Berzerk", "Defender", "Phoenix", "Pitfall", "Skiing", "Solaris", "Surround", "YarsRevenge")
    }
    assert {game for game, score in dreamer.scores.items() if score is None} == {"Defender", "Surround"}
    assert len(nature.scores) == len(dreamer.scores) == 57
    assert find_reference("rainbow").scores["Venture"] == 5.5
    assert find_reference("c51").scores["Pitfall"] == 0.0


def test_protocols_repeat_what_the_table_of_columns_says() -> None:
    frames = {"200M": 200e6, "22.8B": 22.8e9, "37.5B": 37.5e9, "35B": 35e9, "20B": 20e9}
    for row in cached_table("atari57_columns.csv"):
        reference = find_reference(row["column"])
        protocol, reporting = reference.protocol, row["reporting"]
        assert reference.budget.env_frames == frames.get(row["training_frames"]), reference.name
        assert protocol.sticky_action_probability == {"no": 0.0, "yes": 0.25}[row["sticky_actions"]]
        assert (protocol.start == "noop") == row["starts"].startswith("no-op") == (protocol.noop_max == 30)
        best = reporting.startswith(("best", "max"))
        assert (protocol.score_point == "best") == best, reference.name
        assert (protocol.score_point == "final") == reporting.startswith("final"), reference.name
        seeds = reporting.rpartition(" seeds")[0][-1:]
        assert reference.seeds == (int(seeds) if seeds else None), reference.name
        assert row["reporting"] in protocol.words
    assert find_reference("dqn_nature2015").protocol.max_episode_frames == 5 * 60 * 60
    assert find_reference("dqn").protocol.max_episode_frames == 30 * 60 * 60


def test_protocols_are_compared_by_what_is_known_of_both() -> None:
    apex, r2d2, muzero = (find_reference(name).protocol for name in ("apex_dqn", "r2d2", "muzero"))
    dreamer = find_reference("dreamer_v2").protocol
    assert apex.differences(r2d2) == ("score_point",)
    assert apex.differences(muzero) == ()
    assert muzero.unknown() == ("score_point",)
    assert apex.differences(dreamer) == ("sticky_action_probability",)
    assert {"start", "max_episode_frames", "score_point"} <= set(dreamer.unknown())
    rllib = find_reference("rllib-apex").protocol
    assert apex.differences(rllib) == ("score_kind", "score_point")
    assert find_reference("dqn").protocol == find_reference("rainbow").protocol


def test_rounding_of_a_printed_number() -> None:
    assert half_unit("178") == 0.5
    assert half_unit("117.8") == pytest.approx(0.05)
    assert half_unit("1933.49") == pytest.approx(0.005)
    assert half_unit("") == 0.0
    published = find_reference("agent57").published
    assert published is not None
    assert published.median_hns == 19.3349
    assert published.mean_hns == 47.6625
    assert published.median_tolerance == pytest.approx(0.00005)


def test_addresses() -> None:
    assert address("1511.06581") == "https://arxiv.org/abs/1511.06581"
    assert address("1710.02298; 1909.11583") == "https://arxiv.org/abs/1710.02298"
    assert address("doi 10.1038/nature14236") == "https://doi.org/10.1038/nature14236"
    assert address("OpenReview r1lyTjAqYX") == "https://openreview.net/forum?id=r1lyTjAqYX"
