"""The replay shard beside RLlib's prioritised episode buffer, and what it costs and takes in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from rlx.bench import experiments
from rlx.bench.figure import Context, Figure, Row, medians, repeated, row
from rlx.bench.filled import EPISODE_ENV_STEPS, filled_shard, make_block
from rlx.experiment.build import build_config, start_ray
from rlx.replay.config import ShardConfig
from rlx.replay.shard_actor import create_shard

SPEED_FLOOR = 8.0
BYTES_LIMIT = 7500.0
INGEST_LIMIT = 40_000.0
#: Batches of 512 that the served learner takes: as many as Ape-X's learner on its GPU. [ApeX] section 4.1.
LEARNER_BATCHES_PER_SECOND = 19.0
_BATCH = 512


def shard_settings(quick: bool) -> ShardConfig:
    """Return the settings of a shard of Ape-X on Pong with 16 lanes."""
    spec = experiments.learning(_BATCH)
    config = build_config(spec).shard_config(0)
    return replace(config, capacity_env_steps=2000) if quick else config


def rllib_buffer(env_steps: int, config: ShardConfig) -> Any:
    """Fill RLlib's buffer with episodes of stacked frames, as its DQN gets them from Atari games."""
    import gymnasium as gym
    from ray.rllib.env.single_agent_episode import SingleAgentEpisode
    from ray.rllib.utils.replay_buffers.prioritized_episode_buffer import PrioritizedEpisodeReplayBuffer

    buffer = PrioritizedEpisodeReplayBuffer(capacity=env_steps, alpha=config.priority_exponent)
    rng = np.random.default_rng(0)
    length = min(EPISODE_ENV_STEPS, env_steps)
    shape = (config.frame_stack, *config.frame_shape)
    space = gym.spaces.Box(0, 255, shape, np.uint8)
    observations = rng.integers(0, 256, (length + 1, *shape), np.uint8)
    for _ in range(env_steps // length):
        # The buffer keeps a deep copy, so every episode has memory of its own.
        episode = SingleAgentEpisode(
            observations=list(observations),
            actions=list(rng.integers(0, 4, length)),
            rewards=list((rng.random(length) < 0.1).astype(np.float64)),
            terminated=True,
            observation_space=space,
            action_space=gym.spaces.Discrete(6),
            len_lookback_buffer=0,
        )
        buffer.add(episode.to_numpy())
    return buffer


def _sample_update(context: Context) -> Iterator[Row]:
    config = shard_settings(context.budget.quick)
    shard = filled_shard(config)
    stats = shard.stats()
    context.say(f"filling RLlib's buffer with {stats['env_steps']} stacked observations")
    buffer = rllib_buffer(stats["env_steps"], config)
    rng = np.random.default_rng(1)

    def ours() -> float:
        windows = shard.sample(_BATCH)
        assert windows is not None
        shard.update_priorities(windows.item_ids, rng.random(_BATCH))
        return 1.0

    def theirs() -> float:
        # The arguments of RLlib's DQN.training_step.
        buffer.sample(
            num_items=_BATCH,
            n_step=config.n_step,
            batch_length_T=0,
            lookback=0,
            min_batch_length_T=0,
            gamma=config.gamma,
            beta=0.4,
            sample_episodes=True,
        )
        buffer.update_priorities(rng.random(_BATCH), "default_policy")
        return 1.0

    value, limit = medians([repeated(ours), repeated(theirs)], context.budget, context.progress)
    yield row("replay_sample_update_512", value, "batches/s", limit=limit, floor=SPEED_FLOOR)
    yield row(
        "replay_bytes_per_step",
        stats["bytes"] / stats["env_steps"],
        "bytes",
        limit=BYTES_LIMIT,
        floor=1.0,
        less_is_better=True,
    )


class ServedLearner:
    """Take batches from a shard actor at a steady pace and give priorities back, from a thread.

    Args:
        shard: actor handle.
        batch_size: windows in a batch.
    """

    def __init__(self, shard: Any, batch_size: int) -> None:
        self.batches = 0
        self._shard, self._batch_size = shard, batch_size
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> ServedLearner:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30.0)

    def _serve(self) -> None:
        import ray

        rng = np.random.default_rng(2)
        due = time.perf_counter()
        while not self._stop.wait(max(0.0, due - time.perf_counter())):
            windows = ray.get(self._shard.sample.remote(self._batch_size))
            if windows is not None:
                priorities = rng.random(self._batch_size)
                self._shard.update_priorities.remote(windows.item_ids, priorities)
                self.batches += 1
            due = max(due + 1.0 / LEARNER_BATCHES_PER_SECOND, time.perf_counter() - 1.0)


def _send(shard: Any, block: Any, env_steps: int, blocks: int) -> float:
    """Have a shard actor take `blocks` blocks, a few on their way at a time; return env steps/s."""
    import ray

    started = time.perf_counter()
    pending: list[Any] = []
    for _ in range(blocks):
        pending.append(shard.add.remote(block))
        if len(pending) > 4:
            ray.get(pending.pop(0))
    ray.get(pending)
    return blocks * env_steps / (time.perf_counter() - started)


def _ingest(context: Context) -> Iterator[Row]:
    import ray

    config = shard_settings(context.budget.quick)
    start_ray(experiments.learning(_BATCH))
    shard = create_shard(config, num_cpus=0)
    try:
        rows = 50
        # Blocks of one reference: making and sending them is the runners' work, not the shard's.
        block = ray.put(make_block(config, rows))
        env_steps = rows * config.num_lanes
        to_fill = -(-config.rows_per_lane // rows)
        ray.get(shard.ping.remote())
        first_fill = _send(shard, block, env_steps, to_fill)
        with ServedLearner(shard, 64 if context.budget.quick else _BATCH) as learner:

            def work() -> float:
                _send(shard, block, env_steps, 10)
                return 10.0 * env_steps

            (steady,) = medians([repeated(work)], context.budget, context.progress)
            context.say(f"the learner got {learner.batches} batches meanwhile")
    finally:
        ray.kill(shard)
    yield row("shard_ingest_env_steps_per_second", steady, "env steps/s", limit=INGEST_LIMIT, floor=1.0)
    yield row("shard_first_fill_env_steps_per_second", first_fill, "env steps/s")


FIGURES = (
    Figure("replay_sample_update_512", _sample_update, SPEED_FLOOR, more_names=("replay_bytes_per_step",)),
    Figure(
        "shard_ingest_env_steps_per_second",
        _ingest,
        1.0,
        more_names=("shard_first_fill_env_steps_per_second",),
    ),
)
