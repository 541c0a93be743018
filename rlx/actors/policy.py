"""Policies: Q values of N lanes, row after row, from a network with or without memory."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from rlx.networks.recurrent import RecurrentQNetwork


class Policy(Protocol):
    """What chooses actions in lanes. It is asked once for every row of all lanes, in order."""

    def q_values(
        self,
        observation: np.ndarray,
        first: np.ndarray,
        previous_action: np.ndarray,
        previous_reward: np.ndarray,
    ) -> np.ndarray:
        """Return float32 Q values `[N, A]`.

        Args:
            observation: stacked, `[N, S, *frame_shape]`.
            first: bool `[N]`, the row starts an episode.
            previous_action: int `[N]`, -1 where `first`.
            previous_reward: float32 `[N]`, raw, 0 where `first`.
        """
        ...

    def state(self) -> np.ndarray | None:
        """Return the recurrent state before the last row that was asked for, float32 `[N, 2, H]`.

        None without.
        """
        ...

    def get_state(self) -> Any:
        """Return what is remembered between rows."""
        ...

    def set_state(self, state: Any) -> None:
        """Take the result of `get_state`."""
        ...


class FeedForwardPolicy:
    """Act by a `QModule` that sees one observation at a time.

    Args:
        module: the network; looked at anew for every row, so its weights may change.
        device: where it lies.
        fresh_noise: draw noise for noisy layers before every row, as acting in training does.
    """

    def __init__(self, module: Any, device: torch.device | str, *, fresh_noise: bool) -> None:
        self._module = module
        self._device = device
        self._noisy = fresh_noise and module.network_config.noisy

    def q_values(
        self,
        observation: np.ndarray,
        first: np.ndarray,
        previous_action: np.ndarray,
        previous_reward: np.ndarray,
    ) -> np.ndarray:
        """Return float32 Q values `[N, A]` of stacked observations `[N, S, *frame_shape]`."""
        with torch.no_grad():
            if self._noisy:
                self._module.q_network.sample_noise()
            obs = torch.from_numpy(observation).to(self._device, non_blocking=True)
            q: np.ndarray = self._module.q_values(obs).cpu().numpy()
        return q

    def state(self) -> None:
        """Return None: nothing is remembered."""
        return None

    def get_state(self) -> None:
        """Return None: nothing is remembered."""
        return None

    def set_state(self, state: Any) -> None:
        """Do nothing."""


class RecurrentPolicy:
    """Act by a `SequenceQModule`: all lanes in one call, each with a state of its own.

    The state is zero at an episode's first row. It goes on when the weights change in the middle of an
    episode.

    Args: as for `FeedForwardPolicy`.
    """

    def __init__(self, module: Any, device: torch.device | str, *, fresh_noise: bool) -> None:
        self._module = module
        self._device = device
        self._noisy = fresh_noise and module.network_config.noisy
        self._before: torch.Tensor | None = None
        self._after: torch.Tensor | None = None

    def q_values(
        self,
        observation: np.ndarray,
        first: np.ndarray,
        previous_action: np.ndarray,
        previous_reward: np.ndarray,
    ) -> np.ndarray:
        """Return float32 Q values `[N, A]`, and move every lane's state on by one row."""
        with torch.no_grad():
            network = self._module.q_network
            if self._noisy:
                network.sample_noise()
            state = network.initial_state(first.shape[0]) if self._after is None else self._after
            starts = torch.from_numpy(first).to(self._device)
            state = state.masked_fill(starts.unsqueeze(-1), 0.0)
            obs, action, reward = (
                torch.from_numpy(array).to(self._device, non_blocking=True)
                for array in (observation, previous_action, previous_reward)
            )
            q, self._after = self._module.step(obs, action, reward, state)
            self._before = state
            values: np.ndarray = q.cpu().numpy()
        return values

    def state(self) -> np.ndarray:
        """Return the state before the last row, float32 `[N, 2, H]`."""
        assert self._before is not None, "no row was asked for yet"
        return self._before.transpose(0, 1).cpu().numpy()

    def get_state(self) -> np.ndarray | None:
        """Return the state after the last row `[2, N, H]`, None before the first."""
        return None if self._after is None else self._after.cpu().numpy()

    def set_state(self, state: np.ndarray | None) -> None:
        """Take the result of `get_state`."""
        self._after = None if state is None else torch.from_numpy(state.copy()).to(self._device)


def make_policy(module: Any, device: torch.device | str, *, fresh_noise: bool) -> Policy:
    """Return the policy that fits a module: recurrent if its network is."""
    kind = RecurrentPolicy if isinstance(module.q_network, RecurrentQNetwork) else FeedForwardPolicy
    return kind(module, device, fresh_noise=fresh_noise)
