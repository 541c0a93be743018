"""The recurrent Q-network of R2D2: torso, LSTM over features and what happened before, head.

Time comes first, ``[T, B]``, the layout that cuDNN's LSTM takes. The state of B lanes is one tensor
``[2, B, H]``: h, then c. It is zero at the first row of every episode; rows of different episodes never
follow each other here, so nothing is reset inside a sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rlx.losses.shapes import check_shape
from rlx.networks.q_network import NoisyModule, QNetworkConfig, QOutput, make_head, make_torso
from rlx.networks.torsos import ACTIVATIONS

__all__ = ["RecurrentQNetwork"]


class RecurrentQNetwork(NoisyModule):
    """Map sequences of stacked frames, previous actions and previous rewards to action values.

    Args:
        config: shapes and switches; `lstm_size` at least 1, `distributional` off.

    Raises:
        ValueError: the config has no LSTM, or return distributions; the frames do not fit the torso.

    Source: [R2D2] section 2.3 and appendix: convolutions, 512 units, LSTM of 512 units that also takes the
    previous action and reward, dueling heads. The fully connected layer stands before the previous action and
    reward join, as in [SEED].
    """

    def __init__(self, config: QNetworkConfig) -> None:
        super().__init__()
        if config.lstm_size < 1:
            raise ValueError(f"lstm_size: {config.lstm_size}, a recurrent network needs at least 1")
        if config.distributional:
            raise ValueError("distributional: a recurrent network has no return distributions here")
        self.config = config
        self.torso = make_torso(config)
        features = self.torso.out_features
        self.projection: nn.Module = nn.Identity()
        if config.lstm_input_size:
            linear = nn.Linear(features, config.lstm_input_size)
            self.projection = nn.Sequential(linear, ACTIVATIONS[config.activation]())
            features = config.lstm_input_size
        self.lstm = nn.LSTM(features + config.num_actions + 1, config.lstm_size)
        self.head = make_head(config, config.lstm_size)

    def initial_state(self, batch_size: int) -> Tensor:
        """Return the state at the start of an episode, zeros ``[2, B, H]``, on the network's device."""
        device = next(self.lstm.parameters()).device
        return torch.zeros(2, batch_size, self.config.lstm_size, device=device)

    def core_inputs(self, obs: Tensor, previous_action: Tensor, previous_reward: Tensor) -> Tensor:
        """Compute what the LSTM takes.

        Args:
            obs: ``[T, B, S, *frame_shape]``, oldest frame first.
            previous_action: ``[T, B]`` integers; -1 at an episode's first row.
            previous_reward: ``[T, B]`` float32, raw.

        Returns:
            ``[T, B, features + A + 1]`` float32.

        Raises:
            ValueError: a shape differs.
        """
        dims = check_shape(previous_action, "T B", name="previous_action")
        check_shape(previous_reward, "T B", dims, name="previous_reward")
        check_shape(obs, "T B ...", dims, name="obs")
        features = self.projection(self.torso(obs.flatten(0, 1))).unflatten(0, (dims["T"], dims["B"]))
        actions = torch.arange(self.config.num_actions, device=obs.device)
        action = (previous_action.unsqueeze(-1) == actions).float()
        return torch.cat([features.float(), action, previous_reward.float().unsqueeze(-1)], dim=-1)

    def run_core(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Run the LSTM.

        Args:
            inputs: ``[T, B, features + A + 1]`` of `core_inputs`.
            state: ``[2, B, H]`` before the first row.

        Returns:
            Outputs ``[T, B, H]`` and the state after the last row ``[2, B, H]``, both float32: autocast would
            run cuDNN's LSTM in float16 where bfloat16 was asked for, whose range rewards and gradients leave.
        """
        h, c = state.float().unsqueeze(1)
        with torch.autocast(inputs.device.type, enabled=False):
            outputs, (h, c) = self.lstm(inputs.float(), (h.contiguous(), c.contiguous()))
        return outputs, torch.cat([h, c])

    def values(self, outputs: Tensor) -> Tensor:
        """Map LSTM outputs ``[T, B, H]`` to action values, float32 ``[T, B, A]``."""
        q: Tensor = self.head(outputs.flatten(0, 1)).float().squeeze(-1)
        return q.view(*outputs.shape[:2], q.shape[-1])

    def forward(
        self, obs: Tensor, previous_action: Tensor, previous_reward: Tensor, state: Tensor
    ) -> tuple[QOutput, Tensor]:
        """Compute action values of a sequence.

        Args:
            obs: ``[T, B, S, *frame_shape]``.
            previous_action, previous_reward: ``[T, B]``, see `core_inputs`.
            state: ``[2, B, H]`` before the first row.

        Returns:
            Values ``[T, B, A]`` (logits None), and the state after the last row ``[2, B, H]``.
        """
        outputs, state = self.run_core(self.core_inputs(obs, previous_action, previous_reward), state)
        return QOutput(self.values(outputs), None), state

    @torch.no_grad()
    def burn_in(
        self,
        obs: Tensor,
        previous_action: Tensor,
        previous_reward: Tensor,
        state: Tensor,
        lead: Tensor,
        *,
        all_or_nothing: bool,
    ) -> Tensor:
        """Bring the state from the window's start to its first learned row; no gradient is kept.

        Args:
            obs: ``[l, B, S, *frame_shape]``, the rows in front of the learned ones.
            previous_action, previous_reward: ``[l, B]``.
            state: ``[2, B, H]`` at each window's first row that exists.
            lead: ``[B]`` int64 in 0..l: how many of the l rows lie before the episode, and are skipped.
            all_or_nothing: every `lead` is 0 or l: one LSTM call does it.

        Returns:
            ``[2, B, H]``. With ``lead = l`` it is ``state``.

        Source: [R2D2] section 3 (burn-in).
        """
        length = obs.shape[0]
        if length == 0:
            return state
        inputs = self.core_inputs(obs, previous_action, previous_reward)
        if all_or_nothing:
            _, burned_in = self.run_core(inputs, state)
            return torch.where((lead == 0).unsqueeze(-1), burned_in, state)
        for row in range(length):
            _, after = self.run_core(inputs[row : row + 1], state)
            state = torch.where((lead <= row).unsqueeze(-1), after, state)
        return state
