from dataclasses import replace

import numpy as np
import pytest

from rlx.bench import filled, replay
from rlx.bench.figure import QUICK, Context

CONTEXT = Context(QUICK, "cpu", lambda part: None, lambda text: None)


@pytest.fixture(scope="module")
def settings():
    return replace(
        replay.shard_settings(True), num_lanes=2, capacity_env_steps=200, frame_shape=(4, 4), min_items=1
    )


def test_the_measured_shard_is_that_of_the_floors() -> None:
    config = replay.shard_settings(False)
    assert config.capacity_env_steps == 100_000
    assert config.frame_shape == (84, 84)
    assert config.frame_stack == 4
    assert config.n_step == 3
    assert config.prioritized


def test_a_filled_shard_is_full_and_valid(settings) -> None:
    shard = filled.filled_shard(settings)
    shard.check_valid()
    stats = shard.stats()
    assert stats["rows"] == 200
    assert stats["env_steps"] >= 0.97 * 200
    assert stats["inserted"] >= stats["env_steps"]


def test_blocks_can_follow_each_other(settings) -> None:
    shard = filled.filled_shard(settings)
    block = filled.with_end(filled.make_block(settings, 20))
    assert block.env_steps == 2 * 19
    for _ in range(30):
        shard.add(block)
    shard.check_valid()


def test_rllibs_buffer_holds_as_many_steps_with_as_many_frames(settings) -> None:
    buffer = replay.rllib_buffer(100, settings)
    assert buffer.get_num_timesteps() == 100
    episode = buffer.episodes[0]
    assert episode.get_observations(0).shape == (4, 4, 4)
    assert episode.is_terminated
    # Memory of its own: RLlib's cost is not hidden by sharing one array.
    assert not np.shares_memory(
        replay.rllib_buffer(100, settings).episodes[0].get_observations(0), episode.get_observations(0)
    )


def test_the_figure_and_its_two_rows() -> None:
    speed, size = replay._sample_update(CONTEXT)
    assert speed.name == "replay_sample_update_512"
    assert speed.ratio == pytest.approx(speed.value / speed.limit)
    assert size.name == "replay_bytes_per_step"
    assert size.value > 7056
    assert size.limit == 7500.0
    assert size.ok == (size.value <= 7500.0)


def test_a_shard_process_takes_steps_in_while_it_serves_a_learner() -> None:
    import ray

    said: list[str] = []
    try:
        steady, first = replay._ingest(Context(QUICK, "cpu", lambda part: None, said.append))
    finally:
        ray.shutdown()
    assert steady.value > 0
    assert steady.limit == 40_000.0
    assert first.name == "shard_first_fill_env_steps_per_second"
    assert first.ok is None
    assert "the learner got" in said[-1]
