"""The Q-network of DQN, Rainbow and Ape-X: a torso, a head, and switches for Rainbow's parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rlx.losses.distributional import expected_values, support
from rlx.networks import noisy
from rlx.networks.heads import DuelingHead, QHead
from rlx.networks.torsos import (
    ACTIVATIONS,
    BYTE_SCALE,
    ConvTorso,
    MinAtarTorso,
    MLPTorso,
    Mnih2013Torso,
    NatureTorso,
    Torso,
)

__all__ = ["TORSOS", "NoisyModule", "QNetwork", "QNetworkConfig", "QOutput", "make_head", "make_torso"]

TORSOS = ("nature", "mnih2013", "minatar", "conv", "mlp")
"""Names that ``torso`` may have."""


@dataclass(frozen=True, slots=True)
class QNetworkConfig:
    """Everything that decides the shape of a `QNetwork`; plain data, so it can be sent and compared.

    Raises:
        ValueError: a name is unknown or a number impossible.
    """

    torso: str
    """One of `TORSOS`."""
    frame_shape: tuple[int, ...]
    """One frame without stacking: (84, 84), (10, 10, 4), (4,)."""
    num_actions: int
    frame_stack: int = 1
    """How many frames the network sees at once."""
    conv_layers: tuple[tuple[int, int, int], ...] = ()
    """(out_channels, kernel, stride) of each layer of the conv torso; the others have their own."""
    hidden_sizes: tuple[int, ...] = (256,)
    """Units of the layers of the mlp torso; convolutional torsos ignore it."""
    head_hidden_size: int = 512
    """Units of the fully connected layer in each stream of the head; 0 for none."""
    activation: str = "relu"
    dueling: bool = False
    distributional: bool = False
    num_atoms: int = 51
    v_min: float = -10.0
    v_max: float = 10.0
    """Support of the value distribution.  Source: [C51] section 5."""
    noisy: bool = False
    """Make the linear layers of the head noisy."""
    noisy_sigma0: float = 0.5
    uint8_scale: float | None = None
    """Factor for uint8 and bool frames; None: 1/255, and 1 with the minatar torso (binary planes)."""
    lstm_size: int = 0
    """Units of an LSTM between torso and head; 0 for none. See `rlx.networks.recurrent`."""
    lstm_input_size: int = 512
    """Units of the fully connected layer between torso and LSTM; 0 for none."""
    # New fields stand at the end, with defaults: checkpoints hold configs of older versions.

    def __post_init__(self) -> None:
        """Check names and numbers."""
        # Specs come from YAML and checkpoints as lists; a tuple keeps the config hashable.
        object.__setattr__(self, "frame_shape", tuple(self.frame_shape))
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        object.__setattr__(self, "conv_layers", tuple(tuple(layer) for layer in self.conv_layers))
        if self.torso not in TORSOS:
            raise ValueError(f"torso: {self.torso!r} unknown; known: {', '.join(TORSOS)}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation: {self.activation!r} unknown; known: {', '.join(ACTIVATIONS)}")
        if self.torso == "conv" and not self.conv_layers:
            raise ValueError("conv_layers: empty, a conv torso needs at least one layer")
        for name in ("num_actions", "frame_stack"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)}, needs at least 1")
        for name in ("head_hidden_size", "lstm_size", "lstm_input_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        if self.distributional:
            support(self.v_min, self.v_max, self.num_atoms)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields by name, so that a later version with more of them can read it."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __setstate__(self, state: Mapping[str, Any] | Sequence[Any]) -> None:
        """Take the fields of this or an earlier version (the first ones pickled values in order)."""
        names = [field.name for field in dataclasses.fields(self)]
        given = state if isinstance(state, Mapping) else dict(zip(names, state, strict=False))
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, given.get(field.name, field.default))


class QOutput(NamedTuple):
    """What a `QNetwork` returns, in float32 whatever the compute dtype."""

    q: Tensor
    """``[B, A]``: action values; the means of the distributions if there are any."""
    logits: Tensor | None
    """``[B, A, K]``: logits of the value distributions, None without them."""


def make_torso(config: QNetworkConfig) -> Torso:
    """Build the torso that a config names.

    Raises:
        ValueError: the frames do not fit the torso.
    """
    scale = config.uint8_scale
    if scale is None:
        scale = 1.0 if config.torso == "minatar" else BYTE_SCALE
    shape, stack, activation = config.frame_shape, config.frame_stack, config.activation
    if config.torso == "mlp":
        return MLPTorso(shape, stack, config.hidden_sizes, activation, scale)
    if config.torso == "conv":
        return ConvTorso(shape, stack, config.conv_layers, activation, scale)
    conv = {"nature": NatureTorso, "mnih2013": Mnih2013Torso, "minatar": MinAtarTorso}[config.torso]
    return conv(shape, stack, activation, scale)


def make_head(config: QNetworkConfig, in_features: int) -> nn.Module:
    """Build the head that a config asks for, over `in_features` features."""
    return (DuelingHead if config.dueling else QHead)(
        in_features,
        config.num_actions,
        num_outputs=config.num_atoms if config.distributional else 1,
        hidden_size=config.head_hidden_size,
        activation=config.activation,
        noisy_sigma0=config.noisy_sigma0 if config.noisy else None,
    )


class NoisyModule(nn.Module):
    """A network whose linear layers may be noisy (`rlx.networks.noisy`)."""

    def sample_noise(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh noise in all noisy layers; nothing happens if there are none. See `NoisyLinear`."""
        noisy.sample_noise(self, generator)

    def use_noise(self, flag: bool) -> None:
        """Switch the noise on (learning, acting) or off (evaluation by mu alone)."""
        noisy.use_noise(self, flag)

    def num_parameters(self) -> int:
        """Count the trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())


class QNetwork(NoisyModule):
    """Map stacked frames to action values, and to their distributions.

    Parameters are drawn from torch's global generator: PyTorch's default initialisation, and for noisy layers
    that of their paper. Both are uniform in +-1 / sqrt(fan_in).

    Args:
        config: shapes and switches.

    Raises:
        ValueError: the frames do not fit the torso.

    Source: [Rainbow] section 3 with all switches on; [DQN2015] with all off.
    """

    atoms: Tensor

    def __init__(self, config: QNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.torso = make_torso(config)
        self.head = make_head(config, self.torso.out_features)
        # Follows from the config, so it is not in the state dict.
        atoms = (
            support(config.v_min, config.v_max, config.num_atoms) if config.distributional else torch.empty(0)
        )
        self.register_buffer("atoms", atoms, persistent=False)

    def forward(self, obs: Tensor) -> QOutput:
        """Compute action values.

        Args:
            obs: ``[B, S, *frame_shape]``, uint8 or float, oldest frame first.

        Returns:
            Values ``[B, A]`` and logits ``[B, A, K]`` or None, float32.
        """
        out = self.head(self.torso(obs)).float()
        if not self.config.distributional:
            return QOutput(out.squeeze(-1), None)
        return QOutput(expected_values(out, self.atoms), out)
