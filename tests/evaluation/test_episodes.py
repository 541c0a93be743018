"""The interval of a mean over episodes."""

import numpy as np
import pytest

from rlx.evaluation.episodes import mean_interval


def test_interval_of_many_episodes_is_the_normal_one() -> None:
    returns = np.random.default_rng(1).normal(10.0, 2.0, 400)
    low, high = mean_interval(list(returns), np.random.default_rng(0))
    half = 1.96 * returns.std() / 20
    assert low == pytest.approx(returns.mean() - half, abs=0.04)
    assert high == pytest.approx(returns.mean() + half, abs=0.04)


def test_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(200):
        low, high = mean_interval(list(rng.normal(0.0, 1.0, 50)), rng, resamples=400, confidence=0.9)
        inside += low <= 0.0 <= high
    assert 0.84 <= inside / 200 <= 0.95


def test_equal_seeds_give_equal_intervals_and_one_episode_none() -> None:
    few = [1.0, 2.0, 5.0]
    assert mean_interval(few, np.random.default_rng(3)) == mean_interval(few, np.random.default_rng(3))
    with pytest.raises(ValueError, match="at least two episodes, there are 1"):
        mean_interval([1.0], np.random.default_rng(0))
