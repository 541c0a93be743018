"""Checkpoints: whole or not there, damage is seen, the right ones are kept."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlx.runs.checkpoints import Checkpoint, CheckpointFailure, CheckpointStore, commit, verify
from tests.runs.fake_engine import FakeEngine


def save(store: CheckpointStore, env_steps: int, engine: FakeEngine | None = None) -> object:
    engine = engine or FakeEngine()
    engine.env_steps = env_steps
    failure = store.begin(engine, {"row": {"env_steps": env_steps}})
    return failure or store.finish()


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.directory.iterdir())


def test_nothing_has_the_final_name_before_it_is_complete(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    assert store.begin(FakeEngine(job_polls=100), {}) is None
    assert store.poll() is None
    assert names(store) == [".tmp-checkpoint_000001"]
    assert store.complete() == []
    assert store.latest_valid(pytest.fail) is None
    assert isinstance(store.finish(), Checkpoint)
    assert names(store) == ["checkpoint_000001"]


@pytest.mark.parametrize("victim", ["state.json", "replay/rows.bin", "DIGEST.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_every_damage_is_seen_and_the_one_before_is_used(tmp_path: Path, victim: str, damage: str) -> None:
    store = CheckpointStore(tmp_path)
    save(store, 100)
    newest = save(store, 200)
    assert isinstance(newest, Checkpoint)
    file = newest.path / victim
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    elif damage == "cut":
        file.write_bytes(bytes(content[: len(content) // 2]))
    else:
        file.unlink()
    said: list[str] = []
    found = store.latest_valid(said.append)
    assert found is not None
    assert found.env_steps == 100
    assert len(said) == 1
    assert "checkpoint_000002 is damaged" in said[0]


@settings(max_examples=30, deadline=None)
@given(
    content=st.binary(min_size=1, max_size=300),
    victim=st.sampled_from(["a.bin", "DIGEST.json"]),
    where=st.integers(0, 10_000),
    bit=st.integers(0, 7),
)
def test_any_flipped_bit_of_any_file_is_seen(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, victim: str, where: int, bit: int
) -> None:
    root = tmp_path_factory.mktemp("checkpoints")
    temporary = root / ".tmp-checkpoint_000001"
    temporary.mkdir()
    (temporary / "a.bin").write_bytes(content)
    checkpoint = commit(temporary, {"env_steps": 1})
    assert verify(checkpoint.path) == []
    file = checkpoint.path / victim
    whole = bytearray(file.read_bytes())
    whole[where % len(whole)] ^= 1 << bit
    file.write_bytes(bytes(whole))
    assert verify(checkpoint.path) != []


def test_keep_last_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=2)
    store.ratings = {200: 9.0, 300: 1.0, 500: 3.0}
    for env_steps in (100, 200, 300, 400, 500):
        save(store, env_steps)
    assert [checkpoint.env_steps for checkpoint in store.complete()] == [200, 400, 500]
    assert names(store) == ["checkpoint_000002", "checkpoint_000004", "checkpoint_000005"]


def test_a_failed_checkpoint_never_costs_the_good_one(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=1)
    save(store, 100)
    engine = FakeEngine()
    engine.on_write = lambda directory: 1 / 0
    failure = save(store, 200, engine)
    assert isinstance(failure, CheckpointFailure)
    assert not failure.disk_full
    assert "ZeroDivisionError" in failure.message
    assert "last good checkpoint is checkpoint_000001" in failure.message
    assert names(store) == ["checkpoint_000001"]


def test_numbers_are_not_used_twice_and_leftovers_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-checkpoint_000007").mkdir()
    (tmp_path / ".tmp-checkpoint_000007" / "half").write_text("x")
    store = CheckpointStore(tmp_path)
    outcome = save(store, 100)
    assert isinstance(outcome, Checkpoint)
    assert outcome.number == 8
    assert store.remove_leftovers() == [".tmp-checkpoint_000007"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    libc = ctypes.CDLL(None, use_errno=True)
    where = str(tmp_path / "disk").encode()
    os.mkdir(where)
    if libc.mount(b"tmpfs", where, b"tmpfs", 0, b"size=1m") != 0:
        pytest.skip("mounting needs root")
    try:
        yield tmp_path / "disk"
    finally:
        libc.umount2(where, 2)


def test_a_really_full_disk(small_disk: Path) -> None:
    store = CheckpointStore(small_disk / "checkpoints")
    assert isinstance(save(store, 100), Checkpoint)
    failure = save(store, 500_000)
    assert isinstance(failure, CheckpointFailure)
    assert failure.disk_full
    assert "last good checkpoint is checkpoint_000001" in failure.message
    assert names(store) == ["checkpoint_000001"]
    assert isinstance(save(store, 200), Checkpoint)


def test_a_full_disk_in_the_seal_itself(small_disk: Path) -> None:
    store = CheckpointStore(small_disk / "checkpoints")
    save(store, 100)
    engine = FakeEngine()

    def fill(directory: Path) -> None:
        with open(directory / "filler", "wb", buffering=0) as handle, contextlib.suppress(OSError):
            while True:
                handle.write(b"0" * 512)

    engine.on_write = fill
    failure = save(store, 0, engine)
    assert isinstance(failure, CheckpointFailure)
    assert failure.disk_full
    assert names(store) == ["checkpoint_000001"]
