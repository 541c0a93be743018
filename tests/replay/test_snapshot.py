from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlx.replay import packed, snapshot
from rlx.replay.config import ShardConfig
from rlx.replay.shard import ReplayShard
from rlx.replay.shard_actor import ReplayShardActor
from rlx.replay.snapshot import Snapshot, SnapshotError
from rlx.replay.windows import WindowSpec
from tests.replay.streams import Actors
from tests.replay.test_shard import BASE, filled, goes_on_equally

CONFIG = dataclasses.replace(
    BASE, capacity_env_steps=200, frame_shape=(9, 9), extra_columns={"toy/state": (np.float32, (20,))}
)


SEQUENCES = dataclasses.replace(
    CONFIG,
    window=WindowSpec(length=12, period=4, prefix=5),
    sparse_columns={"state": (np.float32, (2, 16)), "toy/mark": (np.int16, ())},
    sparse_offsets=(-5, 0),
    rescale_epsilon=1e-3,
)
VARIANTS = {
    "plain": CONFIG,
    "lz4": dataclasses.replace(CONFIG, compression="lz4"),
    "sequences": SEQUENCES,
    "sequences-lz4": dataclasses.replace(SEQUENCES, compression="lz4"),
    "small-frames-lz4": dataclasses.replace(SEQUENCES, compression="lz4", frame_shape=(2,), extra_columns={}),
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS)
def config(request: pytest.FixtureRequest) -> ShardConfig:
    return request.param


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut a lane's 100 rows into 13 chunks of 8 rows; compress 3 rows together."""
    monkeypatch.setattr(snapshot, "_CHUNK_BYTES", 8 * (81 + 80))
    monkeypatch.setattr(packed, "CHUNK_ROWS", 3)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold back every file of a snapshot until the event is set."""
    event, write = threading.Event(), snapshot._write

    def held(path: Path, content: bytes) -> tuple[int, str]:
        assert event.wait(20)
        return write(path, content)

    monkeypatch.setattr(snapshot, "_write", held)
    return event


def equal(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].tobytes() == two[name].tobytes(), name


@pytest.mark.parametrize("blocks", [0, 1, 5, 100])
def test_save_and_load_is_the_identity(tmp_path: Path, config: ShardConfig, blocks: int) -> None:
    shard = filled(config, blocks=blocks)
    if blocks == 100:
        assert shard.stats()["inserted"] > 2 * config.capacity_env_steps
    job = shard.save(tmp_path / "s")
    assert job.wait()
    for other in (ReplayShard(config), filled(config, blocks=40, seed=8)):
        other.load(tmp_path / "s")
        other.check_valid()
        equal(shard.get_state(), other.get_state())
    if blocks > 5:
        goes_on_equally(shard, other)


@pytest.mark.parametrize("blocks", [1, 5, 60])
def test_compression_is_a_matter_of_the_shard_alone(tmp_path: Path, config: ShardConfig, blocks: int) -> None:
    changed = dataclasses.replace(config, compression="none" if config.compression == "lz4" else "lz4")
    shard, twin = filled(config, blocks=blocks), filled(changed, blocks=blocks)
    equal(shard.get_state(), twin.get_state())
    shard.save(tmp_path / "s").wait()
    other = filled(changed, blocks=30, seed=2)
    other.load(tmp_path / "s")
    other.check_valid()
    equal(shard.get_state(), other.get_state())
    other.set_state(filled(config, blocks=7, seed=3).get_state())
    other.check_valid()
    other.set_state(shard.get_state())
    if blocks > 5:
        goes_on_equally(shard, other)


def test_state_from_before_there_were_prefixes_can_be_read(tmp_path: Path) -> None:
    shard = filled(CONFIG, blocks=60)
    state = shard.get_state()
    layout = json.loads(str(state["layout"]))
    del layout["sparse_columns"]
    other = ReplayShard(CONFIG)
    other.set_state(
        state | {"layout": np.array(json.dumps(layout)), "item_counters": state["item_counters"][:4]}
    )
    equal(state, other.get_state())
    saved(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["digest"], manifest["sparse"]
    manifest["digest"] = snapshot._manifest_digest(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    other.load(tmp_path)
    equal(other.get_state(), filled(CONFIG, blocks=20).get_state())


@pytest.mark.parametrize("warm", [3, 40])
def test_a_snapshot_is_of_the_moment_of_the_call(
    tmp_path: Path, gate: threading.Event, config: ShardConfig, warm: int
) -> None:
    shard, actors = ReplayShard(config), Actors(config, 4)
    for _ in range(warm):
        shard.add(actors.random_block(9))
    before = shard.get_state()
    job = shard.save(tmp_path)
    for _ in range(50):
        shard.add(actors.random_block(9))
        windows = shard.sample(8)
        assert windows is not None
        shard.update_priorities(windows.item_ids, np.arange(8.0))
    assert not job.done()
    gate.set()
    job.wait()
    other = ReplayShard(config)
    other.load(tmp_path)
    equal(before, other.get_state())
    assert not np.array_equal(before["next_row"], shard.get_state()["next_row"])


def test_a_snapshot_while_a_thread_adds(tmp_path: Path, config: ShardConfig) -> None:
    shard, actors = filled(config, blocks=40), Actors(config, 4)
    blocks = [actors.block(7) for _ in range(60)]
    blocks = [dataclasses.replace(block, stream_ids=block.stream_ids + 900) for block in blocks]
    for attempt in range(4):
        before = shard.get_state()
        job = shard.save(tmp_path / str(attempt))
        for block in blocks:
            shard.add(block)
        job.wait()
        other = ReplayShard(config)
        other.load(tmp_path / str(attempt))
        equal(before, other.get_state())


@pytest.mark.parametrize("name", ["plain", "lz4", "sequences-lz4"])
def test_unchanged_chunks_are_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    config = VARIANTS[name]
    # Sparse values count for the size of a chunk.
    extra = (128 + 2) // 8 if config.sparse_columns else 0
    monkeypatch.setattr(snapshot, "_CHUNK_BYTES", 8 * (81 + 80 + extra))
    shard, actors = filled(config, blocks=100), Actors(config, 11)
    shard.save(tmp_path / "a").wait()
    block = actors.block(9)
    shard.add(dataclasses.replace(block, stream_ids=block.stream_ids + 900))
    job = shard.save(tmp_path / "b", previous=tmp_path / "a")
    job.wait()
    # 9 rows touch two or three of the 13 chunks of each of two lanes.
    assert 26 - 6 <= job.info["linked_files"] <= 26 - 4
    first = Snapshot.open(tmp_path / "a")
    first.verify()
    shutil.rmtree(tmp_path / "a")
    other = ReplayShard(config)
    other.load(tmp_path / "b")
    equal(shard.get_state(), other.get_state())


def test_writing_again_into_a_directory_leaves_linked_snapshots_alone(tmp_path: Path) -> None:
    shard, actors = filled(CONFIG, blocks=100), Actors(CONFIG, 11)
    shard.save(tmp_path / "a").wait()
    shard.save(tmp_path / "b", previous=tmp_path / "a").wait()
    for _ in range(20):
        block = actors.block(9)
        shard.add(dataclasses.replace(block, stream_ids=block.stream_ids + 900))
        actors.lanes[0].restart()
    shard.save(tmp_path / "b").wait()
    Snapshot.open(tmp_path / "a").verify()
    other = ReplayShard(CONFIG)
    other.load(tmp_path / "b")
    equal(shard.get_state(), other.get_state())


def test_chunks_of_another_life_are_not_linked(tmp_path: Path) -> None:
    shard = filled(CONFIG, blocks=100)
    shard.save(tmp_path / "a").wait()
    shard.load(tmp_path / "a")
    job = shard.save(tmp_path / "b", previous=tmp_path / "a")
    job.wait()
    assert job.info["linked_files"] == 0
    job = shard.save(tmp_path / "c", previous=tmp_path / "nowhere")
    job.wait()
    assert job.info["linked_files"] == 0


def saved(path: Path) -> list[Path]:
    filled(CONFIG, blocks=20).save(path).wait()
    return sorted(path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "swap"])
def test_every_damaged_file_is_recognised(tmp_path: Path, damage: str) -> None:
    whole = tmp_path / "whole"
    names = [path.name for path in saved(whole)]
    assert {"manifest.json", "state.npz"} < set(names)
    for name in [names[0], names[len(names) // 2], "manifest.json", "state.npz"]:
        torn = tmp_path / "torn"
        shutil.copytree(whole, torn)
        content = bytearray((torn / name).read_bytes())
        if damage == "cut":
            (torn / name).write_bytes(content[: len(content) // 2])
        elif damage == "flip":
            content[len(content) // 2] ^= 1
            (torn / name).write_bytes(content)
        elif damage == "swap":
            (torn / name).write_bytes((whole / names[1]).read_bytes())
        else:
            (torn / name).unlink()
        shard = filled(CONFIG, blocks=10)
        with pytest.raises(SnapshotError, match="torn"):
            shard.load(torn)
        assert shard.stats()["rows"] == 0
        shard.check_valid()
        shard.add(Actors(CONFIG, 0).block(3))
        shutil.rmtree(torn)


def test_a_directory_without_a_manifest_is_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="not finished"):
        ReplayShard(CONFIG).load(tmp_path)


def test_a_manifest_of_another_format(tmp_path: Path) -> None:
    saved(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["digest"]
    manifest["format"] = 99
    manifest["digest"] = snapshot._manifest_digest(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SnapshotError, match="format 99"):
        ReplayShard(CONFIG).load(tmp_path)


def test_another_layout_is_refused_by_name(tmp_path: Path) -> None:
    saved(tmp_path)
    other = ReplayShard(dataclasses.replace(CONFIG, frame_stack=2, priority_exponent=0.5))
    with pytest.raises(SnapshotError, match=r"frame_stack: stored 4, here 2; priority_exponent"):
        other.load(tmp_path)
    other = ReplayShard(dataclasses.replace(CONFIG, sparse_columns={"state": (np.float32, (2,))}))
    with pytest.raises(
        SnapshotError, match=r"sparse_columns: stored \{\}, here \{'state': \['<f4', \[2\]\]\}"
    ):
        other.load(tmp_path)


def test_a_full_disk_fails_the_job_and_not_the_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> tuple[int, str]:
        raise OSError(28, "No space left on device")

    shard = filled(CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "_write", full)
        job = shard.save(tmp_path)
        with pytest.raises(SnapshotError, match="No space left"):
            job.wait()
    assert shard.sample(4) is not None
    assert shard.save(tmp_path).wait()
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match="cannot write"):
        shard.save(tmp_path / "file")


def test_one_save_at_a_time(tmp_path: Path, gate: threading.Event) -> None:
    shard = filled(CONFIG)
    job = shard.save(tmp_path / "a")
    for attempt in (
        lambda: shard.save(tmp_path / "b"),
        lambda: shard.load(tmp_path),
        lambda: shard.set_state({}),
    ):
        with pytest.raises(SnapshotError, match="still being written"):
            attempt()
    gate.set()
    assert job.wait()
    assert shard.save(tmp_path / "b").wait()


def test_the_actor_tells_how_its_save_goes(tmp_path: Path, gate: threading.Event) -> None:
    actor = ReplayShardActor(CONFIG)
    assert actor.ping()
    actor.add(Actors(CONFIG, 0).block(20))
    actor.begin_save(str(tmp_path))
    assert not actor.save_done()
    gate.set()
    assert actor._save_job is not None
    actor._save_job.wait()
    assert actor.save_done()
    assert actor.save_info()["files"] == len(list(tmp_path.iterdir()))
