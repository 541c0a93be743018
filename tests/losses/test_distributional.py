import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlx.losses import distributional as dist
from tests.losses.golden import close, golden


def loop_projection(values, probabilities, atoms):
    """Project as C51's algorithm 1 does, in loops and float64, with the case of a whole-number b."""
    v_min, v_max, num_atoms = atoms[0], atoms[-1], len(atoms)
    spacing = (v_max - v_min) / (num_atoms - 1)
    out = [0.0] * num_atoms
    for value, p in zip(values, probabilities, strict=True):
        b = min((min(max(value, v_min), v_max) - v_min) / spacing, num_atoms - 1)
        low, high = math.floor(b), math.ceil(b)
        if low == high:
            out[low] += p
        else:
            out[low] += p * (high - b)
            out[high] += p * (b - low)
    return out


def test_support_by_hand_and_its_errors():
    assert dist.support(-10, 10, 5).tolist() == [-10, -5, 0, 5, 10]
    with pytest.raises(ValueError, match="v_min"):
        dist.support(1, 1, 5)
    with pytest.raises(ValueError, match="num_atoms"):
        dist.support(0, 1, 1)


def test_expected_values_by_hand():
    logits = torch.tensor([[[0.0, 0.0], [math.log(3.0), 0.0]]])
    close(dist.expected_values(logits, torch.tensor([0.0, 4.0])), torch.tensor([[2.0, 1.0]]))


def test_action_logits_picks_the_action():
    logits = torch.arange(12.0).view(2, 3, 2)
    assert dist.action_logits(logits, torch.tensor([2, 0])).tolist() == [[4, 5], [6, 7]]


def test_mass_on_an_atom_is_kept():
    atoms = dist.support(-10, 10, 51)
    out = dist.categorical_projection(atoms[None], torch.full((1, 51), 1 / 51), atoms)
    close(out, torch.full((1, 51), 1 / 51), 1e-6)


def test_two_hot_of_3_7():
    out = dist.categorical_projection(torch.tensor([[3.7]]), torch.ones(1, 1), dist.support(-5, 5, 11))
    close(out[0, 8:10], torch.tensor([0.3, 0.7]), 1e-6)


def test_values_beyond_the_support_go_to_its_ends():
    atoms = dist.support(-1, 1, 3)
    out = dist.categorical_projection(
        torch.tensor([[-1e9, 7.0, math.inf]]), torch.tensor([[0.5, 0.25, 0.25]]), atoms
    )
    assert out.tolist() == [[0.5, 0.0, 0.5]]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    num_atoms=st.integers(2, 60),
    low=st.floats(-300, 100),
    width=st.floats(0.5, 600),
)
def test_projection_equals_the_loop_and_keeps_all_mass(seed, num_atoms, low, width):
    generator = torch.Generator().manual_seed(seed)
    atoms = dist.support(low, low + width, num_atoms)
    values = low + width * (1.5 * torch.rand(2, 9, generator=generator) - 0.25)
    values[:, 0], values[:, 1] = atoms[0], atoms[-1]
    p = torch.softmax(torch.randn(2, 9, generator=generator), -1)
    out = dist.categorical_projection(values, p, atoms)
    close(out.sum(-1), torch.ones(2))
    expected = [
        loop_projection(v, q, atoms.double().tolist())
        for v, q in zip(values.double().tolist(), p.double().tolist(), strict=True)
    ]
    close(out, torch.tensor(expected, dtype=torch.float32), 1e-3)


def test_projection_keeps_the_mean_inside_the_support():
    atoms = dist.support(-10, 10, 51)
    values = torch.linspace(-9.9, 9.9, 40)[:, None]
    out = dist.categorical_projection(values, torch.ones(40, 1), atoms)
    close((out * atoms).sum(-1), values[:, 0])


def test_projection_equals_rlax():
    x = golden("categorical")
    close(dist.categorical_projection(x["values"], x["probabilities"], x["atoms"]), x["projection"])


@pytest.mark.parametrize("double", [False, True])
def test_losses_equal_rlax(double):
    x = golden("categorical")
    names = ("logits_tm1", "a_tm1", "r_t", "discount_t", "logits_t", "atoms")
    loss = dist.categorical_td_loss(*(x[name] for name in names), x["q_selector_t"] if double else None)
    close(loss, x["categorical_double_q_learning" if double else "categorical_q_learning"])


def test_the_selector_decides_the_action():
    atoms = dist.support(-1, 1, 3)
    logits_t = torch.tensor([[[50.0, 0, 0], [0, 0, 50.0]]])  # action 0 is worth -1, action 1 is worth 1
    r_t, discount_t = torch.zeros(1), torch.ones(1)
    close(dist.categorical_target(r_t, discount_t, logits_t, atoms), torch.tensor([[0.0, 0, 1]]))
    selector = torch.tensor([[2.0, 1.0]])
    close(dist.categorical_target(r_t, discount_t, logits_t, atoms, selector), torch.tensor([[1.0, 0, 0]]))


def test_a_terminal_step_gives_a_point_mass_on_the_return():
    atoms = dist.support(-10, 10, 51)
    target = dist.categorical_target(torch.tensor([0.4]), torch.zeros(1), torch.randn(1, 2, 51), atoms)
    close(target[0, 26], torch.tensor(1.0))


def test_no_gradient_enters_the_target():
    atoms = dist.support(-1, 1, 5)
    online = torch.randn(3, 2, 5, requires_grad=True)
    target = torch.randn(3, 2, 5, requires_grad=True)
    selector = torch.randn(3, 2, requires_grad=True)
    a = torch.tensor([0, 1, 1])
    dist.categorical_td_loss(
        online, a, torch.ones(3), torch.full((3,), 0.9), target, atoms, selector
    ).sum().backward()
    assert target.grad is None
    assert selector.grad is None
    taken = online.grad.abs().sum(-1) > 0
    assert taken.tolist() == [[True, False], [False, True], [False, True]]


def test_cross_entropy_and_divergence_by_hand():
    logits = torch.log(torch.tensor([[0.25, 0.75]]))
    target = torch.tensor([[0.5, 0.5]])
    expected = -0.5 * (math.log(0.25) + math.log(0.75))
    close(dist.cross_entropy(logits, target), torch.tensor([expected]))
    close(dist.kl_divergence(logits, target), torch.tensor([expected - math.log(2)]))
    one_hot = torch.tensor([[0.0, 1.0]])
    close(dist.kl_divergence(logits, one_hot), torch.tensor([-math.log(0.75)]))


def test_divergence_is_0_where_the_prediction_is_right_and_has_the_same_gradient():
    logits = torch.randn(4, 7, requires_grad=True)
    assert dist.kl_divergence(logits, torch.softmax(logits, -1).detach()).abs().max() < 1e-5
    target = torch.softmax(torch.randn(4, 7), -1)
    (from_kl,) = torch.autograd.grad(dist.kl_divergence(logits, target).sum(), logits)
    (from_ce,) = torch.autograd.grad(dist.cross_entropy(logits, target).sum(), logits)
    close(from_kl, from_ce)


def test_wrong_shapes_are_refused():
    atoms = dist.support(-1, 1, 5)
    with pytest.raises(ValueError, match="atoms"):
        dist.categorical_target(torch.zeros(3), torch.zeros(3), torch.zeros(3, 2, 4), atoms)
    with pytest.raises(ValueError, match="r_t"):
        dist.categorical_target(torch.zeros(3, 1), torch.zeros(3), torch.zeros(3, 2, 5), atoms)
