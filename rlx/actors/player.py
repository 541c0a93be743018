"""Playing whole episodes with a frozen policy: evaluation, apart from training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlx.actors.lanes import Lanes, PlayedStep
from rlx.actors.policy import make_policy
from rlx.envs.spec import EnvSpec
from rlx.envs.vector import VectorEnv, make_vector_env

#: Where RLlib puts the network in a checkpoint; a policy that is kept alone lies in the same place.
POLICY_PATH = Path("learner_group", "learner", "rl_module")


@dataclass(frozen=True)
class PlayedEpisodes:
    """Undiscounted raw returns float64 `[E]` and lengths int64 `[E]` in env steps.

    The two methods are what RLlib's evaluation sums over the results of `sample`.
    """

    returns: np.ndarray
    lengths: np.ndarray

    def env_steps(self) -> int:
        """Return the env steps of all episodes."""
        return int(self.lengths.sum())

    def agent_steps(self) -> int:
        """Return the same count: there is one agent."""
        return self.env_steps()


def load_policy(checkpoint: Path, *, torch_threads: int = 1) -> Any:
    """Load the acting network of a checkpoint: a `QModule` (or a class of it) on the CPU, not to be trained.

    Args:
        checkpoint: a complete checkpoint directory, or a kept policy.
        torch_threads: of this process.
    """
    from ray.rllib.core.rl_module import RLModule

    torch.set_num_threads(torch_threads)
    # RLlib warns of the way in which it makes a module from a checkpoint itself.
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # RLlib takes a relative path for the address of another storage.
        module = RLModule.from_checkpoint(checkpoint.absolute() / POLICY_PATH)
    finally:
        logger.setLevel(level)
    return module["default_policy"].eval().requires_grad_(False)


def play_episodes(
    module: Any,
    env_spec: EnvSpec,
    *,
    episodes: int,
    num_envs: int,
    epsilon: float,
    seed: int,
    device: Any = "cpu",
    on_episode: Callable[[int], None] | None = None,
    abandon: Callable[[], bool] = lambda: False,
) -> PlayedEpisodes:
    """Play `episodes` whole episodes in fresh environments; noisy layers act by their means.

    Each lane's share of the episodes is fixed beforehand: taking those that end first would favour
    short episodes. `on_episode` is told the number of counted episodes whenever one ends; `abandon` is asked
    before every step whether to give up.

    Raises:
        EvaluationAbandonedError: `abandon` said so; the episodes so far are lost.
    """
    env = make_vector_env(env_spec, min(num_envs, episodes), seed=seed, num_threads=1)
    return play_in(
        module,
        env,
        episodes=episodes,
        epsilon=epsilon,
        seed=seed,
        device=device,
        on_episode=on_episode,
        abandon=abandon,
    )


def play_in(
    module: Any,
    env: VectorEnv,
    *,
    episodes: int,
    epsilon: float,
    seed: int,
    device: Any = "cpu",
    on_episode: Callable[[int], None] | None = None,
    on_step: Callable[[PlayedStep], None] | None = None,
    abandon: Callable[[], bool] = lambda: False,
) -> PlayedEpisodes:
    """Play as `play_episodes`, in lanes that are there; they are closed afterwards.

    `on_step` is told of every step, also of those that only begin an episode.
    """
    module.q_network.use_noise(False)
    try:
        player = Lanes.player(env, seed=seed, epsilon=epsilon)
        policy = make_policy(module, device, fresh_noise=False)
        returns, lengths = player.play(policy, episodes, on_episode, on_step, abandon)
    finally:
        module.q_network.use_noise(True)
        env.close()
    return PlayedEpisodes(returns, lengths)
