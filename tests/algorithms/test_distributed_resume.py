"""A checkpoint of an engine with processes of its own is taken by a fresh one, which goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray

from tests.engines import R2D2_LOCAL, merged, small_config, train_until

pytestmark = pytest.mark.usefixtures("ray_started")


@pytest.mark.parametrize("algorithm", [{}, R2D2_LOCAL], ids=["dqn", "r2d2"])
def test_resume_with_a_remote_runner_and_shard(algorithm: dict[str, Any], tmp_path: Path) -> None:
    processes = {"env_runners": {"num_env_runners": 1}, "replay": {"num_shards": 1, "compression": "lz4"}}
    distributed = merged(algorithm, processes)
    first = small_config(distributed).build_algo()
    # RLlib tells restored runners how many steps there were; it must find a number, not NaN.
    train_until(first, lambda row: row["updates"] > 5 and row["episodes"] > 5)
    first.begin_checkpoint(tmp_path).wait()
    env_steps, updates = first.progress.env_steps, first.progress.updates
    first.stop()

    second = small_config(distributed).build_algo()
    second.restore(tmp_path)
    if algorithm:
        windows = ray.get(second.shards.shards[0].sample.remote(32))
        known = windows.sparse_known["stored_state"]
        inside = windows["previous_action"][:, 4] != -1
        assert known[inside].all()
        assert windows.sparse["stored_state"][known].any(), "the states that actors stored are back"
    assert (second.progress.env_steps, second.progress.updates) == (env_steps, updates)
    rows = train_until(second, lambda row: row["updates"] > updates and row["env_steps"] > env_steps)
    row = rows[-1]
    assert row["replay_env_steps"] > env_steps * 0.9
    second.stop()
