"""The runner: what it does with a request, and RLlib's hooks. In this process."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import ray

from rlx.actors.env_runner import CollectRequest, ReplayEnvRunner
from rlx.replay.shard import ReplayShard
from tests.engines import small_config, small_learner


def make_runner(*layers: dict[str, Any], worker_index: int = 1, seed: int = 0) -> ReplayEnvRunner:
    config = small_config({"env_runners": {"num_env_runners": 2}}, *layers, seed=seed)
    return ReplayEnvRunner(config=config, worker_index=worker_index)


def shard() -> ReplayShard:
    return ReplayShard(small_config({"env_runners": {"num_env_runners": 2}}).shard_config(0))


def test_block_goes_to_the_shard_and_counts_to_the_driver() -> None:
    runner, into = make_runner(), shard()
    env_steps = 0
    episodes = []
    for _ in range(6):
        report = runner.collect(CollectRequest(steps=20, shard=into))
        assert report.block is None
        env_steps += report.env_steps
        episodes += report.episodes
    assert into.stats()["inserted"] == env_steps
    assert env_steps == 6 * 20 * 2 - (into.stats()["rows"] - env_steps)
    assert len(episodes) > 3
    for episode in episodes:
        assert episode.episode_return == episode.length_env_steps
        assert episode.lane_id in (0, 1)
    assert sum(e.length_env_steps for e in episodes) <= env_steps
    assert report.worker_index == 1
    assert (report.version, report.has_weights) == (-1, False)
    assert report.sample_seconds > 0


def test_without_a_shard_the_block_comes_back() -> None:
    report = make_runner(worker_index=2).collect(CollectRequest(steps=5))
    assert report.block is not None
    assert report.block.lane_ids.tolist() == [2, 3]
    assert report.block.env_steps == report.env_steps == 10


def test_weights_are_taken_and_their_version_stands_in_the_block() -> None:
    runner, learner = make_runner(), small_learner(seed=8)
    report = runner.collect(CollectRequest(steps=3, weights=learner.get_weights(), version=12))
    assert (report.version, report.block.version, report.has_weights) == (12, 12, True)
    for mine, theirs in zip(
        runner.module.q_network.parameters(), learner.q_module.q_network.parameters(), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs.detach())
    # A request without weights keeps them; one with older weights (of replaced learners) takes those.
    assert runner.collect(CollectRequest(steps=3, version=12)).version == 12
    assert runner.collect(CollectRequest(steps=3, weights=learner.get_weights(), version=4)).version == 4


def test_q_values_in_the_block_are_those_of_the_weights() -> None:
    import torch

    runner = make_runner()
    report = runner.collect(CollectRequest(steps=4, weights=small_learner(seed=8).get_weights(), version=1))
    columns = report.block.columns
    with torch.no_grad():
        q = (
            runner.module.q_values(torch.from_numpy(columns["frame"].reshape(-1, 1, 4)))
            .numpy()
            .reshape(2, 4, 2)
        )
    np.testing.assert_allclose(columns["q_max"], q.max(-1), rtol=1e-5)
    taken = np.take_along_axis(q, columns["action"][..., None].astype(np.int64), -1)[..., 0]
    np.testing.assert_allclose(columns["q_taken"], taken, rtol=1e-5)


def test_ladder_gives_every_lane_its_epsilon() -> None:
    ladder = {"exploration": {"kind": "ladder", "epsilon": 0.4, "alpha": 7.0}}
    seen: dict[int, float] = {}
    for index in (1, 2):
        runner = make_runner(ladder, worker_index=index)
        for _ in range(20):
            for episode in runner.collect(CollectRequest(steps=20)).episodes:
                seen[episode.lane_id] = episode.epsilon
    assert seen == {i: pytest.approx(0.4 ** (1 + 7 * i / 3)) for i in range(4)}


def test_epsilon_follows_the_env_steps_of_the_run() -> None:
    linear = {"exploration": {"kind": "linear", "initial": 1.0, "final": 0.0, "decay_env_steps": 100}}
    runner = make_runner(linear)
    found = [runner.collect(CollectRequest(steps=2, env_steps=n)).epsilon_mean for n in (0, 100, 150, 500)]
    assert found == [1.0, 1.0, 0.5, 0.0]


def test_runners_differ_and_equal_seeds_agree() -> None:
    def frames(index: int, seed: int) -> np.ndarray:
        runner = make_runner(worker_index=index, seed=seed)
        weights = small_learner(seed=8).get_weights()
        return runner.collect(CollectRequest(steps=30, weights=weights, version=0)).block.columns["frame"]

    np.testing.assert_array_equal(frames(1, 5), frames(1, 5))
    assert not np.array_equal(frames(1, 5), frames(2, 5))
    assert not np.array_equal(frames(1, 5), frames(1, 6))


def test_streams_of_a_restarted_runner_are_new() -> None:
    one, other = (make_runner().collect(CollectRequest(steps=1)).block for _ in range(2))
    assert (one.stream_ids != other.stream_ids).all()


def test_noise_is_fresh_while_acting_and_absent_in_evaluation() -> None:
    runner = make_runner({"algorithm": "rainbow", "training": {"v_min": 0, "v_max": 100}})
    q = runner.module.q_network

    def noise() -> list[np.ndarray]:
        return [b.numpy().copy() for n, b in q.named_buffers() if "noise" in n or "eps" in n]

    runner.collect(CollectRequest(steps=1))
    before = noise()
    runner.collect(CollectRequest(steps=1))
    assert all(not np.array_equal(a, b) for a, b in zip(before, noise(), strict=True))
    after = noise()
    runner.sample(num_episodes=2)
    assert all(np.array_equal(a, b) for a, b in zip(after, noise(), strict=True))


def test_sample_for_rllib_s_evaluation() -> None:
    runner = make_runner()
    (played,) = runner.sample(num_episodes=3)
    assert played.env_steps() == played.agent_steps() == played.lengths.sum() == played.returns.sum()
    assert len(played.returns) == 3
    (again,) = runner.sample(num_episodes=3)
    assert again.lengths.tolist() != played.lengths.tolist(), "other episodes each time"
    metrics = runner.get_metrics()
    assert {"episode_return_mean", "num_episodes", "num_env_steps_sampled"} <= metrics.keys()


def test_state_of_lanes_goes_on() -> None:
    runner, other = make_runner(), make_runner(seed=9)
    runner.collect(CollectRequest(steps=7))
    weights = small_learner(seed=8).get_weights()
    state = runner.get_lane_state()
    assert other.set_lane_state(state)
    one = runner.collect(CollectRequest(steps=9, weights=weights, version=3)).block
    same = other.collect(CollectRequest(steps=9, weights=weights, version=3)).block
    for name in one.columns:
        np.testing.assert_array_equal(one.columns[name], same.columns[name], err_msg=name)
    np.testing.assert_array_equal(one.stream_ids, same.stream_ids)


def test_rllib_s_hooks() -> None:
    runner = make_runner()
    runner.assert_healthy()
    spaces = runner.get_spaces()
    assert spaces["default_policy"][0].shape == (1, 4)
    assert spaces["default_policy"][1].n == 2
    assert runner.get_state(components="rl_module")
    runner.stop()


class SlowShard:
    """A shard actor that takes its time."""

    def __init__(self) -> None:
        self.blocks = 0

    def add(self, block: Any) -> None:
        self.blocks += 1

    def block(self, seconds: float) -> None:
        time.sleep(seconds)

    def count(self) -> int:
        return self.blocks


@pytest.mark.usefixtures("ray_started")
def test_a_runner_whose_shard_is_away_answers_without_having_acted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplayEnvRunner, "SHARD_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(ReplayEnvRunner, "FLUSH_SECONDS", 0.2)
    away = ray.remote(SlowShard).options(num_cpus=0).remote()
    ray.get(away.count.remote())
    runner = make_runner()
    away.block.remote(4.0)
    reports = [runner.collect(CollectRequest(steps=5, shard=away)) for _ in range(6)]
    assert [report.env_steps for report in reports[:3]] == [10, 10, 10], "so many may be on their way"
    assert [report.env_steps for report in reports[3:]] == [0, 0, 0]
    assert [report.epsilon_mean is None for report in reports[2:4]] == [False, True]
    assert reports[5].shard_seconds > 0.15
    assert runner.flush() == 0, "nothing is lost"
    assert len(runner._pending) > 0
    assert runner.flush(60.0) == 0
    assert runner._pending == [], "it waits as long as it is told"
    # It goes on when the shard is back, which then has every block.
    deadline = time.monotonic() + 60
    while not runner.collect(CollectRequest(steps=5, shard=away)).env_steps:
        assert time.monotonic() < deadline
    assert ray.get(away.count.remote()) == 4
