"""The convolutions of each torso, for what needs their shapes without torch: memory, RLlib's own networks."""

from __future__ import annotations

from rlx.experiment.spec import RlModule

CONVOLUTIONS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "nature": ((32, 8, 4), (64, 4, 2), (64, 3, 1)),
    "mnih2013": ((16, 8, 4), (32, 4, 2)),
    "minatar": ((16, 3, 1),),
}
"""Torso -> (out_channels, kernel, stride) of each layer; sources stand in `rlx.networks.torsos`."""


def conv_layers(rl_module: RlModule) -> tuple[tuple[int, int, int], ...]:
    """Return (out_channels, kernel, stride) of each convolution; none for an mlp."""
    if rl_module.torso == "conv":
        return rl_module.conv_layers
    return CONVOLUTIONS.get(rl_module.torso, ())
