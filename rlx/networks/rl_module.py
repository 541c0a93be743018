"""The RLModule of the Q-learning family: an online network, its target, and plugin modules."""

from __future__ import annotations

import copy
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import nn

from rlx.networks.q_network import QNetwork, QNetworkConfig, QOutput
from rlx.plugins import PluginContext, PluginSet

#: Keys of a training batch. Observations are stacked: `[B, S, *frame_shape]`.
OBS = Columns.OBS
BOOTSTRAP_OBS = "bootstrap_obs"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a forward pass runs."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


class QModule(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """Online and target Q networks under RLlib's module interface.

    `model_config` holds `network` (a `QNetworkConfig`), `plugins` (a `PluginSet`), `context` (a
    `PluginContext`), `double` (bool), and `precision` (of training) and `acting_precision`, "f32" or
    "bf16". The learner adds the target network; runners have none.
    """

    def setup(self) -> None:
        """Build the networks; called by RLlib's constructor."""
        settings = self.model_config
        self.network_config: QNetworkConfig = settings["network"]
        self.double: bool = settings["double"]
        self.precision: str = settings["precision"]
        self.acting_precision: str = settings["acting_precision"]
        self.q_network = self.make_q_network()
        plugins: PluginSet = settings["plugins"]
        context: PluginContext = settings["context"]
        made = {plugin.name: plugin.module(context) for plugin in plugins.plugins}
        self.plugin_modules = nn.ModuleDict({name: m for name, m in made.items() if m is not None})

    def make_q_network(self) -> nn.Module:
        """Build the network that the config describes."""
        return QNetwork(self.network_config)

    def make_target_networks(self) -> None:
        """Copy the online network into a frozen target."""
        self.target_q_network = copy.deepcopy(self.q_network).requires_grad_(False)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return `[(online, target)]`, for RLlib's own target updates."""
        return [(self.q_network, self.target_q_network)]

    def forward_target(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Run the target network on the bootstrap observations."""
        return {"target": self.target_q_network(batch[BOOTSTRAP_OBS])}

    def q_values(self, obs: torch.Tensor) -> torch.Tensor:
        """Return float32 Q values `[N, A]` of stacked observations `[N, S, *frame_shape]`."""
        with autocast(obs.device, self.acting_precision):
            output: QOutput = self.q_network(obs)
        return output.q.float()

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        q = self.q_values(batch[OBS])
        return {"q": q, Columns.ACTIONS: q.argmax(-1)}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Run what a Q-learning step needs.

        Returns:
            `online` (QOutput at the first row, with gradient), `selector` (online QOutput at the
            bootstrap row, without gradient; None unless double), `target` (target QOutput at the
            bootstrap row), `plugins` (name -> what the plugin module's `forward_train` returned).
        """
        obs, bootstrap_obs = batch[OBS], batch[BOOTSTRAP_OBS]
        with autocast(obs.device, self.precision):
            if self.network_config.noisy:
                self.q_network.sample_noise()
            online = self.q_network(obs)
            with torch.no_grad():
                # Bytes are cast once for both networks: 4% of an update's time (Pong, batch 128, one core).
                bootstrap_obs = self.target_q_network.torso.prepared(bootstrap_obs)
                if self.network_config.noisy:
                    self.target_q_network.sample_noise()
                selector = self.q_network(bootstrap_obs) if self.double else None
                target = self.target_q_network(bootstrap_obs)
            plugins = {
                name: module.forward_train(batch)
                for name, module in self.plugin_modules.items()
                if hasattr(module, "forward_train")
            }
        return {"online": online, "selector": selector, "target": target, "plugins": plugins}

    def get_non_inference_attributes(self) -> list[str]:
        """Name what runners do not hold."""
        return ["target_q_network"]
