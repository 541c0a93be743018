"""Kept policies: the best evaluation's network is there, whole, also after going back to a checkpoint."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from rlx.runs.checkpoints import list_checkpoints, verify
from rlx.runs.policies import PolicyStore, best_policy, list_policies
from tests.runs.fake_engine import FakeEngine


def keep(store: PolicyStore, env_steps: int, return_mean: float, resumable: int = -1) -> str | None:
    engine = FakeEngine()
    engine.weights = [float(env_steps)]
    kept = store.keep_if_best(engine, {"env_steps": env_steps, "return_mean": return_mean}, resumable)
    return None if kept is None else kept.path.name


def there(directory: Path) -> dict[str, int]:
    return {policy.path.name: policy.env_steps for policy in list_policies(directory)}


def test_only_a_new_best_replaces_the_one_before(tmp_path: Path) -> None:
    store = PolicyStore(tmp_path / "best")
    assert list_policies(tmp_path / "best") == []
    assert keep(store, 100, 5.0) == "policy_000001"
    assert keep(store, 200, 4.9) is None
    assert keep(store, 300, 5.0) == "policy_000002", "of equals the newer"
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["policy_000002"]
    kept = best_policy(list_policies(tmp_path / "best"))
    assert kept is not None
    assert verify(kept.path, "learner_group/") == []
    assert json.loads((kept.path / "learner_group" / "weights.json").read_text()) == [300.0]


def test_the_best_one_before_the_newest_checkpoint_stays_as_well(tmp_path: Path) -> None:
    store = PolicyStore(tmp_path)
    keep(store, 100, 1.0, resumable=-1)
    keep(store, 300, 3.0, resumable=200)
    keep(store, 400, 4.0, resumable=200)
    assert there(tmp_path) == {"policy_000001": 100, "policy_000003": 400}
    # A resume goes back to 200: what came after it is no longer part of the run.
    store.discard_after(200)
    assert there(tmp_path) == {"policy_000001": 100}
    assert (tmp_path / "discarded-policy_000003").is_dir()
    assert keep(store, 300, 2.0, resumable=200) == "policy_000004", "a name is not used twice"
    store.discard_after(-1)
    assert there(tmp_path) == {}


def test_one_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    store = PolicyStore(tmp_path)
    keep(store, 100, 1.0)

    def full(directory: Path) -> None:
        (directory / "part").write_text("x")
        raise OSError(errno.ENOSPC, "No space left on device")

    engine = FakeEngine()
    engine.on_save_policy = full
    with pytest.raises(OSError, match="No space left"):
        store.keep_if_best(engine, {"env_steps": 200, "return_mean": 2.0}, -1)
    assert [path.name for path in tmp_path.iterdir()] == ["policy_000001"]


def test_half_written_ones_are_not_seen_and_are_removed(tmp_path: Path) -> None:
    store = PolicyStore(tmp_path)
    keep(store, 100, 1.0)
    (tmp_path / ".tmp-policy_000002").mkdir()
    (tmp_path / "policy_000003").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    assert there(tmp_path) == {"policy_000001": 100}
    store.remove_leftovers()
    assert not (tmp_path / ".tmp-policy_000002").exists()
    assert keep(store, 200, 2.0) == "policy_000004"
    assert (tmp_path / "notes.txt").exists()


def test_the_store_of_checkpoints_does_not_see_them(tmp_path: Path) -> None:
    keep(PolicyStore(tmp_path / "best"), 100, 1.0)
    assert list_checkpoints(tmp_path / "best") == []
