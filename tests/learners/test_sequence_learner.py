"""The learner of sequences: it sees what the actor saw, keeps gradients inside, and equals a slow twin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rlx.actors.epsilon import EpsilonSource
from rlx.actors.lanes import Lanes
from rlx.actors.policy import RecurrentPolicy
from rlx.envs.toy import register_toy_envs
from rlx.envs.vector import make_vector_env
from rlx.learners.staging import Staging
from rlx.losses import rescaling
from rlx.networks.rl_module import OBS
from rlx.plugins import burn_in
from rlx.replay.shard import ReplayShard
from rlx.replay.windows import Windows
from tests.engines import merged, small_learner
from tests.reference_impl import sequence_twin

LANES = 3
BURN_IN = {"burn_in": 4, "unroll": 6, "period": 3, "lstm_size": 8, "lstm_input_size": 5}
R2D2: dict[str, Any] = {
    "algorithm": "r2d2",
    "env": "rlx/CountFrames-v0",
    "environment": {"frame_stack": 2},
    "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": LANES},
    "learners": {"num_learners": 0, "num_gpus_per_learner": 0},
    "replay": {"num_shards": 0, "capacity": 3000, "compression": "none"},
    "training": {"n_step": 2, "gamma": 0.9, "batch_size": 16, "grad_clip_norm": None},
    "plugins": {"burn_in": BURN_IN},
}


def r2d2(**plugin: Any) -> dict[str, Any]:
    return merged(R2D2, {"plugins": {"burn_in": plugin}})


def make_learner(settings: Mapping[str, Any]) -> Any:
    register_toy_envs()
    learner = small_learner(settings)
    learner.build()
    return learner


def play(learner: Any, rows: int = 200, blocks: int = 7) -> ReplayShard:
    """Act with the learner's own weights, in blocks, and return the shard that took them."""
    config = learner.config
    env = make_vector_env(config.env_spec(), LANES, seed=3)
    lanes = Lanes(
        env,
        worker_index=0,
        seed=4,
        stream_id=1,
        epsilon=EpsilonSource("constant", LANES, epsilon=0.5),
        plugins=config.plugin_set(),
        plugin_context=config.plugin_context(num_lanes=LANES),
        plugin_modules={},
        recurrent=True,
    )
    policy = RecurrentPolicy(learner.q_module, "cpu", fresh_noise=False)
    shard = ReplayShard(config.shard_config(0))
    for _ in range(blocks):
        shard.add(lanes.collect(policy, rows // blocks, 0, 0)[0])
    return shard


def windows_of(shard: ReplayShard, batch: int = 64) -> Windows:
    windows = shard.sample(batch)
    assert windows is not None
    return windows


def prepare(learner: Any, windows: Windows) -> dict[str, Any]:
    staging = Staging(torch.device("cpu"))
    return learner.prepare(staging.ready(staging.stage(windows)), windows.size)


def forward(learner: Any, batch: dict[str, Any]) -> dict[str, Any]:
    return learner.q_module.forward_train(batch)


def differ(learner: Any) -> None:
    """Make the target network another one than the online network."""
    generator = torch.Generator().manual_seed(5)
    for parameter in learner.q_module.target_q_network.parameters():
        parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize(
    "plugin",
    [
        {},
        {"burn_in": 0},
        {"burn_in": 3},
        {"burn_in": 2, "period": 4},
        {"unroll": 3},
    ],
)
def test_with_the_actor_s_weights_the_learner_has_the_actor_s_values(plugin: dict[str, Any]) -> None:
    # Of whatever became of frames, states, previous actions and rewards on the way, nothing else passes this.
    learner = make_learner(r2d2(**plugin))
    shard = play(learner)
    windows = windows_of(shard)
    batch = prepare(learner, windows)
    q = forward(learner, batch)["online"].q.transpose(0, 1)
    rows = learner.burn_in.burn_in
    taken = q.gather(-1, batch["action_taken"].unsqueeze(-1)).squeeze(-1)
    unroll = learner.burn_in.unroll
    mask = batch["learned"].numpy()
    expected = windows["q_taken"][:, rows : rows + unroll]
    assert mask.sum() > 100
    np.testing.assert_allclose(taken[:, :unroll].detach().numpy()[mask], expected[mask], atol=2e-6)
    assert len(np.unique(expected[mask])) > 50


def test_from_zero_states_they_differ_except_at_episode_starts() -> None:
    learner = make_learner(r2d2(state="zero", burn_in=0))
    windows = windows_of(play(learner))
    batch = prepare(learner, windows)
    q = forward(learner, batch)["online"].q.transpose(0, 1)
    taken = q[:, 0].gather(-1, batch["action_taken"][:, :1]).squeeze(-1).detach().numpy()
    same = np.isclose(taken, windows["q_taken"][:, 0], atol=2e-6)
    starts = windows["previous_action"][:, 0] == -1
    assert starts.any()
    assert not starts.all()
    np.testing.assert_array_equal(same, starts)


def test_every_step_is_learned_and_none_twice_in_a_window() -> None:
    learner = make_learner(merged(r2d2(period=6), {"replay": {"prioritized": False}}))
    shard = play(learner)
    windows = windows_of(shard, batch=5000)
    batch = prepare(learner, windows)
    learned: dict[int, int] = {}
    for b, item in enumerate(windows.item_ids.tolist()):
        learned[item] = int(batch["learned"][b].sum())
    # Items that start every `unroll` rows share no step; all steps are in one, but those of windows still
    # open.
    stored = shard.stats()["env_steps"]
    assert len(learned) == shard.stats()["items"]
    assert stored - LANES * (6 + 2) <= sum(learned.values()) <= stored


@pytest.mark.parametrize("plugin", [{}, {"burn_in": 2, "period": 4}])
def test_no_gradient_reaches_the_burn_in(plugin: dict[str, Any]) -> None:
    learner = make_learner(r2d2(**plugin))
    batch = prepare(learner, windows_of(play(learner)))
    batch[OBS] = batch[OBS].float().requires_grad_()
    loss, _ = learner.forward_loss(batch)
    loss.backward()
    rows = learner.burn_in.burn_in
    gradient = batch[OBS].grad
    assert torch.count_nonzero(gradient[:rows]) == 0
    assert torch.count_nonzero(gradient[rows : rows + learner.burn_in.unroll]) > 0
    assert torch.count_nonzero(gradient[rows + learner.burn_in.unroll :]) == 0, "targets pass no gradient"
    assert all(p.grad is None for p in learner.q_module.target_q_network.parameters())


@pytest.mark.parametrize("rescale", [True, False])
def test_loss_and_priorities_equal_the_slow_twin(rescale: bool) -> None:
    learner = make_learner(r2d2(rescale=rescale))
    differ(learner)
    windows = windows_of(play(learner), batch=16)
    batch = prepare(learner, windows)
    outputs = forward(learner, batch)
    q, target = (outputs[name].q.detach().transpose(0, 1).double() for name in ("online", "target"))
    loss, statistics = learner.forward_loss(batch)
    same = {} if rescale else {"squash": float, "unsquash": float}
    rows, settings = learner.burn_in.burn_in, learner.burn_in
    total = 0.0
    for b in range(16):
        columns = {
            name: windows[name][b, rows:].tolist() for name in ("reward", "terminated", "acted", "action")
        }
        errors = sequence_twin.sequence_errors(
            q[b].tolist(),
            target[b].tolist(),
            columns["action"],
            columns["reward"],
            columns["terminated"],
            columns["acted"],
            windows.in_episode[b, rows:].tolist(),
            learned=settings.unroll,
            n=2,
            gamma=0.9,
            **same,  # type: ignore[arg-type]
        )
        sizes = [abs(e) for e in errors if e is not None]
        assert [e is not None for e in errors] == batch["learned"][b].tolist()
        expected = 0.9 * max(sizes) + 0.1 * sum(sizes) / len(sizes)
        assert statistics["priority"][b].item() == pytest.approx(expected, rel=1e-4)
        weight = batch["weights"][b].item()
        total += weight * sum(0.5 * e * e for e in sizes)
    assert loss.item() == pytest.approx(total / 16, rel=1e-4)


def delta_q(learner: Any, windows: Windows) -> dict[str, tuple[float, float]]:
    """Return the mean of Delta-Q at the learned ends, and how many windows it is over."""
    _, statistics = learner.forward_loss(prepare(learner, windows))
    sums = {at: statistics[f"burn_in/delta_q_{at}"].tolist() for at in ("first", "last")}
    return {at: (total / max(count, 1), count) for at, (total, count) in sums.items()}


@pytest.mark.parametrize("rows", [0, 2])
def test_delta_q_is_zero_from_the_actor_s_own_states_and_not_from_zeros(rows: int) -> None:
    found = {}
    for state in ("stored", "zero"):
        learner = make_learner(r2d2(state=state, burn_in=rows, unroll=3, measure_delta_q=True))
        found[state] = delta_q(learner, windows_of(play(learner)))
    assert all(value < 1e-4 and count > 0 for value, count in found["stored"].values())
    assert all(value > 1e-4 and count > 0 for value, count in found["zero"].values())


def test_delta_q_compares_with_the_stored_state_of_the_very_row() -> None:
    learner = make_learner(r2d2(burn_in=2, unroll=3, measure_delta_q=True))
    windows = windows_of(play(learner))
    column = {"first": 1, "last": 2}
    for at, other in (("first", "last"), ("last", "first")):
        changed = windows.sparse["stored_state"].copy()
        changed[:, column[at]] += 1.0
        found = delta_q(learner, replace(windows, sparse={"stored_state": changed}))
        assert found[at][0] > 1e-3
        assert found[other][0] < 1e-4


def test_delta_q_leaves_out_windows_that_start_with_their_episode() -> None:
    learner = make_learner(r2d2(burn_in=0, unroll=3, measure_delta_q=True))
    windows = windows_of(play(learner))
    inside = windows["previous_action"][:, 0] != -1
    learned = prepare(learner, windows)["learned"][:, 0].numpy()
    assert delta_q(learner, windows)["first"][1] == (inside & learned).sum() > 0


def test_a_statistic_over_nothing_is_not_reported() -> None:
    # Episodes of at most 8 steps have no 30th learned row.
    learner = make_learner(r2d2(burn_in=0, unroll=30, measure_delta_q=True))
    learner.connect([play(learner)])
    metrics = learner.learn(2).metrics
    assert "burn_in/delta_q_first" in metrics
    assert "burn_in/delta_q_last" not in metrics


def test_learning_moves_the_weights_and_an_update_is_the_same_twice() -> None:
    after = []
    for _ in range(2):
        learner = make_learner(r2d2())
        shard = play(learner)
        before = {k: v.clone() for k, v in learner.q_module.q_network.state_dict().items()}
        learner.connect([shard])
        report = learner.learn(3)
        assert report.updates == 3
        after.append({k: v.clone() for k, v in learner.q_module.q_network.state_dict().items()})
    assert any(not torch.equal(before[k], after[0][k]) for k in before)
    assert all(torch.equal(after[0][k], after[1][k]) for k in before)


@pytest.mark.parametrize("mode", ["compile", "cuda_graph"])
def test_every_update_mode_gives_the_same(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.compile  # trace and differentiate as it does, without generating C++
    monkeypatch.setattr(torch, "compile", lambda f, **kwargs: original(f, backend="aot_eager", **kwargs))
    after, metrics = [], []
    for one in ("eager", mode):
        learner = make_learner(merged(r2d2(measure_delta_q=True), {"training": {"update_mode": one}}))
        learner.connect([play(learner)])
        metrics.append(learner.learn(4).metrics)
        after.append({name: p.detach().clone() for name, p in learner.q_module.q_network.named_parameters()})
    for name, value in after[0].items():
        torch.testing.assert_close(after[1][name], value, rtol=0, atol=1e-6)
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-4, abs=1e-6)


def test_shards_and_learner_rescale_alike() -> None:
    assert burn_in.RESCALE_EPSILON == rescaling.RESCALE_EPSILON
