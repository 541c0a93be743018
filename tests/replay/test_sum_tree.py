from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlx.replay.sum_tree import SumTree


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 70), seed=st.integers(0, 1000))
def test_tree_against_a_plain_array(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree, plain = SumTree(size), np.zeros(size)
    for _ in range(10):
        leaves = rng.integers(0, size, rng.integers(0, 2 * size + 1))
        values = rng.choice([0.0, 1.0, 2.0, 8.0], leaves.size)
        tree.set(leaves, values)
        for leaf, value in zip(leaves, values, strict=True):
            plain[leaf] = value
        tree.check_valid()
        np.testing.assert_array_equal(tree.get(np.arange(size)), plain)
        assert tree.total == plain.sum()
        if tree.total > 0:
            # Whole numbers, so that sums are exact and the edges of the parts can be tried too.
            masses = np.arange(0, tree.total, 0.5)
            expected = np.searchsorted(np.cumsum(plain), masses, side="right")
            np.testing.assert_array_equal(tree.find(masses), expected)


def test_a_leaf_named_twice_keeps_the_last_value() -> None:
    tree = SumTree(5)
    tree.set(np.array([3, 1, 3]), np.array([9.0, 1.0, 2.0]))
    assert tree.get(np.array([3, 1])).tolist() == [2.0, 1.0]
    assert tree.total == 3.0


def test_one_draw_from_each_part() -> None:
    tree = SumTree(8)
    tree.set(np.arange(8), np.ones(8))
    assert tree.sample(8, np.random.default_rng(0)).tolist() == list(range(8))


def test_draws_depend_on_the_generator_only() -> None:
    tree = SumTree(100)
    tree.set(np.arange(100), np.arange(100.0))
    np.random.seed(1)  # noqa: NPY002
    one = tree.sample(20, np.random.default_rng(7))
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(one, tree.sample(20, np.random.default_rng(7)))


def test_sums_do_not_drift() -> None:
    rng, tree = np.random.default_rng(0), SumTree(1000)
    for exponent in rng.integers(-12, 13, 300):
        tree.set(rng.integers(0, 1000, 64), rng.random(64) * 10.0**exponent)
    tree.set(np.arange(1000), np.full(1000, 1e-12))
    assert tree.total == pytest.approx(1e-9, rel=1e-12)
    tree.set(np.arange(1000), np.zeros(1000))
    assert tree.total == 0.0


def test_rounding_never_leads_to_an_empty_leaf() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        tree = SumTree(37)
        values = rng.random(37) ** 8 * (rng.random(37) < 0.3)
        values[0] = 0.1
        tree.set(np.arange(37), values)
        masses = np.append(np.nextafter(np.cumsum(values), -1.0), [0.0, tree.total, tree.total * (1 + 1e-15)])
        assert (tree.get(tree.find(np.maximum(masses, 0.0))) > 0).all()


def test_state_gives_back_the_same_nodes() -> None:
    rng, tree = np.random.default_rng(0), SumTree(77)
    tree.set(rng.integers(0, 77, 500), rng.random(500))
    other = SumTree(77)
    other.set(np.arange(77), np.ones(77))
    other.set_state(tree.get_state())
    assert other._nodes.tobytes() == tree._nodes.tobytes()
    with pytest.raises(ValueError, match="for a tree of 5"):
        SumTree(5).set_state(tree.get_state())


@pytest.mark.parametrize("leaf", [-1, 5, 8])
def test_leaves_that_do_not_exist(leaf: int) -> None:
    with pytest.raises(IndexError, match=r"0\.\.4"):
        SumTree(5).set(np.array([leaf]), np.array([1.0]))


@pytest.mark.parametrize("value", [-1e-9, np.nan, np.inf])
def test_values_that_are_no_priorities(value: float) -> None:
    tree = SumTree(5)
    with pytest.raises(ValueError, match="finite and not negative"):
        tree.set(np.array([0, 1]), np.array([1.0, value]))
    assert tree.total == 0.0


def test_an_empty_tree_cannot_be_sampled() -> None:
    with pytest.raises(ValueError, match="all values are zero"):
        SumTree(5).sample(1, np.random.default_rng(0))


def test_check_valid_notices_a_wrong_sum() -> None:
    tree = SumTree(4)
    tree.set(np.arange(4), np.ones(4))
    tree._nodes[2] += 1e-9
    with pytest.raises(RuntimeError, match="sum of its children"):
        tree.check_valid()
