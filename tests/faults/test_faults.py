"""kill -9 of every kind of process, a NaN, a full disk: what goes on, what stops, and what is said."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from tests.engines import small_config, train_until

pytestmark = pytest.mark.usefixtures("ray_started")

DISTRIBUTED = {
    "env_runners": {"num_env_runners": 2},
    "replay": {"num_shards": 2},
    "learners": {"num_learners": 1},
}


@pytest.fixture(scope="module")
def algo(ray_started: None) -> Iterator[Any]:
    """One distributed engine; every test leaves it working."""
    algo = small_config(DISTRIBUTED).build_algo()
    train_until(algo, lambda row: row["updates"] >= 20, seconds=200)
    yield algo
    algo.stop()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def events_until(algo: Any, word: str, seconds: float = 200.0) -> tuple[list[str], dict[str, Any]]:
    """Train until an event has the word in it; return all events and the row."""
    rows = train_until(algo, lambda row: any(word in event for event in row["events"]), seconds)
    return [event for row in rows for event in row["events"]], rows[-1]


def check_goes_on(algo: Any, row: dict[str, Any]) -> dict[str, Any]:
    steps, updates = row["env_steps"] + 400, row["updates"] + 20
    done = train_until(algo, lambda r: r["env_steps"] >= steps and r["updates"] >= updates, seconds=200)
    return done[-1]


def test_runner(algo: Any) -> None:
    before = algo.train()["rlx"]
    pid = ray.get(algo.env_runner_group._worker_manager.actors()[1].apply.remote(lambda runner: os.getpid()))
    kill(pid)
    events, row = events_until(algo, "runner 1")
    assert any("restarted" in event and "lost" in event for event in events)
    row = train_until(algo, lambda r: r["healthy_runners"] == 2, seconds=200)[-1]
    assert row["restarted_runners"] == before["restarted_runners"] + 1
    # The new one plays with the learner's weights, not those it was made with.
    train_until(algo, lambda r: algo.runners._runners[1].sent_version > 0, seconds=200)
    check_goes_on(algo, row)


def hang(runner: Any) -> None:
    time.sleep(1000)


def test_runner_that_hangs(algo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = check_goes_on(algo, algo.train()["rlx"])
    monkeypatch.setattr(algo.runners, "timeout_seconds", 3.0)
    algo.env_runner_group._worker_manager.actors()[2].apply.remote(hang)
    events, row = events_until(algo, "runner 2")
    assert any("restarted" in event for event in events)
    monkeypatch.undo()
    row = train_until(algo, lambda r: r["healthy_runners"] == 2, seconds=200)[-1]
    check_goes_on(algo, row)


def test_shard(algo: Any) -> None:
    row = check_goes_on(algo, algo.train()["rlx"])
    before, lost_before = ray.get(algo.shards.shards[0].stats.remote()), row["lost_env_steps"]
    kill(ray.get(algo.shards.shards[0].process_id.remote()))
    events, row = events_until(algo, "shard 0")
    (event,) = [event for event in events if "shard" in event]
    assert "died" in event
    lost = row["lost_env_steps"] - lost_before
    # Statistics are up to a second old; blocks on their way to it may be lost as well.
    assert 0.5 * before["env_steps"] <= lost <= before["env_steps"] + 2000
    check_goes_on(algo, row)
    after = ray.get(algo.shards.shards[0].stats.remote())
    assert 0 < after["inserted"] < before["inserted"] + 2000
    sampled = after["sampled"]
    train_until(
        algo, lambda r: ray.get(algo.shards.shards[0].stats.remote())["sampled"] > sampled, seconds=200
    )


def learner_pid(algo: Any) -> int:
    return int(ray.get(algo.learners._workers[0].apply.remote(lambda learner: os.getpid())))


def test_learner_goes_on_from_the_last_checkpoint(algo: Any, tmp_path: Path) -> None:
    algo.save_to_path(tmp_path)
    saved = algo.progress.updates
    row = check_goes_on(algo, algo.train()["rlx"])
    assert row["updates"] > saved
    kill(learner_pid(algo))
    events, row = events_until(algo, "learner")
    assert any("died" in event and tmp_path.name in event for event in events)
    assert row["restarted_learners"] == 1
    assert row["updates"] >= saved
    row = check_goes_on(algo, row)
    assert algo.learners.total_updates() >= row["updates"] - 1
    assert row["healthy_runners"] == 2, "runners that waited for weights of the dead learner live on"


def test_learner_without_a_checkpoint(algo: Any) -> None:
    algo._last_checkpoint = None
    row = check_goes_on(algo, algo.train()["rlx"])
    before = row["updates"]
    kill(learner_pid(algo))
    events, row = events_until(algo, "learner")
    assert any("died" in event and "the last weights sent" in event for event in events)
    assert row["updates"] > before // 2, "counts on from the updates behind those weights"
    sent = [runner.sent_version for runner in algo.runners._runners.values()]
    row = check_goes_on(algo, row)
    assert max(runner.sent_version for runner in algo.runners._runners.values()) > max(sent)
    assert np.isfinite(row["loss"])


def test_learner_that_dies_under_a_checkpoint(algo: Any, tmp_path: Path) -> None:
    """The checkpoint fails, or the engine has gone on already; training goes on."""
    row = algo.train()["rlx"]
    kill(learner_pid(algo))
    time.sleep(0.5)
    try:
        algo.begin_checkpoint(tmp_path).wait()
    except Exception as error:
        print(f"checkpoint failed: {error!r}")
    check_goes_on(algo, row)
