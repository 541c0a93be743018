"""Loss, priorities and weights of the Q learner against calculations written as loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rlx.learners.staging import Staging
from rlx.replay.windows import Windows
from tests.engines import small_learner
from tests.learners.windows import make_windows

GAMMA = 0.9
N_STEP = 3
BETA = 0.4


def settings(**training: Any) -> dict[str, Any]:
    base = {"n_step": N_STEP, "gamma": GAMMA, "batch_size": 8}
    return {
        "training": {**base, **training},
        "replay": {
            "prioritized": True,
            "importance_exponent": BETA,
            "importance_exponent_final": 1.0,
            "importance_anneal_env_steps": 1000,
        },
    }


def differ(learner: Any) -> None:
    """Make the target network another one than the online network."""
    generator = torch.Generator().manual_seed(5)
    for parameter in learner.q_module.target_q_network.parameters():
        parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def forward(learner: Any, windows: Windows) -> tuple[float, dict[str, torch.Tensor]]:
    staging = Staging(torch.device("cpu"))
    batch = learner.prepare(staging.ready(staging.stage(windows)), windows.size)
    loss, statistics = learner.forward_loss(batch)
    return loss.item(), statistics


def n_step_of(windows: Windows, b: int, clip: float | None) -> tuple[float, float, int]:
    """Return sum, discount and bootstrap row of a window, following the contract word by word."""
    total, discount = 0.0, 1.0
    for k in range(N_STEP):
        terminated = windows["terminated"][b, k]
        if not terminated and not windows.in_episode[b, k + 1]:
            return total, discount, k
        reward = float(windows["reward"][b, k])
        total += discount * (reward if clip is None else min(max(reward, -clip), clip))
        discount *= GAMMA
        if terminated:
            return total, 0.0, 0
        if not windows["acted"][b, k + 1]:
            return total, discount, k + 1
    return total, discount, N_STEP


def values(network: Any, frame: np.ndarray) -> Any:
    with torch.no_grad():
        return network(torch.from_numpy(frame[None, None]))


def weights_of(windows: Windows, beta: float) -> np.ndarray:
    weights = (windows.size * windows.probabilities) ** -beta
    return weights / weights.max()


def huber(error: float) -> float:
    return 0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize(("loss", "clip"), [("huber", None), ("squared", 1.0)])
@pytest.mark.parametrize("dueling", [False, True])
def test_td_loss(double: bool, loss: str, clip: float | None, dueling: bool) -> None:
    learner = small_learner(settings(double=double, loss=loss, reward_clip=clip, dueling=dueling))
    differ(learner)
    learner.set_env_steps(500)
    windows = make_windows(np.random.default_rng(0))
    online, target = learner.q_module.q_network, learner.q_module.target_q_network
    weights = weights_of(windows, 0.5 * (BETA + 1.0))
    expected, errors = 0.0, []
    for b in range(8):
        total, discount, row = n_step_of(windows, b, clip)
        q_next = values(target, windows.frames[b, row]).q[0]
        chosen = values(online, windows.frames[b, row]).q[0].argmax() if double else q_next.argmax()
        q_taken = values(online, windows.frames[b, 0]).q[0, windows["action"][b, 0]]
        error = total + discount * float(q_next[chosen]) - float(q_taken)
        errors.append(abs(error))
        expected += weights[b] * (huber(error) if loss == "huber" else 0.5 * error**2) / 8
    found, statistics = forward(learner, windows)
    assert found == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(statistics["priority"].numpy(), errors, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("double", [False, True])
def test_distributional_loss(double: bool) -> None:
    atoms, low, high = 11, -2.0, 3.0
    learner = small_learner(
        settings(double=double, distributional=True, num_atoms=atoms, v_min=low, v_max=high, dueling=True)
    )
    differ(learner)
    learner.set_env_steps(0)
    windows = make_windows(np.random.default_rng(1))
    online, target = learner.q_module.q_network, learner.q_module.target_q_network
    support, width = np.linspace(low, high, atoms), (high - low) / (atoms - 1)
    weights = weights_of(windows, BETA)
    expected, divergences = 0.0, []
    for b in range(8):
        total, discount, row = n_step_of(windows, b, None)
        output = values(target, windows.frames[b, row])
        chooser = values(online, windows.frames[b, row]) if double else output
        action = int(chooser.q[0].argmax())
        mass = torch.softmax(output.logits[0, action].double(), -1).numpy()
        projected = np.zeros(atoms)
        for z, p in zip(support, mass, strict=True):
            place = (min(max(total + discount * z, low), high) - low) / width
            below = int(np.floor(place))
            above = min(below + 1, atoms - 1)
            projected[below] += p * (1 - (place - below))
            projected[above] += p * (place - below)
        logits = values(online, windows.frames[b, 0]).logits[0, windows["action"][b, 0]].double()
        log_p = torch.log_softmax(logits, -1).numpy()
        cross = -(projected * log_p).sum()
        entropy = -sum(p * np.log(p) for p in projected if p > 0)
        expected += weights[b] * cross / 8
        divergences.append(cross - entropy)
    found, statistics = forward(learner, windows)
    assert found == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(statistics["priority"].numpy(), divergences, rtol=1e-3, atol=1e-5)


def test_without_priorities_samples_weigh_the_same() -> None:
    learner = small_learner(settings(), {"replay": {"prioritized": False}})
    windows = make_windows(np.random.default_rng(2))
    found, statistics = forward(learner, windows)
    losses = [huber(float(e)) for e in statistics["priority"]]
    assert found == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize(("env_steps", "beta"), [(0, 0.4), (500, 0.7), (1000, 1.0), (9000, 1.0)])
def test_beta_is_annealed_over_env_steps(env_steps: int, beta: float) -> None:
    learner = small_learner(settings())
    learner.set_env_steps(env_steps)
    assert float(learner.beta) == pytest.approx(beta)


def test_gradient_flows_into_the_first_observation_only() -> None:
    learner = small_learner(settings(double=True))
    staging = Staging(torch.device("cpu"))
    windows = make_windows(np.random.default_rng(3))
    batch = learner.prepare(staging.stage(windows), windows.size)
    for name in ("obs", "bootstrap_obs"):
        batch[name] = batch[name].clone().requires_grad_()
    loss, _ = learner.forward_loss(batch)
    loss.backward()
    assert batch["obs"].grad.abs().sum() > 0
    assert batch["bootstrap_obs"].grad is None
    assert all(p.grad is None for p in learner.q_module.target_q_network.parameters())


def test_observations_are_stacked_from_the_right_frames() -> None:
    stacked = {"env": "rlx/CountFrames-v0", "environment": {"frame_stack": 2}}
    from rlx.envs.toy import register_toy_envs

    register_toy_envs()
    learner = small_learner(settings(), stacked)
    windows = make_windows(np.random.default_rng(4), stack=2, frame_shape=(2, 3))
    windows.frames = (windows.frames * 40).astype(np.uint8)
    staging = Staging(torch.device("cpu"))
    batch = learner.prepare(staging.stage(windows), windows.size)
    assert batch["obs"].dtype == torch.uint8
    for b in range(8):
        _, discount, row = n_step_of(windows, b, None)
        np.testing.assert_array_equal(batch["obs"][b], windows.frames[b, :2])
        if discount:
            np.testing.assert_array_equal(batch["bootstrap_obs"][b], windows.frames[b, row : row + 2])
