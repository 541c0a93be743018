"""The whole path of a frame: what the learner's networks get is, byte for byte, what the actor saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rlx.actors.epsilon import EpsilonSource
from rlx.actors.lanes import Lanes
from rlx.envs.spec import resolve_env
from rlx.envs.toy import decode_count_frames, register_toy_envs
from rlx.envs.vector import make_vector_env
from rlx.experiment.spec import ExperimentSpec
from rlx.learners.staging import Staging
from rlx.plugins import PluginContext, PluginSet
from rlx.replay.shard import ReplayShard
from tests.engines import small_config, small_learner, small_spec

LENGTHS = (1, 2, 3, 5, 8)
LANES = 3
STACK = 3
GAMMA = 0.5


def count_frames(n_step: int, capacity: int = 2000, stack: int = STACK) -> dict[str, Any]:
    register_toy_envs()
    return {
        "env": "rlx/CountFrames-v0",
        "environment": {"frame_stack": stack},
        "env_runners": {"num_envs_per_env_runner": LANES},
        "replay": {"capacity": capacity},
        "training": {"n_step": n_step, "gamma": GAMMA, "learning_starts_env_steps": 20, "batch_size": 4},
    }


def make_lanes(spec: ExperimentSpec, *, stream_id: int = 1, seed: int = 1, worker_index: int = 1) -> Lanes:
    env = make_vector_env(resolve_env(spec.envs[0], spec.environment), LANES, seed=seed)
    return Lanes(
        env,
        worker_index=worker_index,
        seed=seed,
        stream_id=stream_id,
        epsilon=EpsilonSource("constant", LANES * worker_index, epsilon=0.5),
        plugins=PluginSet(),
        plugin_context=PluginContext(LANES, 3, (2, 3), "uint8", STACK, GAMMA),
        plugin_modules={},
    )


class Watcher:
    """A policy that keeps what it was shown, and answers with numbers that say when."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def q_values(self, observation: np.ndarray, *_: np.ndarray) -> np.ndarray:
        self.seen.append(observation.copy())
        t = len(self.seen)
        return (np.arange(LANES)[:, None] * 10 + np.arange(3)[None] + t).astype(np.float32)

    def seen_at(self) -> dict[tuple[int, int, int], np.ndarray]:
        """Return lane, episode, step of the newest frame -> observation `[S, *frame]`."""
        found = {}
        for observation in self.seen:
            for lane in range(LANES):
                found[tuple(decode_count_frames(observation[lane, -1]).tolist())] = observation[lane]
        return found


def length_of(lane: int, episode: int) -> int:
    return LENGTHS[(episode + lane) % len(LENGTHS)]


def cut(lane: int, episode: int) -> bool:
    return (episode + lane) % 3 == 0


def drawn(
    shard: ReplayShard, learner: Any, batches: int, batch_size: int = 64
) -> list[dict[str, np.ndarray]]:
    """Sample, stage and prepare as the learner does."""
    staging = Staging(torch.device("cpu"))
    batches_drawn = []
    for _ in range(batches):
        windows = shard.sample(batch_size)
        assert windows is not None
        prepared = learner.prepare(staging.ready(staging.stage(windows)), windows.size)
        batches_drawn.append({name: value.numpy() for name, value in prepared.items()})
    return batches_drawn


def check_against_episodes(
    batches: list[dict[str, np.ndarray]], seen: dict[tuple[int, int, int], np.ndarray], n: int
) -> set[tuple[int, int, int]]:
    """Compare each sample with what the actor saw and the environment's rules; return the starts."""
    starts = set()
    for batch in batches:
        for index, observation in enumerate(batch["obs"]):
            lane, episode, step = key = tuple(decode_count_frames(observation[-1]).tolist())
            starts.add(key)
            np.testing.assert_array_equal(observation, seen[key], err_msg=f"obs at {key}")
            length = length_of(lane, episode)
            steps = min(n, length - step)
            expected = sum(GAMMA**k * (100 * episode + step + k + 1) for k in range(steps))
            assert batch["returns"][index] == pytest.approx(expected, rel=1e-6), key
            ends = step + n >= length and not cut(lane, episode)
            assert batch["discounts"][index] == pytest.approx(0.0 if ends else GAMMA**steps), key
            if not ends:
                after = (lane, episode, step + steps)
                np.testing.assert_array_equal(
                    batch["bootstrap_obs"][index], seen[after], err_msg=f"bootstrap of {key}"
                )
    return starts


@pytest.mark.parametrize("n_step", [1, 3, 5])
def test_learner_sees_what_the_actor_saw(n_step: int) -> None:
    spec = small_spec(count_frames(n_step))
    learner = small_learner(count_frames(n_step))
    shard = ReplayShard(small_config(count_frames(n_step)).shard_config(0))
    lanes, watcher = make_lanes(spec), Watcher()
    rows = 0
    for steps in (1, 2, 7, 16, 5, 16):
        block, _, _ = lanes.collect(watcher, steps, rows, 0)
        shard.add(block)
        rows += steps
    # The row after the last collected one: what it will be is known only to the environment.
    watcher.q_values(lanes.stack.observation)
    starts = check_against_episodes(drawn(shard, learner, 30), watcher.seen_at(), n_step)
    last_of_lane = {lane: max(k for k in starts if k[0] == lane) for lane in (1, 2, 3)}
    for lane, (_, last_episode, _) in last_of_lane.items():
        for episode in range(last_episode):
            for step in range(length_of(lane, episode)):
                assert (lane, episode, step) in starts, "every step of a whole episode is sampled"
    assert not any(step == length_of(lane, episode) for lane, episode, step in starts), (
        "final rows start nothing"
    )


def test_past_wrap_around_old_frames_are_never_mixed_in() -> None:
    settings = count_frames(3, capacity=90)
    spec, learner = small_spec(settings), small_learner(settings)
    shard = ReplayShard(small_config(settings).shard_config(0))
    lanes, watcher = make_lanes(spec), Watcher()
    for steps in (16, 16, 3, 16, 16, 5, 16, 16):
        shard.add(lanes.collect(watcher, steps, 0, 0)[0])
        if shard.stats()["items"] >= 20:
            watcher.q_values(lanes.stack.observation)
            check_against_episodes(drawn(shard, learner, 4), watcher.seen_at(), 3)
    assert shard.stats()["inserted"] > 200, "the ring did wrap"
    shard.check_valid()


def test_no_window_crosses_a_restart_of_the_runner() -> None:
    settings = count_frames(3)
    spec, learner = small_spec(settings), small_learner(settings)
    shard = ReplayShard(small_config(settings).shard_config(0))
    first, before = make_lanes(spec), Watcher()
    # 8 rows: every lane is in the middle of an episode.
    shard.add(first.collect(before, 8, 0, 0)[0])
    assert not first._over.any()
    assert not first._first.any()
    second, after = make_lanes(spec, stream_id=2, seed=101), Watcher()
    shard.add(second.collect(after, 20, 0, 0)[0])
    after.q_values(second.stack.observation)
    seen = {**before.seen_at(), **after.seen_at()}
    cut_off = {lane: max(k for k in before.seen_at() if k[0] == lane) for lane in (1, 2, 3)}
    crossing = 0
    for batch in drawn(shard, learner, 40):
        for index, observation in enumerate(batch["obs"]):
            key = tuple(decode_count_frames(observation[-1]).tolist())
            np.testing.assert_array_equal(observation, seen[key])
            if batch["discounts"][index] == 0.0:
                continue
            bootstrap = tuple(decode_count_frames(batch["bootstrap_obs"][index, -1]).tolist())
            np.testing.assert_array_equal(batch["bootstrap_obs"][index], seen[bootstrap])
            assert bootstrap[:2] == key[:2], "bootstraps within its own episode"
            last = cut_off.get(key[0])
            if last is not None and key[:2] == last[:2] and key[2] + 3 > last[2]:
                crossing += 1
                steps = last[2] - key[2]
                assert bootstrap == last, "bootstraps from the newest row before the seam"
                assert batch["discounts"][index] == pytest.approx(GAMMA**steps)
                expected = sum(GAMMA**k * (100 * key[1] + key[2] + k + 1) for k in range(steps))
                assert batch["returns"][index] == pytest.approx(expected)
    assert crossing > 0


def test_rows_of_a_block() -> None:
    lanes, watcher = make_lanes(small_spec(count_frames(1))), Watcher()
    block, episodes, epsilon = lanes.collect(watcher, 40, 0, version=7)
    columns = block.columns
    assert block.version == 7
    assert epsilon == 0.5
    codes = decode_count_frames(columns["frame"])
    for lane in range(LANES):
        number = lane + 1
        step, episode = 0, 0
        for t in range(40):
            length = length_of(number, episode)
            assert codes[lane, t].tolist() == [number, episode, step]
            assert columns["first"][lane, t] == (step == 0)
            assert columns["acted"][lane, t] == (step < length)
            last = step == length - 1
            assert columns["terminated"][lane, t] == (last and not cut(number, episode))
            assert columns["truncated"][lane, t] == (last and cut(number, episode))
            reward = 100 * episode + step + 1 if step < length else 0
            assert columns["reward"][lane, t] == reward
            assert columns["q_max"][lane, t] == lane * 10 + 2 + t + 1
            assert columns["q_taken"][lane, t] == lane * 10 + columns["action"][lane, t] + t + 1
            step, episode = (0, episode + 1) if step == length else (step + 1, episode)
    for episode_return, length, eps, lane_id in episodes:
        assert eps == 0.5
        assert length in LENGTHS
        assert lane_id in (0, 1, 2)
        assert episode_return > 0
    by_lane = [e for e in episodes if e[3] == 0]
    expected = [
        (sum(100 * e + k + 1 for k in range(length_of(1, e))), length_of(1, e)) for e in range(len(by_lane))
    ]
    assert [(r, n) for r, n, _, _ in by_lane] == expected


def test_lane_ids_and_start_rows_follow_the_runner() -> None:
    lanes = make_lanes(small_spec(count_frames(1)), worker_index=2)
    first, _, _ = lanes.collect(Watcher(), 5, 0, 0)
    second, _, _ = lanes.collect(Watcher(), 3, 0, 0)
    assert first.lane_ids.tolist() == [3, 4, 5]
    assert first.start_rows.tolist() == [0, 0, 0]
    assert second.start_rows.tolist() == [5, 5, 5]
    lanes.restart(seed=50)
    third, _, _ = lanes.collect(Watcher(), 3, 0, 0)
    assert third.start_rows.tolist() == [0, 0, 0]
    assert (third.stream_ids != second.stream_ids).all()
    assert third.columns["first"][:, 0].all()


def test_state_goes_on_exactly() -> None:
    spec = small_spec(count_frames(1))
    whole, half = make_lanes(spec), make_lanes(spec)
    expected = [whole.collect(Watcher(), 9, 0, 0)[0], whole.collect(Watcher(), 9, 0, 0)[0]][1]
    half.collect(Watcher(), 9, 0, 0)
    state = half.get_state()
    other = make_lanes(spec, seed=77, stream_id=5)
    assert other.set_state(state)
    found, _, _ = other.collect(Watcher(), 9, 0, 0)
    for name, column in expected.columns.items():
        np.testing.assert_array_equal(found.columns[name], column, err_msg=name)
    np.testing.assert_array_equal(found.stream_ids, expected.stream_ids)
    np.testing.assert_array_equal(found.start_rows, expected.start_rows)


def test_state_of_lanes_that_have_not_begun() -> None:
    spec = small_spec(count_frames(1))
    lanes, other = make_lanes(spec), make_lanes(spec)
    assert not other.set_state(lanes.get_state())
    block, _, _ = other.collect(Watcher(), 3, 0, 0)
    assert block.columns["first"][:, 0].all()


def test_played_episodes_are_the_first_of_each_lane() -> None:
    spec = small_spec(count_frames(1))
    env = make_vector_env(resolve_env(spec.envs[0], spec.environment), LANES, seed=1)
    returns, lengths = Lanes.player(env, seed=1, epsilon=0.0).play(Watcher(), 7)
    # Lane 1 plays three, lanes 2 and 3 two each: fixed beforehand, whatever ends first.
    expected = [length_of(1, 0), length_of(1, 1), length_of(1, 2)]
    expected += [length_of(2, 0), length_of(2, 1), length_of(3, 0), length_of(3, 1)]
    assert lengths.tolist() == expected
    assert returns[1] == sum(100 + k + 1 for k in range(length_of(1, 1)))
