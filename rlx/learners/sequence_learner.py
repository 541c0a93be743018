"""Q-learning from sequences: R2D2's learner."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlx.learners.q_learner import QLearner
from rlx.learners.staging import SPARSE_KNOWN, Batch
from rlx.losses import rescaling, sequences, td
from rlx.networks.q_network import QOutput
from rlx.networks.rl_module import OBS, autocast
from rlx.networks.sequence_module import STATE
from rlx.plugins.burn_in import RESCALE_EPSILON, BurnIn, BurnInSettings
from rlx.replay.recurrent import NO_ACTION, PREVIOUS_ACTION, PREVIOUS_REWARD, STORED_STATE


class SequenceQLearner(QLearner):
    """Learn from windows of l burn-in rows, m learned rows and n rows behind them.

    The loss of a window is the sum over its learned rows of half the squared TD error, the batch's loss their
    mean, each times its importance weight. Every learned row has its whole n-step target: windows bring n
    rows more.

    Source: [R2D2] section 2.3 and 3.
    """

    def build(self) -> None:
        """Build, and take the plugin's settings."""
        super().build()
        plugin = next(p for p in self.config.plugin_set().plugins if isinstance(p, BurnIn))
        self.burn_in: BurnInSettings = plugin.settings
        self.state_offsets = plugin.state_offsets()

    def prepare(self, batch: Batch, size: int) -> Batch:
        """Bring windows into the network's order and form what the targets need of rewards.

        Args:
            batch: `frames [B, S-1+L, *frame]`, columns `[B, L]`, `stored_state [B, K, 2, H]`, all on the
                device; L = l + m + n.
            size: items in the shard that the batch was drawn from.

        Returns:
            Time first: `obs` ``[L, B, S, *frame]``, `previous_action`, `previous_reward` ``[L, B]``, `state`
            ``[2, B, H]``, `lead` ``[B]``. Batch first: `returns`, `discounts`, `bootstrap_row`, `learned`
            ``[B, m]``, `action_taken` ``[B, m + n]``, `weights` ``[B]``. And the columns.
        """
        training, settings = self.config.rlx.training, self.burn_in
        for plugin in self.plugins.values():
            batch = plugin.transform_batch(batch)
        rows, batch_size = settings.burn_in, batch["action"].shape[0]
        behind = {name: batch[name][:, rows:] for name in ("reward", "terminated", "acted", "in_episode")}
        n_step = sequences.sequence_n_step(
            behind["reward"],
            behind["terminated"],
            behind["acted"],
            behind["in_episode"],
            training.n_step,
            training.gamma,
            training.reward_clip,
        )
        stack = self.q_module.network_config.frame_stack
        frames = batch["frames"].transpose(0, 1)
        length = batch["action"].shape[1]
        prepared = dict(batch)
        prepared[OBS] = torch.stack([frames[i : i + length] for i in range(stack)], dim=2)
        prepared[PREVIOUS_ACTION] = batch[PREVIOUS_ACTION].transpose(0, 1)
        prepared[PREVIOUS_REWARD] = batch[PREVIOUS_REWARD].transpose(0, 1)
        prepared[STATE] = self._start_state(batch, batch_size)
        prepared["lead"] = (~batch["in_episode"][:, :rows]).sum(1)
        prepared["burn_in_rows"] = rows
        prepared["all_or_nothing"] = settings.period >= rows
        prepared["action_taken"] = batch["action"][:, rows:].long()
        prepared["returns"], prepared["discounts"], prepared["bootstrap_row"] = n_step
        prepared["learned"] = sequences.learned_rows(
            behind["terminated"], behind["acted"], behind["in_episode"], settings.unroll
        )
        if self.config.rlx.replay.prioritized:
            prepared["weights"] = td.importance_weights(batch["probabilities"], size, self.beta)
        return prepared

    def _start_state(self, batch: Batch, batch_size: int) -> Tensor:
        if self.burn_in.state == "zero":
            return self.q_module.q_network.initial_state(batch_size)
        return batch[STORED_STATE][:, 0].transpose(0, 1).contiguous()

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Batch, fwd_out: dict
    ) -> torch.Tensor:
        """Return the batch loss; leave detached statistics in `fwd_out["statistics"]` (RLlib hook)."""
        settings, mask = self.burn_in, batch["learned"]
        online: QOutput = fwd_out["online"]
        selector: QOutput | None = fwd_out["selector"]
        q = online.q.transpose(0, 1)  # [B, m + n, A]
        target_q = fwd_out["target"].q.transpose(0, 1)
        chooser = target_q if selector is None else selector.q.transpose(0, 1)
        values = td.action_values(target_q, chooser.argmax(-1))  # [B, m + n]
        value_t = values.gather(1, batch["bootstrap_row"])
        returns, discounts = batch["returns"], batch["discounts"]
        if settings.rescale:
            target = rescaling.rescaled_target(
                returns.flatten(), discounts.flatten(), value_t.flatten(), RESCALE_EPSILON
            ).view_as(returns)
        else:
            target = returns + discounts * value_t
        taken = td.action_values(q[:, : settings.unroll], batch["action_taken"][:, : settings.unroll])
        error = torch.where(mask, target.detach() - taken, 0.0)
        losses = td.huber(error) if self.config.rlx.training.loss == "huber" else td.squared(error)
        loss = td.weighted_mean(losses.sum(1), batch.get("weights"))
        with torch.no_grad():
            fwd_out["statistics"] = {
                "priority": sequences.mixed_priority(error, mask, settings.priority_eta),
                "q_mean": sequences.masked_mean(taken, mask),
                "td_error_mean": sequences.masked_mean(error.abs(), mask),
                **(self._delta_q(batch, q) if settings.measure_delta_q else {}),
            }
        return loss

    def _delta_q(self, batch: Batch, q: Tensor) -> dict[str, Tensor]:
        """Compare Q values along the window with those from the state that the actor stored at the same step.

        For the first and the last learned row: || q(h_hat) - q(h) ||_2 / |max q(h_hat)|, both by the present
        online network, the maximum over actions and learned rows of the window.

        Windows that start at an episode's first row are left out: their state is exact whatever the strategy.

        Returns:
            Name -> ``[2]``: the sum, and the windows it is over.

        Source: [R2D2] section 3, equation of Delta-Q. Differs: |max| is bounded from below by 1e-3.
        """
        settings, rows = self.burn_in, self.burn_in.burn_in
        mask = batch["learned"]
        masked = torch.where(mask.unsqueeze(-1), q[:, : settings.unroll], -torch.inf)
        largest = masked.amax((1, 2)).abs().clamp(min=1e-3)
        inside = (batch["lead"] == 0) & (batch[PREVIOUS_ACTION][0] != NO_ACTION)
        found = {}
        for name, offset in (("first", 0), ("last", settings.unroll - 1)):
            column = self.state_offsets.index(offset, 1)  # 0 is the window's start
            valid = inside & mask[:, offset] & batch[SPARSE_KNOWN + STORED_STATE][:, column]
            inputs = (batch[OBS], batch[PREVIOUS_ACTION], batch[PREVIOUS_REWARD])
            at = [x[rows + offset : rows + offset + 1] for x in inputs]
            stored = batch[STORED_STATE][:, column].transpose(0, 1).contiguous()
            with autocast(stored.device, self.q_module.precision):
                output, _ = self.q_module.q_network(*at, stored)
            distance = (q[:, offset] - output.q[0]).norm(dim=-1) / largest
            found[f"burn_in/delta_q_{name}"] = torch.stack(
                [torch.where(valid, distance, 0.0).sum(), valid.sum().float()]
            )
        return found
