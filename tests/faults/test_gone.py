"""Processes that die and may not start again: the run ends and says which setting kept it from going on."""

from __future__ import annotations

import os
from typing import Any

import pytest
import ray

from rlx.errors import ProcessGoneError
from tests.engines import small_config, train_until
from tests.faults.test_faults import DISTRIBUTED, kill, learner_pid

pytestmark = pytest.mark.usefixtures("ray_started")


@pytest.mark.parametrize(
    ("faults", "kind", "message"),
    [
        ({"max_restarts": 0}, "runner", r"runner 1 died and fault_tolerance.max_restarts \(0\) is used up"),
        ({"restart_failed_shards": False}, "shard", "replay shard 1 died and restarts are switched off"),
        ({"max_restarts": 0}, "learner", r"a learner died and .*\(0\) is used up"),
    ],
)
def test_a_process_that_may_not_start_again_ends_the_run(
    faults: dict[str, Any], kind: str, message: str
) -> None:
    algo = small_config(DISTRIBUTED, {"fault_tolerance": faults}).build_algo()
    try:
        train_until(algo, lambda row: row["updates"] >= 5, seconds=200)
        if kind == "runner":
            runner = algo.env_runner_group._worker_manager.actors()[1]
            kill(ray.get(runner.apply.remote(lambda runner: os.getpid())))
        elif kind == "shard":
            kill(ray.get(algo.shards.shards[1].process_id.remote()))
        else:
            kill(learner_pid(algo))
        with pytest.raises(ProcessGoneError, match=message):
            train_until(algo, lambda row: False, seconds=60)
    finally:
        algo.stop()
