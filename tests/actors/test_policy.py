"""Policies that remember: a state for each lane, zero where an episode starts, saved and restored."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rlx.actors.player import play_episodes
from rlx.actors.policy import FeedForwardPolicy, RecurrentPolicy, make_policy
from tests.engines import R2D2_LOCAL, small_learner


def module() -> Any:
    return small_learner(R2D2_LOCAL).q_module


def rows(seed: int, count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    found = []
    for t in range(count):
        first = np.array([t == 0, t in (0, 3)])
        action = np.where(first, -1, rng.integers(0, 2, 2))
        obs = rng.normal(size=(2, 1, 2)).astype(np.float32)
        found.append((obs, first, action, rng.normal(size=2).astype(np.float32) * ~first))
    return found


def test_values_are_those_of_the_unrolled_episode() -> None:
    net = module()
    policy = RecurrentPolicy(net, "cpu", fresh_noise=False)
    steps = rows(0, 6)
    q, before = [], []
    for step in steps:
        q.append(policy.q_values(*step))
        before.append(policy.state())
    # Lane 1 starts anew at row 3: its last three rows are an episode of their own.
    for lane, start in ((0, 0), (1, 3)):
        part = [
            torch.from_numpy(np.stack([s[i] for s in steps[start:]])[:, lane : lane + 1]) for i in (0, 2, 3)
        ]
        output, _ = net.q_network(*part, net.q_network.initial_state(1))
        np.testing.assert_allclose(np.stack(q)[start:, lane], output.q[:, 0].detach(), atol=1e-6)
        assert not before[start][lane].any()
        assert before[start + 1][lane].any()
    assert before[0].shape == (2, 2, 8)


def test_a_restored_policy_goes_on() -> None:
    net = module()
    steps = rows(1, 6)
    whole, first, second = (RecurrentPolicy(net, "cpu", fresh_noise=False) for _ in range(3))
    expected = [whole.q_values(*step) for step in steps]
    for step in steps[:3]:
        first.q_values(*step)
    second.set_state(first.get_state())
    for step in steps[3:]:
        first.q_values(*steps[0])  # what the other does later does not matter
        np.testing.assert_array_equal(second.q_values(*step), expected.pop(3))
    whole.set_state(None)
    np.testing.assert_array_equal(whole.q_values(*steps[0]), expected[0])


def test_the_network_decides_which_policy() -> None:
    assert isinstance(make_policy(module(), "cpu", fresh_noise=False), RecurrentPolicy)
    plain = small_learner().q_module
    policy = make_policy(plain, "cpu", fresh_noise=False)
    assert isinstance(policy, FeedForwardPolicy)
    assert policy.state() is None


def test_a_recurrent_policy_is_evaluated_the_same_for_the_same_seed() -> None:
    learner = small_learner(R2D2_LOCAL)
    spec = learner.config.env_spec()
    played = [
        play_episodes(learner.q_module, spec, episodes=4, num_envs=2, epsilon=0.1, seed=seed)
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(played[0].returns, played[1].returns)
    assert played[0].returns.tolist() != played[2].returns.tolist()
