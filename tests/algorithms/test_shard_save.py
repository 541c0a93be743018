"""Saving shards that see the run directory, that do not, that die and that do not answer."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray

from rlx.actors.env_runner import CollectRequest, ReplayEnvRunner
from rlx.algorithms import shard_save
from rlx.algorithms.shard_save import ShardSave, load_shards, missing_shards
from rlx.replay.shard_actor import APART_PREFIX, create_shard, session_folder
from tests.engines import small_config

pytestmark = pytest.mark.usefixtures("ray_started")

CONFIG = small_config({"env_runners": {"num_env_runners": 2}, "replay": {"num_shards": 2}})


@pytest.fixture
def make_shards() -> Iterator[Any]:
    """Make shard actors, empty or with rows, and end them."""
    made: list[Any] = []

    def make(filled: bool) -> list[Any]:
        shards = [create_shard(CONFIG.shard_config(index), num_cpus=0, max_restarts=1) for index in range(2)]
        made.extend(shards)
        for index, shard in enumerate(shards if filled else []):
            runner = ReplayEnvRunner(config=CONFIG, worker_index=index + 1)
            block = runner.collect(CollectRequest(steps=150)).block
            ray.get(shard.add.remote(block))
        ray.get([shard.ping.remote() for shard in shards])
        return shards

    yield make
    for shard in made:
        ray.kill(shard)


class Elsewhere:
    """A shard's handle; the shard does not see the driver's folders."""

    def __init__(self, shard: Any) -> None:
        self._shard = shard
        self.begin_save_near = SimpleNamespace(
            remote=lambda path, *rest: shard.begin_save_near.remote(f"/nowhere{path}", *rest)
        )
        self.load_near = SimpleNamespace(
            remote=lambda path, *rest: shard.load_near.remote(f"/nowhere{path}", *rest)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)


def folders_apart() -> set[Path]:
    folder = session_folder()
    assert folder is not None
    return set(Path(folder).glob(f"{APART_PREFIX}*"))


def save(shards: list[Any], directory: Path, patience: float = 60.0) -> ShardSave:
    job = ShardSave(shards, directory, [patience] * len(shards))
    wait(job)
    return job


def wait(job: ShardSave) -> None:
    deadline = time.monotonic() + 120
    while not job.done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_equal(one: Any, other: Any) -> None:
    states = ray.get([one.get_state.remote(), other.get_state.remote()])
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)


def test_a_shard_that_sees_the_folder_writes_into_it(make_shards: Any, tmp_path: Path) -> None:
    shards = make_shards(filled=True)
    job = save(shards, tmp_path / "replay")
    assert job.missing == {}
    assert not any(begun.apart for begun in job._begun.values())
    assert sorted(path.name for path in (tmp_path / "replay").iterdir()) == ["shard_0", "shard_1"]
    fresh = make_shards(filled=False)
    assert load_shards(fresh, tmp_path / "replay") == {}
    for one, other in zip(shards, fresh, strict=True):
        assert_equal(one, other)


def test_a_shard_that_does_not_see_it_is_fetched_and_sent_in_chunks(
    make_shards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_save, "CHUNK_BYTES", 1000)
    shards = [Elsewhere(shard) for shard in make_shards(filled=True)]
    before = folders_apart()
    job = ShardSave(shards, tmp_path / "replay", [60.0, 60.0])
    assert len(folders_apart() - before) == 2
    wait(job)
    assert job.missing == {}
    assert all(begun.apart for begun in job._begun.values())
    files = list((tmp_path / "replay" / "shard_0").iterdir())
    assert max(path.stat().st_size for path in files) > 3000, "several chunks"
    fresh = [Elsewhere(shard) for shard in make_shards(filled=False)]
    assert load_shards(fresh, tmp_path / "replay") == {}
    for one, other in zip(shards, fresh, strict=True):
        assert_equal(one, other)
    # Nothing is left on the nodes.
    for shard, begun in zip(shards, job._begun.values(), strict=True):
        with pytest.raises(FileNotFoundError, match="has deleted it"):
            ray.get(shard.saved_files.remote(begun.key))
    assert folders_apart() == before


def test_a_shard_that_dies_before_it_is_fetched_is_left_out(
    make_shards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = [Elsewhere(shard) for shard in make_shards(filled=True)]
    process = ray.get(shards[1].process_id.remote())
    fetch = ShardSave._fetch

    def after_a_restart(job: ShardSave, index: int) -> None:
        if index == 1:
            os.kill(process, signal.SIGKILL)
            while True:
                try:
                    if ray.get(shards[1].process_id.remote()) != process:
                        break
                except ray.exceptions.RayActorError:
                    time.sleep(0.05)
        fetch(job, index)

    monkeypatch.setattr(ShardSave, "_fetch", after_a_restart)
    assert save(shards, tmp_path / "replay").missing == {1: "died"}
    assert not (tmp_path / "replay" / "shard_1").exists()
    assert missing_shards(tmp_path / "replay") == [1]


def test_a_shard_that_dies_meanwhile_is_left_out(make_shards: Any, tmp_path: Path) -> None:
    shards = make_shards(filled=True)
    job = ShardSave(shards, tmp_path / "replay", [60.0, 60.0])
    os.kill(ray.get(shards[1].process_id.remote()), signal.SIGKILL)
    wait(job)
    assert job.missing == {1: "died"}
    assert missing_shards(tmp_path / "replay") == [1]
    assert not (tmp_path / "replay" / "shard_1").exists()
    fresh = make_shards(filled=False)
    assert load_shards(fresh, tmp_path / "replay") == {1: "the checkpoint was written without it"}
    assert_equal(shards[0], fresh[0])
    assert ray.get(fresh[1].stats.remote())["rows"] == 0


def test_a_shard_that_does_not_answer_is_left_out_and_does_not_write_later(
    make_shards: Any, tmp_path: Path
) -> None:
    shards = make_shards(filled=True)
    process = ray.get(shards[0].process_id.remote())
    before = folders_apart()
    os.kill(process, signal.SIGSTOP)
    try:
        job = save(shards, tmp_path / "replay", patience=1.0)
    finally:
        os.kill(process, signal.SIGCONT)
    assert job.missing == {0: "did not answer"}
    ray.get(shards[0].ping.remote())
    assert sorted(path.name for path in (tmp_path / "replay").iterdir()) == [
        shard_save.MISSING_FILE,
        "shard_1",
    ]
    assert folders_apart() == before, "nor elsewhere"
    # The next one has it again.
    assert save(shards, tmp_path / "next").missing == {}
