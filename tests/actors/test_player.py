"""Evaluation plays whole episodes, the same for the same seed, whatever the number of lanes asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlx.actors.player import play_episodes
from rlx.actors.policy import FeedForwardPolicy
from rlx.errors import EvaluationAbandonedError
from tests.engines import RAINBOW, small_learner


def play(learner, *, episodes: int = 5, num_envs: int = 2, epsilon: float = 0.0, seed: int = 1):  # type: ignore[no-untyped-def]
    spec = learner.config.env_spec()
    return play_episodes(
        learner.q_module, spec, episodes=episodes, num_envs=num_envs, epsilon=epsilon, seed=seed
    )


def acting_values(module):  # type: ignore[no-untyped-def]
    policy = FeedForwardPolicy(module, "cpu", fresh_noise=True)
    nothing = np.zeros(3)
    return lambda obs: policy.q_values(obs, nothing, nothing, nothing)


def test_seed_decides() -> None:
    learner = small_learner()
    first, second, other = play(learner), play(learner), play(learner, seed=2)
    np.testing.assert_array_equal(first.returns, second.returns)
    np.testing.assert_array_equal(first.lengths, first.returns)
    assert first.lengths.tolist() != other.lengths.tolist()


@pytest.mark.parametrize(("episodes", "num_envs"), [(1, 8), (5, 2), (4, 4)])
def test_number_of_episodes(episodes: int, num_envs: int) -> None:
    played = play(small_learner(), episodes=episodes, num_envs=num_envs)
    assert played.returns.shape == played.lengths.shape == (episodes,)
    assert (played.lengths >= 8).all()


def test_epsilon_1_is_random_and_0_is_greedy() -> None:
    learner = small_learner()
    # Always the same action: CartPole falls within 8 to 11 steps.
    with torch.no_grad():
        for parameter in learner.q_module.q_network.parameters():
            parameter.zero_()
    assert (play(learner, episodes=10).lengths <= 11).all()
    assert play(learner, episodes=10, epsilon=1.0).lengths.mean() > 12


def test_noisy_layers_act_by_their_means_and_are_noisy_afterwards() -> None:
    learner = small_learner(RAINBOW)
    module = learner.q_module
    obs = np.random.default_rng(0).normal(size=(3, 1, 4)).astype(np.float32)
    acting = acting_values(module)
    assert not np.array_equal(acting(obs), acting(obs))
    rng = torch.get_rng_state()
    first = play(learner)
    module.q_network.sample_noise()
    second = play(learner)
    np.testing.assert_array_equal(first.returns, second.returns)
    assert not np.array_equal(acting(obs), acting(obs))
    torch.set_rng_state(rng)
    play(learner)
    assert torch.equal(torch.get_rng_state(), rng), "evaluation draws nothing from training's generator"


def test_noise_comes_back_after_an_error() -> None:
    learner = small_learner(RAINBOW)
    with pytest.raises(ValueError, match="epsilon"):
        play(learner, epsilon=2.0)
    acting = acting_values(learner.q_module)
    obs = np.ones((1, 1, 4), np.float32)
    assert not np.array_equal(acting(obs), acting(obs))


def test_playing_is_given_up_in_the_middle_of_an_episode() -> None:
    learner = small_learner(RAINBOW)
    asked: list[bool] = []

    def third() -> bool:
        asked.append(True)
        return len(asked) == 3

    env = learner.config.env_spec()
    with pytest.raises(EvaluationAbandonedError, match="given up after 0 of 5 episodes"):
        play_episodes(learner.q_module, env, episodes=5, num_envs=2, epsilon=0.0, seed=1, abandon=third)
    assert len(asked) == 3, "two steps; an episode has eight or more"
    acting = acting_values(learner.q_module)
    obs = np.ones((1, 1, 4), np.float32)
    assert not np.array_equal(acting(obs), acting(obs)), "noise is back for training"
