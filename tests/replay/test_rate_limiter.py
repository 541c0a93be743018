from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlx.replay.rate_limiter import RateLimiter


# ratio, min, tolerance, inserted, learned, batch -> may insert, may learn
@pytest.mark.parametrize(
    ("settings_", "inserted", "learned", "batch", "insert", "learn"),
    [
        pytest.param((8.0, 100, 0.0), 99, 0, 32, True, False, id="warming up"),
        pytest.param((8.0, 100, 0.0), 100, 0, 32, True, False, id="warm, nothing owed yet"),
        pytest.param((8.0, 100, 0.0), 103, 0, 32, True, False, id="24 owed"),
        pytest.param((8.0, 100, 0.0), 104, 0, 32, True, True, id="one batch owed"),
        pytest.param((8.0, 100, 0.0), 104, 32, 32, True, False, id="and paid"),
        pytest.param((8.0, 100, 0.0), 108, 0, 32, True, True, id="two batches owed"),
        pytest.param((8.0, 100, 0.0), 109, 0, 32, False, True, id="more than two"),
        pytest.param((8.0, 100, 0.5), 109, 0, 32, True, True, id="tolerated: 0.5 * 8 * 100 = 400"),
        pytest.param((8.0, 100, 0.5), 150, 0, 32, True, True, id="400 owed"),
        pytest.param((8.0, 100, 0.5), 151, 0, 32, False, True, id="408 owed"),
        pytest.param((0.25, 0, 0.0), 127, 0, 32, True, False, id="less than one sample per step"),
        pytest.param((0.25, 0, 0.0), 128, 0, 32, True, True, id="0.25 * 128"),
        pytest.param((None, 100, 0.0), 99, 0, 32, True, False, id="free, warming up"),
        pytest.param((None, 100, 0.0), 100, 10**9, 32, True, True, id="free"),
        pytest.param((None, 100, 0.0), 10**9, 0, 32, True, True, id="free, no learner"),
    ],
)
def test_who_may_go_on(
    settings_: tuple[float | None, int, float],
    inserted: int,
    learned: int,
    batch: int,
    insert: bool,
    learn: bool,
) -> None:
    limiter = RateLimiter(*settings_)
    limiter.insert(inserted)
    limiter.learn(learned)
    assert limiter.may_learn(batch) is learn
    assert limiter.may_insert() is insert


@settings(max_examples=80, deadline=None)
@given(
    ratio=st.sampled_from([0.01, 1 / 3, 0.7, 1.0, 8.0, 13.37, 200.0]),
    min_env_steps=st.sampled_from([0, 1, 37, 500]),
    tolerance=st.sampled_from([0.0, 0.1, 1.0]),
    batch=st.integers(1, 600),
    rollout=st.integers(1, 900),
    learner_speed=st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]),
    seed=st.integers(0, 100),
)
def test_a_race_of_two_sides(
    ratio: float,
    min_env_steps: int,
    tolerance: float,
    batch: int,
    rollout: int,
    learner_speed: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    limiter = RateLimiter(ratio, min_env_steps, tolerance)
    lead = max(tolerance * ratio * min_env_steps, 2 * batch)
    for _ in range(400):
        insert, learn = limiter.may_insert(), limiter.may_learn(batch)
        # The learner has asked by now: one side can always go on.
        assert limiter.may_insert() or learn
        insert = limiter.may_insert()
        learner_first = rng.random() < learner_speed
        if learn and (learner_first or not insert):
            limiter.learn(batch)
        elif insert:
            limiter.insert(rollout)
        allowed = max(ratio * (limiter.inserted_env_steps - min_env_steps), 0.0)
        assert limiter.learned_samples <= allowed + 1e-6 * max(allowed, 1.0)
        assert allowed - limiter.learned_samples <= lead + ratio * rollout + 1e-6
        limiter.check_valid()
    after = limiter.inserted_env_steps - min_env_steps
    if after > 0:
        assert abs(limiter.measured_ratio - ratio) <= (lead + ratio * rollout) / after + 1e-6


def test_one_update_for_every_four_steps_exactly() -> None:
    limiter, updates = RateLimiter(8.0, 1000, 0.0), 0
    for _ in range(41_000):
        limiter.insert(1)
        while limiter.may_learn(32):
            limiter.learn(32)
            updates += 1
    assert updates == 10_000


@pytest.mark.parametrize("period", [3, 49, 98, 103])
def test_rounding_costs_no_extra_step(period: int) -> None:
    # 49 * (1 / 49) is below 1 in floating point.
    limiter = RateLimiter(1 / period, 0, 0.0)
    for update in range(1, 2000):
        limiter.insert(period)
        assert limiter.may_learn(1), update
        limiter.learn(1)


def test_state() -> None:
    one, two = RateLimiter(2.0, 10), RateLimiter(2.0, 10)
    one.insert(50)
    one.learn(16)
    two.set_state(one.get_state())
    assert (two.inserted_env_steps, two.learned_samples, two.owed_samples) == (50, 16, 64.0)
    assert two.get_state() == one.get_state()


@pytest.mark.parametrize(
    "wrong", [(0.0, 1, 0.1), (-1.0, 1, 0.1), (1.0, -1, 0.1), (1.0, 1, -0.1), (float("nan"), 1, 0.1)]
)
def test_settings_that_cannot_work(wrong: tuple[float, int, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        RateLimiter(*wrong)
    with pytest.raises(ValueError, match="is -1"):
        RateLimiter(1.0, 0).insert(-1)
