import copy
import math

import pytest
import torch

from rlx.networks.noisy import NoisyLinear, sample_noise, use_noise


def f(x):
    """Apply the paper's f to one number."""
    return math.copysign(math.sqrt(abs(x)), x)


def test_forward_by_hand():
    layer = NoisyLinear(2, 1)
    with torch.no_grad():
        layer.weight_mu.copy_(torch.tensor([[1.0, 2.0]]))
        layer.weight_sigma.copy_(torch.tensor([[0.5, 0.25]]))
        layer.bias_mu.fill_(3.0)
        layer.bias_sigma.fill_(0.1)
        layer.noise_in.copy_(torch.tensor([2.0, -1.0]))
        layer.noise_out.fill_(3.0)
    x = torch.tensor([[1.0, 10.0]])
    # weights 1 + 0.5 * 6 = 4 and 2 - 0.25 * 3 = 1.25; bias 3 + 0.3
    assert layer(x).item() == pytest.approx(4.0 + 12.5 + 3.3)
    layer.use_noise = False
    assert layer(x).item() == pytest.approx(1.0 + 20.0 + 3.0)


def test_noise_is_f_of_normal_numbers_from_the_generator():
    layer = NoisyLinear(5, 3)
    layer.sample_noise(torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(7)
    for buffer in (layer.noise_in, layer.noise_out):
        raw = torch.empty_like(buffer).normal_(generator=generator)
        torch.testing.assert_close(buffer, torch.tensor([f(x) for x in raw.tolist()]))


def test_initialisation_follows_the_paper():
    layer = NoisyLinear(400, 50, sigma0=0.5)
    bound = 1 / 20
    for mu in (layer.weight_mu, layer.bias_mu):
        assert mu.abs().max() <= bound
    assert layer.weight_mu.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    for sigma in (layer.weight_sigma, layer.bias_sigma):
        assert sigma.unique().tolist() == pytest.approx([0.5 / 20])


def test_moments_of_the_output():
    """E f(e) = 0 and E f(e)^2 = E|e| = sqrt(2/pi): mean is mu's output, variance follows."""
    layer = NoisyLinear(3, 2, sigma0=1.0)
    x = torch.tensor([[1.0, -2.0, 0.5]])
    generator = torch.Generator().manual_seed(0)
    draws = []
    with torch.no_grad():
        for _ in range(8000):
            layer.sample_noise(generator)
            draws.append(layer(x))
        out = torch.cat(draws)
        layer.use_noise = False
        mean = layer(x)[0]
    absolute = math.sqrt(2 / math.pi)
    sigma = 1 / math.sqrt(3)
    variance = sigma**2 * (absolute**2 * (1 + 4 + 0.25) + absolute)
    torch.testing.assert_close(out.mean(0), mean, rtol=0, atol=5 * math.sqrt(variance / 8000))
    torch.testing.assert_close(out.var(0), torch.full((2,), variance), rtol=0.1, atol=0)


def test_gradients_reach_mu_and_sigma():
    layer = NoisyLinear(3, 2)
    layer.sample_noise(torch.Generator().manual_seed(3))
    x = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]])
    layer(x).sum().backward()
    total = x.sum(0)
    torch.testing.assert_close(layer.weight_mu.grad, total.expand(2, 3))
    noise = torch.outer(layer.noise_out, layer.noise_in)
    torch.testing.assert_close(layer.weight_sigma.grad, total * noise)
    torch.testing.assert_close(layer.bias_sigma.grad, 2 * layer.noise_out)
    assert layer.noise_in.grad is None


def test_without_noise_sigma_gets_no_gradient():
    layer = NoisyLinear(3, 2)
    layer.use_noise = False
    layer(torch.ones(1, 3)).sum().backward()
    assert layer.weight_sigma.grad is None
    assert layer.weight_mu.grad is not None


def test_noise_is_held_until_it_is_drawn_again():
    layer, x = NoisyLinear(4, 4), torch.ones(1, 4)
    first = layer(x)
    assert torch.equal(layer(x), first)
    address = layer.noise_in.data_ptr()
    layer.sample_noise()
    assert not torch.equal(layer(x), first)
    assert layer.noise_in.data_ptr() == address  # in place, for CUDA graphs


def test_noise_is_not_in_the_state_dict():
    layer = NoisyLinear(4, 2)
    assert sorted(layer.state_dict()) == ["bias_mu", "bias_sigma", "weight_mu", "weight_sigma"]
    other = NoisyLinear(4, 2)
    noise = other.noise_in.clone()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.noise_in, noise)


def test_a_copy_draws_its_own_noise():
    layer = NoisyLinear(4, 2)
    target = copy.deepcopy(layer)
    before = layer.noise_in.clone()
    target.sample_noise()
    assert torch.equal(layer.noise_in, before)


def test_functions_reach_every_noisy_layer_below():
    net = torch.nn.Sequential(NoisyLinear(3, 3), torch.nn.ReLU(), torch.nn.Sequential(NoisyLinear(3, 1)))
    assert sample_noise(net) == 2
    assert use_noise(net, False) == 2
    assert not net[0].use_noise
    assert not net[2][0].use_noise
    assert sample_noise(torch.nn.Linear(2, 2)) == 0
