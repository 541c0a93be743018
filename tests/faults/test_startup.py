"""Processes that never come up: an error that names them, not a silently smaller run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray

from rlx.errors import NeverStartedError, ProcessGoneError
from tests.engines import small_config, train_until
from tests.faults.test_faults import DISTRIBUTED, kill
from tests.plugins.toys import Breaking

pytestmark = pytest.mark.usefixtures("ray_started")


def test_a_runner_that_fails_in_its_constructor() -> None:
    config = small_config(DISTRIBUTED, {"plugins": {Breaking.name: {}}})
    with pytest.raises(
        NeverStartedError, match="runner 2 could not be started: OSError: no licence for this emulator"
    ):
        config.build_algo()


def test_a_runner_that_finds_no_cores() -> None:
    config = small_config(
        DISTRIBUTED,
        {"env_runners": {"num_cpus_per_env_runner": 1000.0}},
        {"fault_tolerance": {"startup_timeout_seconds": 2.0}},
    )
    with pytest.raises(
        NeverStartedError, match=r"runners 1, 2 did not start within 2 s .* each waits for 1000 CPUs: .*CPUs"
    ):
        config.build_algo()


def test_a_runner_that_fails_when_it_is_started_again(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    plugin = {"plugins": {Breaking.name: {"worker_index": 1, "flag": str(flag)}}}
    algo = small_config(DISTRIBUTED, plugin).build_algo()
    try:
        train_until(algo, lambda row: row["updates"] >= 5, seconds=200)
        flag.touch()
        kill(ray.get(algo.env_runner_group._worker_manager.actors()[1].apply.remote(lambda _: os.getpid())))
        with pytest.raises(
            ProcessGoneError, match="runner 1 died and could not be started again: OSError: no licence"
        ):
            train_until(algo, lambda row: False, seconds=200)
    finally:
        algo.stop()
