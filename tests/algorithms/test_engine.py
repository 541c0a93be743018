"""The engine in one process and in several: everything is counted, ratios hold, nothing starts early."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlx.actors.player import load_policy, play_episodes
from rlx.errors import EvaluationAbandonedError
from tests.engines import APEX_LOCAL, R2D2_LOCAL, merged, small_config, train_until

pytestmark = pytest.mark.usefixtures("ray_started")

ROW = (
    "env_steps",
    "env_frames",
    "updates",
    "samples",
    "episodes",
    "return_mean",
    "return_max",
    "episode_length_mean",
    "env_steps_per_second",
    "env_frames_per_second",
    "updates_per_second",
    "replay_env_steps",
    "replay_capacity",
    "replay_fill",
    "replay_ratio",
    "replay_ratio_target",
    "policy_lag_updates",
    "sample_age_env_steps",
    "runner_wait_fraction",
    "learner_wait_fraction",
    "queue_depth",
    "loss",
    "q_mean",
    "td_error_mean",
    "grad_norm",
    "epsilon_mean",
    "lr",
    "alive_nodes",
    "healthy_runners",
    "healthy_shards",
    "restarted_runners",
    "lost_env_steps",
    "seconds",
)

TOPOLOGIES: dict[str, dict[str, Any]] = {
    "one remote runner, shard and learner local": {"env_runners": {"num_env_runners": 1}},
    "two runners, two shards, one learner": {
        "env_runners": {"num_env_runners": 2},
        "replay": {"num_shards": 2},
        "learners": {"num_learners": 1},
    },
    "r2d2: two runners, two shards, two learners": merged(
        R2D2_LOCAL,
        {
            "env_runners": {"num_env_runners": 2},
            "replay": {"num_shards": 2, "samples_per_env_step": 2},
            "learners": {"num_learners": 2},
        },
    ),
    "two runners, two shards, two learners": {
        "env_runners": {"num_env_runners": 2},
        "replay": {"num_shards": 2},
        "learners": {"num_learners": 2},
    },
}
#: Sequences of rows that a runner may have on their way when the ratio stops it: one block per request.
ROLLOUT = 8
LANES = 2


def shard_stats(algo: Any) -> list[dict[str, int]]:
    import ray

    shards = algo.shards.shards
    return ray.get([s.stats.remote() for s in shards]) if algo.shards.remote else [s.stats() for s in shards]


def settle(algo: Any) -> None:
    """Wait for everything that is under way, and count it."""
    while algo.runners.in_flight:
        for report in algo.runners.ready(1.0):
            algo.progress.add_collected(report)
            algo.limiter.insert(report.env_steps)
    algo.runners.lane_states()
    for report in algo.learners.drain():
        algo.limiter.learn(report.samples)
        algo.progress.add_learned(report)


def check_accounts(algo: Any, row: dict[str, Any]) -> None:
    missing = [name for name in ROW if name not in row]
    assert not missing
    settle(algo)
    assert sum(stats["inserted"] for stats in shard_stats(algo)) == algo.progress.env_steps, "no step is lost"
    assert algo.limiter.inserted_env_steps == algo.progress.env_steps
    assert algo.progress.samples == algo.progress.updates * 16
    assert algo.learners.total_updates() == algo.progress.updates
    assert row["lost_env_steps"] == 0
    assert row["alive_nodes"] == 1
    assert row["healthy_runners"] == max(1, algo.config.num_env_runners)
    assert row["healthy_shards"] == max(1, algo.config.rlx.replay.num_shards)
    if len(algo.shards.shards) > 1:
        inserted = [stats["inserted"] for stats in shard_stats(algo)]
        assert min(inserted) > 0.2 * sum(inserted), "every shard gets its runner's blocks"
        sampled = [stats["sampled"] for stats in shard_stats(algo)]
        assert min(sampled) > 0, "learners ask every shard"


def check_ratio(algo: Any, ratio: float, starts: int, tolerance: float) -> None:
    limiter = algo.limiter
    allowed = ratio * (limiter.inserted_env_steps - starts)
    assert limiter.learned_samples <= allowed, "the learner never leads"
    under_way = 2 * ROLLOUT * LANES * max(1, algo.config.num_env_runners)
    lead = max(tolerance * ratio * starts, 2.0 * 16) + ratio * under_way
    granted = limiter.learned_samples + 16 * algo.learners.updates_in_flight
    assert granted >= allowed - lead - 16, "nor does it fall behind"


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if "two learners" not in name else [])
        for name in TOPOLOGIES
    ],
    scope="module",
)
def distributed(request: pytest.FixtureRequest, ray_started: None) -> Iterator[Any]:
    algo = small_config(TOPOLOGIES[request.param]).build_algo()
    yield algo
    algo.stop()


def test_distributed_trains_and_counts(distributed: Any, tmp_path: Path) -> None:
    rows = train_until(distributed, lambda row: row["updates"] >= 40 and row["env_steps"] >= 600)
    updates = [row["updates"] for row in rows]
    assert updates == sorted(updates)
    assert rows[-1]["episodes"] > 0
    assert 9 <= rows[-1]["return_mean"] <= 500
    for row in rows:
        if row["env_steps"] < 100:
            assert row["updates"] == 0
    check_ratio(distributed, 2.0, 100, 0.1)
    check_accounts(distributed, rows[-1])
    if distributed.config.num_learners == 2:
        check_learners_agree(distributed)
    played = distributed.evaluate_policy(episodes=3, epsilon=0.0, seed=1)
    again = distributed.evaluate_policy(episodes=3, epsilon=0.0, seed=1)
    assert played["returns"] == again["returns"] == [float(n) for n in played["lengths"]]
    distributed.save_policy(tmp_path)
    kept = play_episodes(
        load_policy(tmp_path), distributed.config.env_spec(), episodes=3,
        num_envs=distributed.config.rlx.evaluation.num_envs, epsilon=0.0, seed=1,
    )  # fmt: skip
    assert kept.returns.tolist() == again["returns"]


def check_learners_agree(algo: Any) -> None:
    """Learners that average their gradients hold the same weights."""
    import ray

    one, other = (ray.get(worker.get_weights.remote()) for worker in algo.learners._workers)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("ratio", [0.5, 8])
@pytest.mark.parametrize("layout", ["local", pytest.param("remote runner", marks=pytest.mark.slow)])
def test_replay_ratio_is_held(ratio: float, layout: str) -> None:
    remote = {"env_runners": {"num_env_runners": 1}} if layout == "remote runner" else {}
    spec = {"replay": {"samples_per_env_step": ratio, "ratio_tolerance": 0.1}}
    algo = small_config(spec, remote).build_algo()
    goal = 800 if ratio == 0.5 else 400
    rows = train_until(algo, lambda row: row["env_steps"] >= goal)
    check_ratio(algo, ratio, 100, 0.1)
    check_accounts(algo, rows[-1])
    assert rows[-1]["replay_ratio_target"] == ratio
    algo.stop()


@pytest.mark.slow
def test_free_running_learner() -> None:
    remote = {"env_runners": {"num_env_runners": 1}, "replay": {"samples_per_env_step": None}}
    algo = small_config(remote).build_algo()
    rows = train_until(algo, lambda row: row["updates"] >= 100)
    assert algo.limiter.learned_samples > 0
    check_accounts(algo, rows[-1])
    algo.stop()


def test_learning_waits_for_its_start() -> None:
    algo = small_config(
        {"training": {"learning_starts_env_steps": 1500}, "debugging": {"deterministic": True}}
    ).build_algo()
    first = algo.train()["rlx"]
    assert (first["env_steps"] >= 1000, first["updates"], first["samples"]) == (True, 0, 0)
    assert "loss" not in first
    second = algo.train()["rlx"]
    assert second["updates"] > 0
    assert second["updates"] * 16 <= 2 * (second["env_steps"] - 1500)
    algo.stop()


def test_updates_stop_exactly() -> None:
    algo = small_config({"stop": {"updates": 37}}).build_algo()
    rows = train_until(algo, lambda row: row["updates"] >= 37)
    rows.append(algo.train()["rlx"])
    assert rows[-1]["updates"] == 37
    assert rows[-1]["samples"] == 37 * 16
    algo.stop()


def test_local_runner_acts_with_the_learner_s_own_parameters() -> None:
    algo = small_config(APEX_LOCAL).build_algo()
    train_until(algo, lambda row: row["updates"] >= 10)
    runner = algo.env_runner_group.local_env_runner.module.q_network
    assert runner is algo.learners.local_learner.q_module.q_network
    algo.stop()


@pytest.mark.slow
def test_remote_runner_gets_newer_weights() -> None:
    algo = small_config(
        {"env_runners": {"num_env_runners": 1, "weights_pull_period_env_steps": 8}}
    ).build_algo()
    rows = train_until(algo, lambda row: row["updates"] >= 60)
    # At one update per eight steps a policy of the last pulls lags by little.
    assert 0 <= rows[-1]["policy_lag_updates"] < rows[-1]["updates"]
    sent = algo.runners._runners[1].sent_version
    assert sent > 30
    algo.stop()


def test_evaluation_does_not_disturb_training(tmp_path: Path) -> None:
    """Two equal runs, one evaluated and its policy kept in between, learn the same."""
    from tests.engines import DETERMINISTIC, RAINBOW, assert_same, state_of

    plain, evaluated = (
        small_config(RAINBOW, DETERMINISTIC, {"replay": {"samples_per_env_step": 1}}) for _ in "ab"
    )
    states = []
    for config in (plain, evaluated):
        algo = config.build_algo()
        algo.train()
        if config is evaluated:
            first = algo.evaluate_policy(episodes=3, epsilon=0.1, seed=5)
            assert first["returns"] == algo.evaluate_policy(episodes=3, epsilon=0.1, seed=5)["returns"]
            with pytest.raises(EvaluationAbandonedError):
                algo.evaluate_policy(episodes=3, epsilon=0.1, seed=5, abandon=lambda: True)
            algo.save_policy(tmp_path)
        algo.train()
        states.append(state_of(algo))
        algo.stop()
    assert_same(*states)


def test_episodes_that_a_checkpoint_lacks_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = small_config(APEX_LOCAL).build_algo(), small_config(APEX_LOCAL).build_algo()
    monkeypatch.setattr(first.runners, "lane_states", dict)  # the runner did not answer
    monkeypatch.setattr(second.runners, "set_lane_states", len)
    job = first.begin_checkpoint(tmp_path)
    job.wait()
    assert job.info["restarted_episodes"] is True
    (event,) = first.events
    assert event.startswith("the checkpoint is written without the episodes of 1 of 1 runners")
    second.restore(tmp_path)
    (event,) = second.events
    assert event.startswith("episodes in progress of 1 of 1 runners start anew")
    first.stop()
    second.stop()


@pytest.mark.slow
def test_goes_on_from_a_checkpoint_with_remote_runners(tmp_path: Path) -> None:
    layers = {"env_runners": {"num_env_runners": 1}, "replay": {"num_shards": 1}}
    first = small_config(layers).build_algo()
    train_until(first, lambda row: row["updates"] >= 20)
    first.save_to_path(tmp_path)
    steps, updates = first.progress.env_steps, first.progress.updates
    (stats,) = shard_stats(first)
    first.stop()

    second = small_config(layers).build_algo()
    second.restore(tmp_path)
    (restored,) = shard_stats(second)
    assert restored["inserted"] == stats["inserted"] == steps
    assert second.learners.total_updates() == updates
    rows = train_until(second, lambda row: row["updates"] >= updates + 20)
    assert rows[0]["env_steps"] >= steps
    check_accounts(second, rows[-1])
    check_ratio(second, 2.0, 100, 0.1)
    second.stop()
