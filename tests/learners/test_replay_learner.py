"""The learning loop around an update: counts, target copies, clipping, noise, priorities, state."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from rlx.runs.errors import NonFiniteLossError
from tests.engines import RAINBOW, assert_same, merged, small_learner
from tests.learners.windows import WindowShard, make_windows


def batches(count: int, seed: int = 0, n_step: int = 1) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [make_windows(rng, batch=16, n_step=n_step) for _ in range(count)]


def connected(learner: Any, count: int, **kwargs: Any) -> WindowShard:
    shard = WindowShard(batches(count, **kwargs))
    learner.connect([shard])
    return shard


def parameters(network: Any) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in network.named_parameters()}


def test_target_is_copied_every_period() -> None:
    learner = small_learner({"training": {"target_update_period_updates": 3}})
    connected(learner, 8)
    online, target = learner.q_module.q_network, learner.q_module.target_q_network
    at_start = parameters(target)
    assert_same(parameters(online), at_start)
    copies = 0
    for update in range(1, 8):
        before = parameters(target)
        report = learner.learn(1)
        assert (report.updates, report.total_updates) == (1, update)
        expected = parameters(online) if update % 3 == 0 else before
        assert_same(parameters(target), expected)
        copies += any((parameters(target)[name] != before[name]).any() for name in before)
    assert copies == 2


def test_report_of_a_call() -> None:
    learner = small_learner()
    shard = connected(learner, 5)
    report = learner.learn(3)
    assert (report.updates, report.samples, report.starved) == (3, 48, False)
    assert shard.asked == [16, 16, 16], "never draws a batch that it does not learn from"
    assert len(shard.priorities) == 3
    assert report.sample_age_env_steps == 10.0
    # Versions are 0, so the lag of updates 1, 2, 3 is their number.
    assert report.policy_lag_updates == 2.0
    assert {"loss", "q_mean", "td_error_mean", "grad_norm"} <= report.metrics.keys()
    rest = learner.learn(10)
    assert (rest.updates, rest.total_updates, rest.starved) == (2, 5, True)
    nothing = learner.learn(10)
    assert (nothing.updates, nothing.samples, nothing.starved) == (0, 0, True)


def test_priorities_go_back_to_their_items() -> None:
    learner = small_learner({"replay": {"prioritized": True}})
    shard = connected(learner, 1)
    shard.batches[0].item_ids[:] = np.arange(16)[::-1] * 7
    learner.learn(1)
    ids, priorities = shard.priorities[0]
    assert ids.tolist() == [7 * i for i in range(15, -1, -1)]
    assert priorities.shape == (16,)
    assert (priorities >= 0).all()
    assert priorities.std() > 0


@pytest.mark.parametrize("clip", [1e-3, 1e6, None])
def test_gradient_is_clipped_by_its_global_norm(clip: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = small_learner({"training": {"grad_clip_norm": clip}})
    connected(learner, 1)
    seen: dict[str, float] = {}

    def keep(gradients: Any) -> None:
        seen["norm"] = float(torch.sqrt(sum((g.double() ** 2).sum() for g in gradients.values())))

    monkeypatch.setattr(learner, "apply_gradients", keep)
    before = learner.learn(1).metrics["grad_norm"]
    assert before > 1e-2
    assert seen["norm"] == pytest.approx(1e-3 if clip == 1e-3 else before, rel=1e-2)


def test_nan_stops_learning_and_is_not_counted_as_fine() -> None:
    learner = small_learner()
    shard = connected(learner, 3)
    shard.batches[1].columns["reward"][:] = np.nan
    with pytest.raises(NonFiniteLossError, match="update 2"):
        learner.learn(3)


def test_infinite_gradient_is_noticed() -> None:
    learner = small_learner({"training": {"loss": "squared"}})
    shard = connected(learner, 1)
    shard.batches[0].columns["reward"][:] = 3e38
    with pytest.raises(NonFiniteLossError):
        learner.learn(1)


def noises(network: Any) -> dict[str, np.ndarray]:
    return {name: b.numpy().copy() for name, b in network.named_buffers() if "noise" in name or "eps" in name}


def test_noise_is_fresh_in_every_update_and_the_target_has_its_own() -> None:
    learner = small_learner(RAINBOW)
    connected(learner, 2, n_step=3)
    online, target = learner.q_module.q_network, learner.q_module.target_q_network
    learner.learn(1)
    first, first_target = noises(online), noises(target)
    learner.learn(1)
    second, second_target = noises(online), noises(target)
    assert first, "noisy layers keep their noise in buffers"
    for name in first:
        assert not np.array_equal(first[name], second[name]), name
        assert not np.array_equal(first_target[name], second_target[name]), name
        assert not np.array_equal(second[name], second_target[name]), name


def test_state_goes_on_bit_for_bit() -> None:
    whole, half = small_learner(RAINBOW), small_learner(RAINBOW)
    data = batches(6, n_step=3)
    for learner in (whole, half):
        learner.set_env_steps(100)
    whole.connect([WindowShard(copy.deepcopy(data))])
    half.connect([WindowShard(copy.deepcopy(data[:3]))])
    torch.manual_seed(1)
    whole.learn(6)
    torch.manual_seed(1)
    half.learn(3)
    state = copy.deepcopy(half.get_state())
    torch.manual_seed(99)
    other = small_learner(RAINBOW, seed=7)
    other.set_env_steps(100)
    other.connect([WindowShard(copy.deepcopy(data[3:]))])
    other.set_state(state)
    other.learn(3)
    assert other.updates == 6
    assert_same(parameters(other.q_module), parameters(whole.q_module))


def test_start_from_weights() -> None:
    one, other = small_learner(seed=1), small_learner(seed=2)
    other.start_from_weights(one.get_weights())
    assert_same(parameters(other.q_module.q_network), parameters(one.q_module.q_network))
    assert_same(parameters(other.q_module.target_q_network), parameters(one.q_module.q_network))


SWITCHES = {
    "double": {"training": {"double": False}},
    "dueling": {"training": {"dueling": False}},
    "prioritized": {"replay": {"prioritized": False}},
    "n_step": {"training": {"n_step": 1}},
    "distributional": {"training": {"distributional": False}},
    "noisy": {"training": {"noisy": False}, "exploration": {"kind": "linear"}},
    "nothing": {},
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_part_of_rainbow_can_be_switched_off(switch: str) -> None:
    steady = {"training": {"lr": 5e-3, "target_update_period_updates": 1000}}
    learner = small_learner(merged(RAINBOW, steady, SWITCHES[switch]))
    n_step = 1 if switch == "n_step" else 3
    data = batches(5, n_step=n_step) * 10
    learner.connect([WindowShard(data)])
    learner.set_env_steps(1000)
    first = learner.learn(5).metrics["loss"]
    learner.learn(40)
    last = learner.learn(5)
    assert last.total_updates == 50
    assert last.metrics["loss"] < first, "learns the five batches that it sees again and again"
