"""Torsos: from stacked frames to a flat feature vector.

Every torso takes ``[B, S, *frame_shape]``, S stacked frames, oldest first, and returns ``[B, out_features]``
in the compute dtype: autocast's where autocast is on, the weights' otherwise. Frames of bytes (uint8, bool)
are cast to it and multiplied by ``uint8_scale`` here; float frames are used as they are.

Weights are initialised as PyTorch does by default: uniform in +-1 / sqrt(fan_in), biases too. [DQNZoo] does
the same (networks.py), after the Lua Torch code of the DQN papers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "ConvTorso", "MLPTorso", "MinAtarTorso", "Mnih2013Torso", "NatureTorso", "Torso"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}
"""Names that ``activation`` may have."""

BYTE_SCALE = 1.0 / 255.0
"""Maps bytes to [0, 1]."""


class Torso(nn.Module):
    """What all torsos share: the size of the output, and the cast and scaling of frames."""

    def __init__(self, out_features: int, uint8_scale: float) -> None:
        super().__init__()
        self.out_features = out_features
        self.uint8_scale = uint8_scale

    def compute_dtype(self) -> torch.dtype:
        """Give the dtype that the first layer computes in."""
        weight = next(self.parameters(), None)
        if weight is None:
            return torch.get_default_dtype()
        if torch.is_autocast_enabled(weight.device.type):
            return torch.get_autocast_dtype(weight.device.type)
        return weight.dtype

    def prepared(self, frames: Tensor) -> Tensor:
        """Bring frames into the form that the first layer takes; frames that are in it stay as they are.

        Two networks of the same shape that see the same frames can share the result.
        """
        return self.scaled(frames)

    def scaled(self, frames: Tensor, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
        """Cast frames to the compute dtype and a layout; scale them if they were bytes."""
        # Bytes are permuted before the cast: a strided copy of a quarter of the data.
        x = frames.contiguous(memory_format=memory_format).to(self.compute_dtype())
        if frames.dtype in (torch.uint8, torch.bool) and self.uint8_scale != 1.0:
            x = x.mul_(self.uint8_scale)  # x is a fresh copy: the cast changed the dtype
        return x


class ConvTorso(Torso):
    """Apply convolutions without padding, each followed by an activation, and flatten.

    Args:
        frame_shape: ``(H, W)``, or ``(H, W, C)`` with channels last.
        frame_stack: S; the first convolution has S (or S * C) input channels.
        layers: ``(out_channels, kernel, stride)`` of each convolution.
        activation: a key of `ACTIVATIONS`.
        uint8_scale: factor for uint8 and bool frames.

    Raises:
        ValueError: the frame is no image, or is too small for the kernels.
    """

    def __init__(
        self,
        frame_shape: Sequence[int],
        frame_stack: int,
        layers: Sequence[tuple[int, int, int]],
        activation: str = "relu",
        uint8_scale: float = BYTE_SCALE,
    ) -> None:
        if len(frame_shape) not in (2, 3):
            raise ValueError(f"frame_shape: {tuple(frame_shape)}; a convolution needs (H, W) or (H, W, C)")
        height, width = frame_shape[:2]
        channels = frame_stack * math.prod(frame_shape[2:])
        modules: list[nn.Module] = []
        for out_channels, kernel, stride in layers:
            modules += [nn.Conv2d(channels, out_channels, kernel, stride), ACTIVATIONS[activation]()]
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            channels = out_channels
            if height < 1 or width < 1:
                raise ValueError(f"frame_shape: {tuple(frame_shape)} is too small for this torso's kernels")
        super().__init__(channels * height * width, uint8_scale)
        self.convs = nn.Sequential(*modules)

    def prepared(self, frames: Tensor) -> Tensor:
        """Cast frames, scale bytes, and stack the channels of colour frames: float ``[B, C, H, W]``.

        If the weights are channels_last (``module.to(memory_format=torch.channels_last)``), frames are cast
        into that layout directly.
        """
        if frames.ndim == 5:
            frames = frames.permute(0, 1, 4, 2, 3).flatten(1, 2)
        weight: Tensor = next(self.convs.parameters())
        channels_last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return self.scaled(frames, layout)

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``[B, S, H, W]``, ``[B, S, H, W, C]`` or prepared frames to ``[B, out_features]``.

        The order of the features does not depend on the layout.
        """
        features: Tensor = self.convs(self.prepared(frames))
        return features.flatten(1)


class NatureTorso(ConvTorso):
    """Convolve with 32 8x8/4, 64 4x4/2, 64 3x3/1; 3,136 features of 84x84 frames.

    The fully connected layer that follows in the paper belongs to the head.

    Source: [DQN2015] Methods, "Model architecture".
    """

    def __init__(
        self,
        frame_shape: Sequence[int] = (84, 84),
        frame_stack: int = 4,
        activation: str = "relu",
        uint8_scale: float = BYTE_SCALE,
    ) -> None:
        layers = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
        super().__init__(frame_shape, frame_stack, layers, activation, uint8_scale)


class Mnih2013Torso(ConvTorso):
    """Convolve with 16 8x8/4, 32 4x4/2; 2,592 features of 84x84 frames (the paper's head has 256 units).

    Source: [DQN2013] section 4.1.
    """

    def __init__(
        self,
        frame_shape: Sequence[int] = (84, 84),
        frame_stack: int = 4,
        activation: str = "relu",
        uint8_scale: float = BYTE_SCALE,
    ) -> None:
        super().__init__(frame_shape, frame_stack, ((16, 8, 4), (32, 4, 2)), activation, uint8_scale)


class MinAtarTorso(ConvTorso):
    """Convolve with 16 3x3/1; 1,024 features of 10x10 frames (the paper's head has 128 units).

    Frames are ``(10, 10, C)``, one binary plane for each kind of object, so bytes are not scaled.

    Source: [MinAtar] section 4.1.
    """

    def __init__(
        self,
        frame_shape: Sequence[int] = (10, 10, 4),
        frame_stack: int = 1,
        activation: str = "relu",
        uint8_scale: float = 1.0,
    ) -> None:
        super().__init__(frame_shape, frame_stack, ((16, 3, 1),), activation, uint8_scale)


class MLPTorso(Torso):
    """Flatten and apply fully connected layers, each followed by an activation.

    Args:
        frame_shape: any.
        frame_stack: S.
        hidden_sizes: units of each layer; empty passes the flattened frames on.
        activation: a key of `ACTIVATIONS`.
        uint8_scale: factor for uint8 and bool frames.
    """

    def __init__(
        self,
        frame_shape: Sequence[int],
        frame_stack: int = 1,
        hidden_sizes: Sequence[int] = (256,),
        activation: str = "relu",
        uint8_scale: float = BYTE_SCALE,
    ) -> None:
        sizes = [frame_stack * math.prod(frame_shape), *hidden_sizes]
        super().__init__(sizes[-1], uint8_scale)
        modules: list[nn.Module] = []
        for size_in, size_out in itertools.pairwise(sizes):
            modules += [nn.Linear(size_in, size_out), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*modules)

    def prepared(self, frames: Tensor) -> Tensor:
        """Cast frames, scale bytes, and flatten: float ``[B, S * prod(frame_shape)]``."""
        return self.scaled(frames.flatten(1))

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``[B, S, *frame_shape]``, the same flattened, or prepared frames to ``[B, out_features]``."""
        features: Tensor = self.layers(self.prepared(frames))
        return features
