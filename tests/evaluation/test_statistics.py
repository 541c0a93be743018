"""Values by hand, from rliable (tests/golden/make_rliable_golden.py says how), and from slow loops."""

from __future__ import annotations

import pickle
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from rlx.evaluation import statistics
from rlx.evaluation.errors import TooFewSeedsError
from rlx.evaluation.statistics import (
    bootstrap,
    bootstrap_improvement,
    human_normalised,
    performance_profile,
    probability_of_improvement,
    profile_with_bands,
)
from rlx.reference import aggregate, find_reference, games, normalise

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "rliable.npz")
# In the order of the golden arrays.
FOUR = {
    "mean": statistics.mean,
    "median": statistics.median,
    "interquartile_mean": statistics.interquartile_mean,
    "optimality_gap": statistics.optimality_gap,
}
ALL = {
    **FOUR,
    "capped_mean": statistics.capped_mean,
    "fifth_percentile": statistics.fifth_percentile,
    "games_above_human": statistics.games_above_human,
}
MATRICES = ["atari", "small", "two"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_normalised_by_hand() -> None:
    # Breakout 1.7 to 30.5, Pong -20.7 to 14.6.
    found = human_normalised([[16.1, 14.6], [1.7, -38.35]], [1.7, -20.7], [30.5, 14.6])
    np.testing.assert_allclose(found, [[0.5, 1.0], [0.0, -0.5]])
    assert human_normalised(5.0, 0.0, 10.0) == 0.5


def test_aggregates_by_hand() -> None:
    # Means over runs: 0, 0.5, 1, 3, -1.
    scores = [[0.0, 0.0, 1.0, 2.0, -1.0], [0.0, 1.0, 1.0, 4.0, -1.0]]
    assert statistics.mean(scores) == pytest.approx(0.7)
    assert statistics.median(scores) == 0.5
    # Sorted: -1 -1 0 0 0 1 1 1 2 4; a quarter of ten is two at each end.
    assert statistics.interquartile_mean(scores) == pytest.approx(3 / 6)
    # min(x, 1) sums to -2 + 0 + 3 + 2 = 3.
    assert statistics.optimality_gap(scores) == pytest.approx(1 - 3 / 10)
    assert statistics.optimality_gap(scores, target=2.0) == pytest.approx(2 - 5 / 10)
    assert statistics.capped_mean(scores) == pytest.approx(2.5 / 5)
    assert statistics.fifth_percentile(scores) == pytest.approx(-1 + 0.2 * 1)
    assert statistics.games_above_human(scores) == 2
    np.testing.assert_allclose(performance_profile(scores, [-1.0, 0.0, 1.0]), [0.8, 0.5, 0.2])


def test_capping_comes_after_the_mean_over_runs() -> None:
    assert statistics.capped_mean([[0.0], [2.0]]) == 1.0
    assert statistics.optimality_gap([[0.0], [2.0]]) == 0.5


@pytest.mark.parametrize("name", MATRICES)
def test_point_estimates_equal_rliable(name: str) -> None:
    scores = GOLDEN[f"{name}/scores"]
    np.testing.assert_allclose(
        [function(scores) for function in FOUR.values()], GOLDEN[f"{name}/points"], rtol=1e-12
    )
    profile = performance_profile(scores, GOLDEN[f"{name}/thresholds"])
    np.testing.assert_allclose(profile, GOLDEN[f"{name}/profile"], rtol=1e-12)


@pytest.mark.parametrize("name", MATRICES)
def test_intervals_are_close_to_rliable(name: str) -> None:
    low, high = GOLDEN[f"{name}/intervals"]
    found = bootstrap(GOLDEN[f"{name}/scores"], FOUR, rng(), resamples=20_000)
    width = high - low
    # Both are random. With as many resamples as rliable had: a median over few games jumps.
    np.testing.assert_array_less(np.abs([x.low for x in found.values()] - low), 0.03 * width)
    np.testing.assert_array_less(np.abs([x.high for x in found.values()] - high), 0.03 * width)
    bands = profile_with_bands(GOLDEN[f"{name}/scores"], GOLDEN[f"{name}/thresholds"], rng(), resamples=5_000)
    cell = 1 / GOLDEN[f"{name}/scores"].size
    np.testing.assert_allclose([bands.low, bands.high], GOLDEN[f"{name}/bands"], atol=cell * 1.01)


def test_improvement_equals_rliable() -> None:
    x, y = GOLDEN["improvement/x"], GOLDEN["improvement/y"]
    assert probability_of_improvement(x, y) == pytest.approx(float(GOLDEN["improvement/point"]), abs=1e-12)
    found = bootstrap_improvement(x, y, rng())
    assert [found.low, found.high] == pytest.approx(GOLDEN["improvement/interval"].tolist(), abs=0.02)


def test_improvement_by_hand_and_by_loop() -> None:
    x, y = np.array([[1.0], [2.0]]), np.array([[1.0], [0.0], [3.0]])
    # 1 > 0, 1 = 1, 2 > 1, 2 > 0 of six.
    assert probability_of_improvement(x, y) == pytest.approx(3.5 / 6)
    x, y = rng().integers(0, 4, (3, 5)).astype(float), rng(1).integers(0, 4, (4, 5)).astype(float)
    wins = [
        (x[i, g] > y[j, g]) + 0.5 * (x[i, g] == y[j, g]) for i, j, g in product(range(3), range(4), range(5))
    ]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(wins))
    both = probability_of_improvement(x, y) + probability_of_improvement(y, x)
    assert both == pytest.approx(1.0)
    assert probability_of_improvement(x, x) == 0.5


@pytest.mark.parametrize("name", list(ALL))
def test_leading_axes_are_independent_matrices(name: str) -> None:
    stack = rng().normal(1.0, 1.0, (2, 3, 4, 7))
    found = ALL[name](stack)
    assert found.shape == (2, 3)
    for i, j in product(range(2), range(3)):
        assert found[i, j] == pytest.approx(float(ALL[name](stack[i, j])))


def test_one_run_of_a_paper_gives_the_loader_s_aggregates() -> None:
    for name in ("apex_dqn", "prioritized_dueling_ddqn", "agent57", "dreamer_v2"):
        reference = find_reference(name)
        names = [game for game in games() if reference.scores[game.name] is not None]
        raw = np.array([[reference.scores[game.name] for game in names]], dtype=float)
        scores = human_normalised(raw, [game.random for game in names], [game.human for game in names])
        np.testing.assert_allclose(scores[0], list(normalise(reference.scores).values()))
        expected = aggregate(reference.scores)
        assert statistics.median(scores) == pytest.approx(expected.median_hns)
        assert statistics.mean(scores) == pytest.approx(expected.mean_hns)
        assert statistics.capped_mean(scores) == pytest.approx(expected.capped_mean_hns)
        assert statistics.fifth_percentile(scores) == pytest.approx(expected.p5_hns)
        assert statistics.games_above_human(scores) == expected.games_above_human


def test_resamples_stay_within_their_game_and_draw_games_apart() -> None:
    """Runs 0 and 1 of game g score 10 g and 10 g + 1, so a resample shows what it drew."""
    matrix = np.array([[0.0, 10.0, 20.0], [1.0, 11.0, 21.0]])
    seen: list[np.ndarray] = []

    def spy(scores: np.ndarray) -> np.ndarray:
        seen.append(scores)
        return scores.mean(axis=(-2, -1))

    bootstrap(matrix, {"spy": spy}, rng(), resamples=4000)
    drawn = seen[-1]
    assert drawn.shape == (4000, 2, 3)
    which = drawn - [0.0, 10.0, 20.0]
    assert set(np.unique(which)) == {0.0, 1.0}
    # Each cell draws either run half of the time, and no two cells draw together.
    flat = which.reshape(4000, 6)
    np.testing.assert_allclose(flat.mean(axis=0), 0.5, atol=0.04)
    np.testing.assert_allclose(np.corrcoef(flat.T), np.eye(6), atol=0.08)


def test_the_interval_of_a_mean_is_the_exact_one() -> None:
    """With scores 0 and 1 in one game, a resampled mean of four runs is a binomial fraction."""
    found = bootstrap([[0.0], [1.0], [0.0], [1.0]], {"mean": statistics.mean}, rng(), 20_000, confidence=0.5)
    # P(X <= 1) = 5/16 and P(X <= 2) = 11/16: the quartiles are 1/4 and 3/4.
    assert found["mean"] == (0.5, 0.25, 0.75)


def test_improvement_resamples_both_sides() -> None:
    """One side is constant, so only the other can move the estimate: to 0 and to 1, each in a quarter."""
    constant, either = [[1.0], [1.0]], [[0.0], [2.0]]
    for x, y in ((constant, either), (either, constant)):
        assert bootstrap_improvement(x, y, rng(), 2000) == (0.5, 0.0, 1.0)


def test_the_generator_decides_and_the_global_seed_does_not() -> None:
    scores = rng(3).normal(1.0, 1.0, (4, 9))
    np.random.seed(0)  # noqa: NPY002
    first = bootstrap(scores, ALL, rng(5), 200)
    np.random.seed(1)  # noqa: NPY002
    assert bootstrap(scores, ALL, rng(5), 200) == first
    assert bootstrap(scores, ALL, rng(6), 200) != first
    x, y, taus = scores, scores + 0.1, [0.5, 1.0]
    assert bootstrap_improvement(x, y, rng(5), 200) == bootstrap_improvement(x, y, rng(5), 200)
    again = (profile_with_bands(scores, taus, rng(5), 200) for _ in range(2))
    np.testing.assert_array_equal(*again)


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    scores = rng(3).normal(1.0, 1.0, (4, 9))
    wide, narrow = (bootstrap(scores, FOUR, rng(), 500, confidence=c) for c in (0.99, 0.5))
    for name in FOUR:
        assert wide[name].low < narrow[name].low <= narrow[name].high < wide[name].high


def test_one_seed_has_no_interval() -> None:
    one, two = np.ones((1, 5)), np.ones((2, 5))
    for call in (
        lambda: bootstrap(one, FOUR, rng()),
        lambda: profile_with_bands(one, [0.5], rng()),
        lambda: bootstrap_improvement(one, two, rng()),
        lambda: bootstrap_improvement(two, one, rng()),
    ):
        with pytest.raises(TooFewSeedsError, match="two seeds or more"):
            call()
    assert statistics.interquartile_mean(one) == 1.0
    error = TooFewSeedsError("what", "where", "next")
    assert str(pickle.loads(pickle.dumps(error))) == "where: what; next"


@pytest.mark.parametrize("name", list(ALL))
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[1.0, np.nan]], "NaN"),
        ([[1.0, np.inf]], "NaN or infinity"),
        ([1.0, 2.0], r"\(2,\); expected \[runs, games\]"),
        (np.zeros((3, 0)), "one or more of each"),
    ],
)
def test_bad_scores_are_refused(name: str, scores: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ALL[name](scores)  # type: ignore[arg-type]


def test_other_bad_input_is_refused() -> None:
    good = np.ones((3, 4))
    with pytest.raises(ValueError, match="human equals random"):
        human_normalised(good, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        human_normalised(good, [0.0, 0.0, 0.0], 1.0)
    with pytest.raises(ValueError, match="random has NaN"):
        human_normalised(good, np.nan, 1.0)
    with pytest.raises(ValueError, match="4 games and y 5"):
        probability_of_improvement(good, np.ones((3, 5)))
    with pytest.raises(ValueError, match="thresholds"):
        performance_profile(good, [])
    with pytest.raises(ValueError, match="fraction between 0 and 1"):
        bootstrap(good, FOUR, rng(), 10, confidence=95)
    with pytest.raises(ValueError, match="resamples is 0"):
        bootstrap(good, FOUR, rng(), 0)
    with pytest.raises(ValueError, match=r"expected \[runs, games\]"):
        bootstrap(np.ones((2, 3, 4)), FOUR, rng())


def test_2000_resamples_of_5_by_57_take_less_than_50_ms() -> None:
    scores = rng().normal(1.0, 1.0, (5, 57))
    three = {name: ALL[name] for name in ("mean", "median", "interquartile_mean")}
    taken = []
    for _ in range(5):
        # The time of this process: others may hold the core.
        start = time.process_time()
        bootstrap(scores, three, rng(), resamples=2000)
        taken.append(time.process_time() - start)
    assert min(taken) < 0.05
