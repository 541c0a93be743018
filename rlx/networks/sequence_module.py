"""The RLModule of R2D2's family: a recurrent online network and its target, learned from sequences."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from rlx.networks.q_network import QOutput
from rlx.networks.recurrent import RecurrentQNetwork
from rlx.networks.rl_module import OBS, QModule, autocast
from rlx.replay.recurrent import NO_ACTION, PREVIOUS_ACTION, PREVIOUS_REWARD

STATE = "state"
"""Key of RLlib's recurrent state: ``[B, 2, H]``, h and c."""


class SequenceQModule(QModule):
    """A `QModule` that remembers.

    Outside rlx it is a stateful RLModule: `get_initial_state` gives the state of one environment, and
    `forward_inference` takes `obs` ``[B, T, S, *frame_shape]``, `state_in` ``{"state": [B, 2, H]}`` and, if
    they are known, `previous_action` and `previous_reward` ``[B, T]`` (without them every row counts as the
    first of an episode). It returns `q` ``[B, T, A]``, greedy `actions` ``[B, T]`` and `state_out`.
    """

    q_network: RecurrentQNetwork
    target_q_network: RecurrentQNetwork

    def make_q_network(self) -> RecurrentQNetwork:
        """Build the recurrent network that the config describes."""
        return RecurrentQNetwork(self.network_config)

    def is_stateful(self) -> bool:
        """Say that there is a state (RLlib hook)."""
        return True

    def get_initial_state(self) -> dict[str, Tensor]:
        """Return the state at an episode's start, of one environment: ``{"state": [2, H]}`` (RLlib hook)."""
        return {STATE: torch.zeros(2, self.network_config.lstm_size)}

    def step(
        self, obs: Tensor, previous_action: Tensor, previous_reward: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Act one step in N lanes.

        Args:
            obs: ``[N, S, *frame_shape]``.
            previous_action: ``[N]`` integers, `NO_ACTION` at an episode's first row.
            previous_reward: ``[N]`` float32.
            state: ``[2, N, H]`` before this row.

        Returns:
            Q values ``[N, A]`` float32, and the state after the row ``[2, N, H]``.
        """
        with autocast(obs.device, self.acting_precision):
            output, state = self.q_network(
                obs.unsqueeze(0), previous_action.unsqueeze(0), previous_reward.unsqueeze(0), state
            )
        return output.q[0], state

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        obs = batch[OBS].transpose(0, 1)
        shape = obs.shape[:2]
        action = batch.get(PREVIOUS_ACTION)
        reward = batch.get(PREVIOUS_REWARD)
        if action is None:
            action = torch.full(shape[::-1], NO_ACTION, device=obs.device)
        if reward is None:
            reward = torch.zeros(shape[::-1], device=obs.device)
        state = batch[Columns.STATE_IN][STATE].transpose(0, 1)
        with autocast(obs.device, self.acting_precision):
            output, state = self.q_network(obs, action.transpose(0, 1), reward.transpose(0, 1), state)
        q = output.q.transpose(0, 1)
        return {
            "q": q,
            Columns.ACTIONS: q.argmax(-1),
            Columns.STATE_OUT: {STATE: state.transpose(0, 1)},
        }

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Burn both networks in and unroll them over the learned rows and the n behind them.

        Args:
            batch: time first: `obs` ``[l + m + n, B, S, *frame_shape]``, `previous_action`, `previous_reward`
                ``[l + m + n, B]``, `state` ``[2, B, H]`` at each window's start, `lead` ``[B]``,
                `burn_in_rows` l and `all_or_nothing` (see `RecurrentQNetwork.burn_in`).

        Returns:
            `online` (QOutput ``[m + n, B, A]``, with gradient back to the first learned row and no further),
            `selector` (the same without gradient), `target` (QOutput ``[m + n, B, A]``), `plugins`.

        Source: [R2D2] section 3: online and target network are both burned in.
        """
        rows: int = batch["burn_in_rows"]
        inputs = (batch[OBS], batch[PREVIOUS_ACTION], batch[PREVIOUS_REWARD])
        before, learned = tuple(x[:rows] for x in inputs), tuple(x[rows:] for x in inputs)
        settings = {"lead": batch["lead"], "all_or_nothing": batch["all_or_nothing"]}
        with autocast(batch[OBS].device, self.precision):
            if self.network_config.noisy:
                self.q_network.sample_noise()
                self.target_q_network.sample_noise()
            burned_in = self.q_network.burn_in(*before, batch[STATE], **settings)
            online, _ = self.q_network(*learned, burned_in)
            with torch.no_grad():
                target_state = self.target_q_network.burn_in(*before, batch[STATE], **settings)
                target, _ = self.target_q_network(*learned, target_state)
            plugins = {
                name: module.forward_train(batch)
                for name, module in self.plugin_modules.items()
                if hasattr(module, "forward_train")
            }
        return {
            "online": online,
            "selector": QOutput(online.q.detach(), None) if self.double else None,
            "target": target,
            "plugins": plugins,
        }
