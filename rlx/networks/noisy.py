"""Linear layers with learned, factorised Gaussian noise on their parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["NoisyLinear", "sample_noise", "use_noise"]


class NoisyLinear(nn.Module):
    """Compute y = (mu_w + sigma_w * f(e_out) f(e_in)^T) x + mu_b + sigma_b * f(e_out), f(e) = sgn(e) sqrt|e|.

    The noise is one draw for the whole batch and is held until `sample_noise` is called. It is not part of
    the state dict: an actor that loads the learner's weights keeps noise of its own, and so does a target
    network. A deep copy shares the draw until it draws again. After resuming, draw before the next use.

    Args:
        in_features: p, inputs.
        out_features: outputs.
        sigma0: initial scale of the noise: sigma = sigma0 / sqrt(p) for weights and biases; mu is drawn
            uniformly from +-1 / sqrt(p).

    Source: [NoisyNets] section 3 (factorised noise) and 3.2 (initialisation); sigma0 0.5 from there and
    from [Rainbow] table 1.
    """

    noise_in: Tensor
    noise_out: Tensor

    def __init__(self, in_features: int, out_features: int, sigma0: float = 0.5) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.sigma0 = sigma0
        self.use_noise = True
        self.weight_mu = nn.Parameter(torch.empty(out_features, in_features))
        self.weight_sigma = nn.Parameter(torch.empty(out_features, in_features))
        self.bias_mu = nn.Parameter(torch.empty(out_features))
        self.bias_sigma = nn.Parameter(torch.empty(out_features))
        # f(e), not e.
        self.register_buffer("noise_in", torch.zeros(in_features), persistent=False)
        self.register_buffer("noise_out", torch.zeros(out_features), persistent=False)
        self.reset_parameters()
        self.sample_noise()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw mu and set sigma anew, from torch's global generator."""
        bound = 1.0 / math.sqrt(self.in_features)
        self.weight_mu.uniform_(-bound, bound)
        self.bias_mu.uniform_(-bound, bound)
        self.weight_sigma.fill_(self.sigma0 * bound)
        self.bias_sigma.fill_(self.sigma0 * bound)

    @torch.no_grad()
    def sample_noise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh noise into the buffers, in place and on their device, so a CUDA graph may capture it.

        Args:
            generator: of the buffers' device; None is torch's default generator of that device (the one that
                a CUDA graph advances at each replay).
        """
        for noise in (self.noise_in, self.noise_out):
            noise.normal_(generator=generator)
            noise.copy_(noise.sign() * noise.abs().sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to ``[..., out_features]``; with ``use_noise`` off, by mu alone."""
        if not self.use_noise:
            return functional.linear(x, self.weight_mu, self.bias_mu)
        weight = self.weight_mu + self.weight_sigma * torch.outer(self.noise_out, self.noise_in)
        return functional.linear(x, weight, self.bias_mu + self.bias_sigma * self.noise_out)

    def extra_repr(self) -> str:
        """Give the sizes that ``repr`` shows."""
        return f"in_features={self.in_features}, out_features={self.out_features}, sigma0={self.sigma0}"


def sample_noise(module: nn.Module, generator: torch.Generator | None = None) -> int:
    """Draw fresh noise in every `NoisyLinear` below a module; return how many there are (0: nothing done)."""
    layers = [layer for layer in module.modules() if isinstance(layer, NoisyLinear)]
    for layer in layers:
        layer.sample_noise(generator)
    return len(layers)


def use_noise(module: nn.Module, flag: bool) -> int:
    """Switch the noise of every `NoisyLinear` below a module on or off; return how many there are."""
    layers = [layer for layer in module.modules() if isinstance(layer, NoisyLinear)]
    for layer in layers:
        layer.use_noise = flag
    return len(layers)
