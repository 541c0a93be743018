import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlx.losses import rescaling, td
from tests.losses.golden import close, golden


def test_values_by_hand():
    x = torch.tensor([1.0, 3.0, 10.0, 100.0, 1000.0, -3.0, 0.0])
    expected = torch.tensor([0.41521, 1.003, 2.32662, 9.14988, 31.63858, -1.003, 0.0])
    close(rescaling.rescale(x), expected)


def test_both_directions_equal_rlax():
    x = golden("scalar")
    close(rescaling.rescale(x["x"]), x["signed_hyperbolic"])
    # rlax's float32 form of the inverse is itself off by about 1e-4 at small values.
    close(rescaling.inverse_rescale(x["squashed"]), x["signed_parabolic"], 2e-4)


def printed_inverse(x: float, epsilon: float) -> float:
    """Compute the inverse as the paper prints it."""
    root = (1 + 4 * epsilon * (abs(x) + 1 + epsilon)) ** 0.5
    return (1 if x >= 0 else -1) * (((root - 1) / (2 * epsilon)) ** 2 - 1)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-2])
@pytest.mark.parametrize("x", [-300.0, -1.0, -0.1, 0.0, 0.5, 3.7, 90.0])
def test_the_rearranged_inverse_is_the_printed_one(x, epsilon):
    actual = rescaling.inverse_rescale(torch.tensor(x, dtype=torch.float64), epsilon).item()
    assert actual == pytest.approx(printed_inverse(x, epsilon), rel=1e-9, abs=1e-9)


@given(st.floats(-1e6, 1e6, width=32))
def test_each_undoes_the_other_in_float32(x):
    value = torch.tensor(x)
    there = rescaling.inverse_rescale(rescaling.rescale(value))
    torch.testing.assert_close(there, value, rtol=2e-6, atol=1e-37)
    back = rescaling.rescale(rescaling.inverse_rescale(value))
    torch.testing.assert_close(back, value, rtol=2e-6, atol=1e-37)


def test_small_values_keep_their_digits():
    x = torch.tensor([1e-6, -1e-8, 1e-20])
    torch.testing.assert_close(rescaling.inverse_rescale(rescaling.rescale(x)), x, rtol=1e-6, atol=0)


def test_epsilon_0_is_the_plain_root():
    x = torch.tensor([-8.0, 0.0, 3.0])
    close(rescaling.rescale(x, 0.0), torch.tensor([-2.0, 0.0, 1.0]))
    close(rescaling.inverse_rescale(torch.tensor([-2.0, 0.0, 1.0]), 0.0), x)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_transformed_n_step_errors_equal_rlax(n):
    x = golden("n_step")
    steps = len(x["r_t"])
    pad = torch.zeros(n, dtype=torch.bool)
    index = torch.arange(steps)[:, None] + torch.arange(n + 1)
    acted = torch.cat([torch.ones(steps, dtype=torch.bool), pad, pad[:1]])[index]
    out = td.n_step_returns(
        torch.cat([x["r_t"], torch.zeros(n)])[index[:, :n]],
        torch.cat([x["terminated"], pad])[index[:, :n]],
        acted,
        torch.ones_like(acted),
        x["gamma"].item(),
    )
    last = torch.arange(steps) + out.bootstrap_row - 1
    v_t = td.action_values(x["target_q_t"], x["a_t"])[last]
    target = rescaling.rescaled_target(out.returns, out.discounts, v_t)
    close(td.td_error(x["q_tm1"], x["a_tm1"], target), x[f"transformed_{n}"], 5e-5)


def test_target_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match="v_t"):
        rescaling.rescaled_target(torch.zeros(3), torch.zeros(3), torch.zeros(3, 1))
