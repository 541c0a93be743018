import math
import subprocess
import sys

import pytest
import torch

from rlx.learners.optimizers import RMSPropCentered, make_optimizer


def by_hand(theta, gradients, lr, decay, epsilon):
    """Run theta -= lr g / sqrt(E[g^2] - E[g]^2 + epsilon) on one number."""
    mean = mean_square = 0.0
    for g in gradients:
        mean = decay * mean + (1 - decay) * g
        mean_square = decay * mean_square + (1 - decay) * g * g
        theta -= lr * g / math.sqrt(mean_square - mean**2 + epsilon)
    return theta


def run(optimizer, parameter, gradients):
    """Apply gradients one after the other."""
    for g in gradients:
        parameter.grad = torch.as_tensor(g, dtype=parameter.dtype).expand_as(parameter).clone()
        optimizer.step()
    return parameter


def test_the_first_step_in_numbers():
    p = torch.nn.Parameter(torch.tensor([1.0]))
    run(RMSPropCentered([p], lr=0.1, decay=0.95, epsilon=0.01), p, [2.0])
    # E[g^2] = 0.2, E[g] = 0.1: 1 - 0.1 * 2 / sqrt(0.2 - 0.01 + 0.01)
    assert p.item() == pytest.approx(1 - 0.2 / math.sqrt(0.2))


@pytest.mark.parametrize(("lr", "epsilon"), [(2.5e-4, 0.01), (6.25e-5, 1.5e-7), (0.5, 1e-3)])
@pytest.mark.parametrize("tensor_lr", [False, True])
def test_many_steps_equal_a_loop(lr, epsilon, tensor_lr):
    gradients = torch.randn(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    p = torch.nn.Parameter(torch.tensor([0.3], dtype=torch.float64))
    rate = torch.tensor(lr, dtype=torch.float64) if tensor_lr else lr
    run(RMSPropCentered([p], rate, 0.95, epsilon), p, gradients)
    assert p.item() == pytest.approx(by_hand(0.3, gradients, lr, 0.95, epsilon), rel=1e-9)


def test_epsilon_is_inside_the_root():
    """torch's own centred RMSProp puts it outside: with small gradients the steps differ ten-fold."""
    ours, theirs = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    run(RMSPropCentered([ours], 1.0, 0.95, 0.01), ours, [1e-4])
    run(torch.optim.RMSprop([theirs], 1.0, 0.95, 0.01, centered=True), theirs, [1e-4])
    assert ours.item() == pytest.approx(-1e-4 / 0.1, rel=1e-3)
    assert theirs.item() == pytest.approx(10 * ours.item(), rel=0.01)


def test_large_constant_gradients_do_not_make_the_variance_negative():
    p = torch.nn.Parameter(torch.zeros(1000))
    optimizer = RMSPropCentered([p], lr=1e-3, decay=0.95, epsilon=1.5e-7)
    run(optimizer, p, [torch.linspace(-300, 300, 1000)] * 400)
    assert p.isfinite().all()
    assert (optimizer.state[p]["grad_variance"] >= 0).all()


def test_parameters_without_gradient_stay_and_all_shapes_move():
    params = [torch.nn.Parameter(torch.ones(shape)) for shape in ((3, 2), (4,), (2, 2, 3, 3), ())]
    params[2].data = params[2].data.contiguous(memory_format=torch.channels_last)
    optimizer = RMSPropCentered(params, lr=0.1)
    for p in params[:3]:
        p.grad = torch.full_like(p, 2.0)
    optimizer.step()
    for p in params[:3]:
        torch.testing.assert_close(p.detach(), torch.full_like(p, 1 - 0.2 / math.sqrt(0.2)))
    assert params[3].item() == 1.0
    assert params[3] not in optimizer.state


def test_state_dict_goes_on_bit_for_bit():
    gradients = torch.randn(20, 5, generator=torch.Generator().manual_seed(1))
    straight, resumed = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    run(RMSPropCentered([straight], 0.01), straight, gradients)
    first = RMSPropCentered([resumed], 0.01)
    run(first, resumed, gradients[:10])
    second = RMSPropCentered([resumed], 0.7)
    second.load_state_dict(first.state_dict())
    run(second, resumed, gradients[10:])
    assert torch.equal(straight, resumed)


def test_groups_have_their_own_learning_rate():
    a, b = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = RMSPropCentered([{"params": [a], "lr": 0.1}, {"params": [b]}], lr=0.2)
    a.grad = b.grad = torch.ones(1)
    optimizer.step()
    assert b.item() == pytest.approx(2 * a.item())


def test_closure_is_called_with_gradients_on():
    p = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = RMSPropCentered([p], lr=0.1)

    def closure():
        loss = (p**2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert p.item() < 2.0


@pytest.mark.parametrize("bad", [{"lr": -1.0}, {"decay": 1.0}, {"epsilon": 0.0}])
def test_impossible_numbers_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        RMSPropCentered([torch.nn.Parameter(torch.zeros(1))], **bad)


def test_make_optimizer_passes_the_numbers_on():
    p = torch.nn.Parameter(torch.zeros(1))
    adam = make_optimizer([p], "adam", 3e-4, adam_epsilon=1.5e-4)
    assert isinstance(adam, torch.optim.Adam)
    assert (adam.defaults["lr"], adam.defaults["eps"], adam.defaults["fused"]) == (3e-4, 1.5e-4, True)
    assert adam.defaults["betas"] == (0.9, 0.999)
    rmsprop = make_optimizer([p], "rmsprop_centered", 1e-3, rmsprop_decay=0.9, rmsprop_epsilon=0.01)
    assert isinstance(rmsprop, RMSPropCentered)
    assert rmsprop.defaults == {"lr": 1e-3, "decay": 0.9, "epsilon": 0.01}
    with pytest.raises(ValueError, match="'sgd' unknown; known: adam, rmsprop_centered"):
        make_optimizer([p], "sgd", 1e-3)


def test_adam_first_step_in_numbers():
    p = torch.nn.Parameter(torch.tensor([1.0]))
    run(make_optimizer([p], "adam", 0.1, adam_epsilon=0.5), p, [2.0])
    assert p.item() == pytest.approx(1 - 0.1 * 2.0 / (2.0 + 0.5))


def test_capturable_makes_no_tensor_rate_on_a_cpu():
    p = torch.nn.Parameter(torch.zeros(1))
    assert make_optimizer([p], "adam", 1e-3, capturable=True).defaults["lr"] == 1e-3


def test_importing_it_loads_no_ray():
    modules = "rlx.learners.optimizers, rlx.networks.q_network, rlx.losses.td"
    code = f"import sys, {modules}; print('ray' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
