"""Q-learning from windows: n-step, double, distributional, prioritised, as the experiment switches them."""

from __future__ import annotations

from typing import Any

import torch

from rlx.learners.replay_learner import ReplayLearner
from rlx.learners.staging import Batch
from rlx.losses import distributional, td
from rlx.networks.q_network import QOutput
from rlx.networks.rl_module import BOOTSTRAP_OBS, OBS


class QLearner(ReplayLearner):
    """The learner of DQN, Rainbow and Ape-X DQN.

    Source: [DQN2015] Methods; [DoubleDQN] eq. 4; [C51] algorithm 1; [PER] section 3.4; [Rainbow] section 3.
    """

    #: Env steps of the run so far, for the annealing of beta; set by the driver.
    env_steps = 0

    def build(self) -> None:
        """Build, and put the atoms of the return distribution on the device."""
        super().build()
        training = self.config.rlx.training
        self.atoms = (
            distributional.support(training.v_min, training.v_max, training.num_atoms, self._device)
            if training.distributional
            else None
        )
        self.beta = torch.zeros((), device=self._device)

    def set_env_steps(self, env_steps: int) -> None:
        """Tell the learner how far the run is: importance-weight exponent beta follows."""
        replay = self.config.rlx.replay
        start, end = replay.importance_exponent, replay.importance_exponent_final
        done = min(1.0, env_steps / replay.importance_anneal_env_steps)
        self.beta.fill_(start + done * (end - start))

    def prepare(self, batch: Batch, size: int) -> Batch:
        """Sum n-step returns, pick the two observations of each window, weigh the samples.

        Args:
            batch: `frames [B, S-1+L, *frame]`, columns `[B, L]`, `in_episode [B, L]`,
                `probabilities [B]`, all on the device; L = n + 1.
            size: items in the shard that the batch was drawn from.

        Returns:
            `obs`, `bootstrap_obs` `[B, S, *frame]` (the first a view), `action`, `returns`, `discounts`,
            `weights` `[B]`, and the columns.
        """
        training = self.config.rlx.training
        for plugin in self.plugins.values():
            batch = plugin.transform_batch(batch)
        n_step = td.n_step_returns(
            batch["reward"][:, :-1],
            batch["terminated"][:, :-1],
            batch["acted"],
            batch["in_episode"],
            training.gamma,
            training.reward_clip,
        )
        stack = self.q_module.network_config.frame_stack
        frames = batch["frames"]
        rows = torch.arange(frames.shape[0], device=frames.device)[:, None]
        offsets = n_step.bootstrap_row[:, None] + torch.arange(stack, device=frames.device)
        prepared = dict(batch)
        prepared[OBS] = frames[:, :stack]
        prepared[BOOTSTRAP_OBS] = frames[rows, offsets]
        prepared["action_taken"] = batch["action"][:, 0].long()
        prepared["returns"] = n_step.returns
        prepared["discounts"] = n_step.discounts
        if self.config.rlx.replay.prioritized:
            prepared["weights"] = td.importance_weights(batch["probabilities"], size, self.beta)
        return prepared

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Batch, fwd_out: dict
    ) -> torch.Tensor:
        """Return the batch loss; leave detached statistics in `fwd_out["statistics"]` (RLlib hook).

        The priority of a sample is |TD error|, and KL(target || prediction) where the return
        distribution is learned ([Rainbow] section 3, "integrated agent").
        """
        online: QOutput = fwd_out["online"]
        target: QOutput = fwd_out["target"]
        selector: QOutput | None = fwd_out["selector"]
        action, returns, discounts = batch["action_taken"], batch["returns"], batch["discounts"]
        selected = None if selector is None else selector.q.float()
        if self.atoms is not None:
            target_probabilities = distributional.categorical_target(
                returns, discounts, target.logits.float(), self.atoms, selected
            )
            logits = distributional.action_logits(online.logits.float(), action)
            losses = distributional.cross_entropy(logits, target_probabilities)
            with torch.no_grad():
                priority = distributional.kl_divergence(logits, target_probabilities).clamp(min=0.0)
        else:
            q_t = target.q.float()
            target_tm1 = (
                td.q_learning_target(returns, discounts, q_t)
                if selected is None
                else td.double_q_target(returns, discounts, q_t, selected)
            )
            error = td.td_error(online.q.float(), action, target_tm1)
            losses = td.huber(error) if self.config.rlx.training.loss == "huber" else td.squared(error)
            priority = error.detach().abs()
        loss = td.weighted_mean(losses, batch.get("weights"))
        fwd_out["statistics"] = {
            "priority": priority,
            "q_mean": online.q.detach().float().mean(),
            "td_error_mean": priority.mean(),
        }
        return loss
