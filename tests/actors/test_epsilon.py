from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rlx.actors.epsilon import EpsilonSource, LinearSchedule, ladder, select_actions


def test_ladder_of_eight_lanes() -> None:
    values = ladder(8)
    np.testing.assert_allclose(values[[0, 1, 7]], [0.4, 0.16, 0.00065536], rtol=1e-12)
    np.testing.assert_allclose(values, 0.4 ** np.linspace(1, 8, 8), rtol=1e-12)
    assert values.dtype == np.float64


def test_ladder_of_one_lane_is_the_base() -> None:
    assert ladder(1).tolist() == [0.4]
    assert ladder(1, epsilon=0.1, alpha=3.0).tolist() == [0.1]


@given(st.integers(1, 400), st.floats(0.0, 1.0), st.floats(0.0, 20.0))
def test_ladder_properties(num_lanes: int, epsilon: float, alpha: float) -> None:
    values = ladder(num_lanes, epsilon, alpha)
    assert values.shape == (num_lanes,)
    assert ((values >= 0) & (values <= 1)).all()
    assert (np.diff(values) <= 0).all()
    assert values[0] == pytest.approx(epsilon)
    assert values[-1] == pytest.approx(epsilon ** (1 + alpha * (num_lanes > 1)))


@pytest.mark.parametrize(
    ("env_steps", "value"),
    [(0, 1.0), (999, 1.0), (1_000, 1.0), (1_050, 0.55), (1_099, 0.109), (1_100, 0.1), (9_999_999, 0.1)],
)
def test_linear_schedule(env_steps: int, value: float) -> None:
    schedule = LinearSchedule(initial=1.0, final=0.1, decay_env_steps=100, start_env_steps=1_000)
    assert schedule(env_steps) == pytest.approx(value)


def test_linear_schedule_without_a_line_is_a_step() -> None:
    schedule = LinearSchedule(initial=1.0, final=0.1, decay_env_steps=0, start_env_steps=10)
    assert [schedule(t) for t in (9, 10, 11)] == [1.0, 0.1, 0.1]


def section(**fields: object) -> SimpleNamespace:
    """The exploration section, with the fields that another kind would use set to nonsense."""
    return SimpleNamespace(**{"epsilon": None, "alpha": None, "initial": None, "final": None, **fields})


def test_ladder_source_follows_global_lane_ids_and_not_time() -> None:
    source = EpsilonSource.from_section(section(kind="ladder", epsilon=0.4, alpha=7.0), num_lanes=8)
    np.testing.assert_allclose(source([7, 0, 1], env_steps=0), [0.00065536, 0.4, 0.16])
    np.testing.assert_array_equal(source(np.arange(8), 10**9), ladder(8))


def test_two_runners_share_one_ladder() -> None:
    source = EpsilonSource("ladder", num_lanes=6)
    both = np.concatenate([source([0, 1, 2], 0), source([3, 4, 5], 0)])
    np.testing.assert_array_equal(both, ladder(6))


def test_linear_source() -> None:
    fields = section(kind="linear", initial=1.0, final=0.0, decay_env_steps=10)
    source = EpsilonSource.from_section(fields, num_lanes=2, start_env_steps=100)
    assert source([0, 1], 50).tolist() == [1.0, 1.0]
    assert source([0, 1], 105).tolist() == [0.5, 0.5]
    assert source([1], 500).tolist() == [0.0]


def test_constant_and_no_exploration() -> None:
    constant = EpsilonSource.from_section(section(kind="constant", epsilon=0.05), num_lanes=3)
    assert constant([0, 2], 7).tolist() == [0.05, 0.05]
    assert EpsilonSource.from_section(section(kind="none"), num_lanes=3)([0, 2], 7).tolist() == [0.0, 0.0]


def test_changing_a_result_does_not_change_the_source() -> None:
    source = EpsilonSource("ladder", num_lanes=2)
    source([0, 1], 0)[:] = 9.0
    assert source([0], 0).tolist() == [0.4]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="kind 'boltzmann' unknown; known: ladder, linear, constant, none"):
        EpsilonSource("boltzmann", 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"exploration\.epsilon = 1\.5 must be in \[0, 1\]"):
        EpsilonSource.from_section(section(kind="constant", epsilon=1.5), 1)
    with pytest.raises(ValueError, match=r"exploration\.final = -0\.1"):
        EpsilonSource.from_section(section(kind="linear", initial=1.0, final=-0.1, decay_env_steps=1), 1)
    with pytest.raises(ValueError, match="linear needs initial"):
        EpsilonSource("linear", 1)
    with pytest.raises(IndexError, match=r"lane ids 0\.\.4 outside 0\.\.3"):
        EpsilonSource("ladder", 4)([0, 4], 0)


def test_greedy_actions_and_ties() -> None:
    q = np.array([[0.0, 2.0, 1.0], [3.0, 3.0, 3.0], [-1.0, -2.0, -1.0]])
    actions, explored = select_actions(q, np.zeros(3), np.random.default_rng(0))
    assert actions.tolist() == [1, 0, 0]
    assert actions.dtype == np.int64
    assert not explored.any()


def test_random_actions_are_uniform_and_as_frequent_as_epsilon_says() -> None:
    lanes, num_actions = 60_000, 5
    q = np.tile([0.0, 0.0, 9.0, 0.0, 0.0], (lanes, 1))
    epsilons = np.repeat([0.0, 0.3, 1.0], lanes // 3)
    actions, explored = select_actions(q, epsilons, np.random.default_rng(1))
    assert (actions[~explored] == 2).all()
    for epsilon in (0.0, 0.3, 1.0):
        rate = explored[epsilons == epsilon].mean()
        assert rate == pytest.approx(epsilon, abs=6 * np.sqrt(epsilon * (1 - epsilon) / (lanes // 3)))
    counts = np.bincount(actions[explored], minlength=num_actions)
    assert stats.chisquare(counts).pvalue > 1e-4


def test_the_same_randomness_is_used_whatever_the_values_are() -> None:
    a, b = np.random.default_rng(3), np.random.default_rng(3)
    select_actions(np.zeros((4, 6)), np.zeros(4), a)
    select_actions(np.ones((4, 2)), np.ones(4), b)
    assert a.bit_generator.state == b.bit_generator.state


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 1, 2\) and \(4,\)"):
        select_actions(np.zeros((4, 1, 2)), np.zeros(4), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"got \(4, 2\) and \(3,\)"):
        select_actions(np.zeros((4, 2)), np.zeros(3), np.random.default_rng(0))
