"""Heads: from features to action values, or to logits of each action's value distribution.

Both heads return ``[B, A, K]``: K outputs for each action. K = 1 is a scalar value, K > 1 are the logits of a
categorical distribution; dueling works the same way for both, atom by atom.
"""

from __future__ import annotations

from torch import Tensor, nn

from rlx.networks.noisy import NoisyLinear
from rlx.networks.torsos import ACTIVATIONS

__all__ = ["DuelingHead", "QHead", "combine_dueling"]


def combine_dueling(value: Tensor, advantage: Tensor) -> Tensor:
    """Give Q(a) = V + A(a) - mean_a A(a).

    Args:
        value: ``[B, 1, K]``.
        advantage: ``[B, A, K]``.

    Returns:
        ``[B, A, K]``; its mean over actions is V.

    Source: [Dueling] equation 9; atom by atom [Rainbow] section 3.
    """
    return value + advantage - advantage.mean(1, keepdim=True)


def _stream(features: int, hidden: int, outputs: int, activation: str, sigma0: float | None) -> nn.Sequential:
    """Build a hidden and an output layer (``hidden`` 0: only the latter), noisy unless sigma0 is None."""

    def linear(size_in: int, size_out: int) -> nn.Module:
        return nn.Linear(size_in, size_out) if sigma0 is None else NoisyLinear(size_in, size_out, sigma0)

    if hidden == 0:
        return nn.Sequential(linear(features, outputs))
    return nn.Sequential(linear(features, hidden), ACTIVATIONS[activation](), linear(hidden, outputs))


class QHead(nn.Module):
    """One fully connected layer and an output layer.

    Args:
        in_features: size of the torso's output.
        num_actions: A.
        num_outputs: K, outputs for each action.
        hidden_size: units of the fully connected layer, 0 for none.
        activation: a key of `ACTIVATIONS`.
        noisy_sigma0: None for plain layers, else all layers here are `NoisyLinear` with this sigma0.

    Source: [DQN2015] Methods, "Model architecture" (512 units).
    """

    def __init__(
        self,
        in_features: int,
        num_actions: int,
        num_outputs: int = 1,
        hidden_size: int = 512,
        activation: str = "relu",
        noisy_sigma0: float | None = None,
    ) -> None:
        super().__init__()
        self.shape = (num_actions, num_outputs)
        self.q = _stream(in_features, hidden_size, num_actions * num_outputs, activation, noisy_sigma0)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[B, in_features]`` to ``[B, A, K]``."""
        out: Tensor = self.q(features)
        return out.view(-1, *self.shape)


class DuelingHead(nn.Module):
    """Two streams of one fully connected layer and an output layer each: state value and advantages.

    Args: as for `QHead`; each stream has its own ``hidden_size`` units.

    Source: [Dueling] section 3 and 4.2 (512 units each). Differs: the gradient that enters the torso is not
    scaled by 1 / sqrt(2).
    """

    def __init__(
        self,
        in_features: int,
        num_actions: int,
        num_outputs: int = 1,
        hidden_size: int = 512,
        activation: str = "relu",
        noisy_sigma0: float | None = None,
    ) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.shape = (num_actions, num_outputs)
        self.value = _stream(in_features, hidden_size, num_outputs, activation, noisy_sigma0)
        self.advantage = _stream(
            in_features, hidden_size, num_actions * num_outputs, activation, noisy_sigma0
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[B, in_features]`` to ``[B, A, K]``."""
        value: Tensor = self.value(features)
        advantage: Tensor = self.advantage(features)
        # float32 from here: the sum of a large V and a small A would round in bfloat16.
        return combine_dueling(value.float().unsqueeze(1), advantage.float().view(-1, *self.shape))
