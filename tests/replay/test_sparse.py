from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rlx.replay.shard import ReplayShard
from rlx.replay.sparse import SparsePool
from tests.replay.streams import Actors
from tests.replay.test_shard import BASE

CONFIG = dataclasses.replace(BASE, sparse_columns={"state": (np.float32, (2, 4))})


def stored_values(shard: ReplayShard) -> int:
    """Values that the stored rows should have, counted from the state."""
    return len(shard.get_state()["sparse:state:rows"])


def test_places_are_used_again_over_a_long_stream() -> None:
    shard, actors = ReplayShard(CONFIG), Actors(CONFIG, 0)
    pool, largest = shard._sparse.pools["state"], 0
    for _ in range(400):
        shard.add(actors.random_block(9))
        shard._sparse.check_valid(shard._filled())
        largest = max(largest, pool.size)
        assert pool.size == stored_values(shard)
    # 60 rows, of which three in ten have a value; the array grows by a half where it does not suffice.
    assert 10 < largest < 40
    assert len(pool._values) <= 1.5 * largest + 1
    # Blocks without values empty it.
    for _ in range(20):
        shard.add(dataclasses.replace(actors.block(9), sparse=None))
    assert pool.size == stored_values(shard) == 0
    shard.check_valid()


def test_bytes_grow_with_the_values_and_are_foreseen() -> None:
    config = dataclasses.replace(CONFIG, capacity_env_steps=4000, sparse_columns={"s": (np.float32, (100,))})
    plain = ReplayShard(dataclasses.replace(config, sparse_columns={})).stats()["bytes"]
    shard, actors = ReplayShard(config), Actors(config, 0)
    # A place of 4 bytes for every row, whether it has a value or not.
    assert shard.stats()["bytes"] - plain == 4 * 4000
    foreseen = []
    for _ in range(60):
        shard.add(actors.block(40))
        foreseen.append(shard.stats()["bytes"] - plain - 16_000)
    full = 400 * shard._sparse.pools["s"].size
    assert foreseen[10] == pytest.approx(full, rel=0.3)
    assert foreseen[-1] == shard._sparse.pools["s"]._values.nbytes >= full


def test_a_pool_gives_back_what_it_was_given() -> None:
    pool = SparsePool(2, 5, (np.dtype(np.int16), (2,)))
    pool.store(np.array([0, 1, 1]), np.array([4, 0, 3]), np.array([[1, 2], [3, 4], [5, 6]], np.int16))
    values, known = pool.gather(np.array([[4, 5], [8, 0]]))
    assert values.tolist() == [[[1, 2], [3, 4]], [[5, 6], [0, 0]]]
    assert known.tolist() == [[True, True], [True, False]]
    pool.free(1, 0, 2)
    assert pool.size == 2
    offsets, values = pool.read(1, 2, 3)
    assert (offsets.tolist(), values.tolist()) == ([1], [[5, 6]])
    pool.store(np.array([0]), np.array([0]), np.array([[7, 8]], np.int16))
    assert len(pool._values) == 3
    assert pool.gather(np.array([0, 5]))[0].tolist() == [[7, 8], [0, 0]]


def test_check_valid_notices_damage() -> None:
    shard, actors = ReplayShard(CONFIG), Actors(CONFIG, 0)
    shard.add(actors.block(20))
    pool = shard._sparse.pools["state"]
    lost = pool._free.pop() if pool._free else None
    if lost is None:
        pool._free.append(0)
    with pytest.raises(RuntimeError, match="lost or used twice"):
        shard.check_valid()
    shard = ReplayShard(CONFIG)
    shard._sparse.pools["state"].store(np.array([1]), np.array([3]), np.zeros((1, 2, 4), np.float32))
    with pytest.raises(RuntimeError, match="without a row"):
        shard.check_valid()


def test_a_state_that_does_not_fit_is_refused() -> None:
    shard, actors = ReplayShard(CONFIG), Actors(CONFIG, 0)
    shard.add(actors.block(20))
    state = shard.get_state()
    state["sparse:state:values"] = state["sparse:state:values"][:-1]
    with pytest.raises(ValueError, match="'state': float32"):
        ReplayShard(CONFIG).set_state(state)
