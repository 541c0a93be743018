"""A run on three nodes of one machine: where everything is, a node that is killed, a shard out of reach."""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from rlx.algorithms.nodes import plan_cluster
from rlx.algorithms.shard_group import ShardGroup
from rlx.errors import NeverStartedError
from rlx.experiment.problems import ExperimentError
from tests.engines import small_config

NODE = {"num_cpus": 2, "object_store_memory": 80 << 20, "memory": 4 * 10**9}
#: A node counts as dead after 1.5 s without a sign of life, not after 15.
QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}
APEX = {
    "algorithm": "apex_dqn",
    "env_runners": {"num_env_runners": 2},
    "replay": {"num_shards": 2},
    "learners": {"num_learners": 0, "num_gpus_per_learner": 0},
}
#: Seconds that one iteration may take while something is away; it takes 0.3 otherwise.
STALL_SECONDS = 10.0
#: Seconds that a checkpoint may take then: 5 for episodes and 5 for each of two requests of a runner that
#: waits for its shard, and what the others need.
CHECKPOINT_SECONDS = 18.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and two workers, in a folder of their own: other programs' `ray.init` does not find it."""
    ray.shutdown()
    with tempfile.TemporaryDirectory(prefix="rlx-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        head = {
            **NODE,
            "num_cpus": 1,
            "node_name": "head",
            "include_dashboard": False,
            "_system_config": QUICK,
        }
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.workers = [cluster.add_node(**NODE, node_name=name) for name in ("w1", "w2")]
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(scope="module")
def algo(cluster: Cluster) -> Iterator[Any]:
    """One engine on the cluster; the tests go through its life in their order."""
    algo = small_config(APEX).build_algo()
    yield algo
    algo.stop()


def train(algo: Any, done: Callable[[dict[str, Any]], bool], seconds: float = 100.0) -> tuple[Any, ...]:
    """Train until a row fulfils `done`; return the row, all events, and the longest iteration in seconds."""
    events, longest, deadline = [], 0.0, time.monotonic() + seconds
    while True:
        began = time.monotonic()
        row = algo.train()["rlx"]
        longest = max(longest, time.monotonic() - began)
        events += row["events"]
        if done(row):
            return row, events, longest
        assert time.monotonic() < deadline, (row, events)


def goes_on(algo: Any, row: dict[str, Any]) -> float:
    """Train until there are more env steps and updates; return the longest iteration in seconds."""
    steps, updates = row["env_steps"] + 200, row["updates"] + 20
    return float(train(algo, lambda r: r["env_steps"] >= steps and r["updates"] >= updates)[2])


def test_a_shard_that_finds_no_room_is_an_error(cluster: Cluster) -> None:
    config = small_config(APEX, {"fault_tolerance": {"startup_timeout_seconds": 3.0}})
    sizes = config.part_sizes()
    large = type(sizes)(**{**vars(sizes), "shard": 30 * 10**9})
    plan = plan_cluster(config.rlx, large)
    assert plan is not None
    assert "fits on no node" in plan.placement.problems()[0]
    with pytest.raises(NeverStartedError, match=r"replay shards 0, 1 did not start .* 30.0 GB: head .* CPUs"):
        ShardGroup(config, plan)


def test_the_plan_is_followed(algo: Any) -> None:
    plan = algo.plan
    assert [plan.placement.nodes[node].name.split()[0] for node in range(3)] == ["head", "w1", "w2"]
    assert (plan.placement.shards, plan.placement.runners) == ((1, 2), (1, 2))
    row, events, _ = train(algo, lambda row: row["updates"] >= 20)
    assert (row["alive_nodes"], row["healthy_runners"], row["healthy_shards"]) == (3, 2, 2)
    assert events == []
    homes = [found.node for _, found in sorted(algo.env_runner_group.whereabouts.items())]
    assert homes == [plan.node_ids[node] for node in plan.placement.runners]
    shards = ray.get([shard.status.remote() for shard in algo.shards.shards])
    assert [status.node for status in shards] == [plan.node_ids[node] for node in plan.placement.shards]
    free = ray._private.state.available_resources_per_node()
    assert [free[node].get("CPU", 0) for node in plan.node_ids] == [0, 0, 0], "the driver's and shards' too"
    assert free[plan.node_ids[0]]["memory"] == 4e9
    assert free[plan.node_ids[1]]["memory"] == 4e9 - plan.sizes.shard


def test_a_shard_out_of_reach_holds_nobody_up(algo: Any, tmp_path: Path) -> None:
    status = ray.get(algo.shards.shards[1].status.remote())
    os.kill(status.process, signal.SIGSTOP)
    try:
        row, _, longest = train(algo, lambda row: row["healthy_shards"] == 1)
        stall = max(longest, goes_on(algo, row))
        assert stall < STALL_SECONDS
        began = time.monotonic()
        job = algo.begin_checkpoint(tmp_path)
        job.wait()
        assert time.monotonic() - began < CHECKPOINT_SECONDS
        assert job.info["missing_shards"] == [1]
    finally:
        os.kill(status.process, signal.SIGCONT)
    print(f"longest iteration with a shard out of reach: {stall:.1f} s")
    row, events, _ = train(algo, lambda row: row["healthy_shards"] == 2)
    assert "the checkpoint is written without replay shard 1, which did not answer" in events
    assert row["restarted_shards"] == 0
    # It is drawn from again.
    sampled = ray.get(algo.shards.shards[1].stats.remote())["sampled"]
    train(algo, lambda row: ray.get(algo.shards.shards[1].stats.remote())["sampled"] > sampled)
    assert (tmp_path / "rlx" / "replay" / "shard_0" / "manifest.json").exists()
    assert not (tmp_path / "rlx" / "replay" / "shard_1").exists()


def test_a_runner_out_of_reach_holds_no_checkpoint_up(algo: Any, tmp_path: Path) -> None:
    process = algo.env_runner_group.whereabouts[1].process
    os.kill(process, signal.SIGSTOP)
    try:
        began = time.monotonic()
        job = algo.begin_checkpoint(tmp_path)
        job.wait()
        assert time.monotonic() - began < CHECKPOINT_SECONDS
        row = algo.train()["rlx"]
        assert any("without the episodes of 1 of 2 runners" in event for event in row["events"])
        assert goes_on(algo, row) < STALL_SECONDS
    finally:
        os.kill(process, signal.SIGCONT)
    assert job.info["restarted_episodes"] is True
    state = pickle.loads((tmp_path / "rlx" / "state.pkl").read_bytes())
    assert set(state["runners"]) == {2}
    row = algo.train()["rlx"]
    assert (row["healthy_runners"], row["restarted_runners"]) == (2, 0)


def test_a_node_that_is_killed_costs_what_it_held(algo: Any, cluster: Cluster) -> None:
    row = algo.train()["rlx"]
    held, lost_before = ray.get(algo.shards.shards[1].stats.remote())["env_steps"], row["lost_env_steps"]
    cluster.remove_node(cluster.workers.pop(), allow_graceful=False)
    # The event may come one row after the number.
    row, events, longest = train(algo, lambda row: any("gone" in event for event in row["events"]))
    assert row["alive_nodes"] == 2
    (event,) = [event for event in events if "gone" in event]
    assert event.startswith("node w2 (")
    assert "is gone, and with it runner 2 and replay shard 1 with " in event
    assert row["healthy_runners"] == 1
    # There is memory for the shard elsewhere, but no core for the runner: they are the driver's and shards'.
    row, more, longer = train(algo, lambda row: row["restarted_shards"] == 1 and row["healthy_shards"] == 2)
    assert any("replay shard 1 was started again on " in event for event in [*events, *more])
    # Statistics are up to a second old; blocks on their way to it may be lost as well.
    assert 0 < 0.7 * held <= row["lost_env_steps"] - lost_before <= 1.3 * held
    longest = max(longest, longer, goes_on(algo, row))
    assert longest < STALL_SECONDS
    print(f"longest iteration with a node killed: {longest:.1f} s")
    assert algo.train()["rlx"]["healthy_runners"] == 1


def test_a_checkpoint_that_lacks_a_shard_starts_it_empty(algo: Any, tmp_path: Path) -> None:
    (tmp_path / "missing.json").write_text("[0, 1]")
    assert algo.shards.load(tmp_path) == [
        "replay shard 0 starts empty: the checkpoint was written without it",
        "replay shard 1 starts empty: the checkpoint was written without it",
    ]


def test_a_node_that_comes_gives_full_strength(algo: Any, cluster: Cluster) -> None:
    cluster.workers.append(cluster.add_node(**NODE, node_name="w2"))
    row, events, longest = train(algo, lambda row: any("full strength" in event for event in row["events"]))
    assert any(event.startswith("node w2 (") and event.endswith(") is back") for event in events)
    assert any("runner 2 was started again on w2" in event for event in events)
    assert "back to full strength: 2 of 2 runners, 2 of 2 shards, " in events[-1]
    assert row["healthy_runners"] == 2
    assert longest < STALL_SECONDS
    assert algo.runners._deaths == {1: 0, 2: 0}, "the loss of a node uses up no restart"
    goes_on(algo, row)


def test_the_cluster_is_what_is_checked_before_a_run(
    algo: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlx.experiment.load import load_text
    from rlx.runs.preflight import preflight

    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    text = (
        "algorithm: apex_dqn\nenv: CartPole-v1\nstop: {env_steps: 1000}\nrl_module: {torso: mlp}\n"
        "learners: {num_learners: 0, num_gpus_per_learner: 0}\n"
        "replay: {num_shards: 1, capacity: 10_000}\ntraining: {learning_starts_env_steps: 1000}\n"
    )
    (check,) = preflight(load_text(text + "env_runners: {num_env_runners: 3}\n", "a.yaml"))
    assert (check.cpus_needed, check.cpus_available) == (5.0, 5)
    assert check.placement is not None
    assert [check.placement.parts_on(node) for node in range(3)] == [
        {"driver": 1},
        {"shards": 1, "runners": 1},
        {"runners": 2},
    ]
    with pytest.raises(ExperimentError, match="4 runners, 1 shard, the driver need 6 CPUs, 3 nodes have 5"):
        preflight(load_text(text + "env_runners: {num_env_runners: 4}\n", "a.yaml"))
