from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlx.replay import packed
from rlx.replay.block import Block, BlockError
from rlx.replay.config import ShardConfig
from rlx.replay.items import decode_items
from rlx.replay.shard import ReplayShard
from rlx.replay.windows import Windows, WindowSpec, n_step
from tests.reference_impl.replay_twin import ReplayTwin
from tests.replay.streams import Actors

BASE = ShardConfig(
    capacity_env_steps=60,
    num_lanes=2,
    frame_shape=(3, 2),
    frame_stack=4,
    window=WindowSpec(length=4),
    n_step=3,
    gamma=0.9,
    reward_clip=1.0,
    extra_columns={"toy/state": (np.float32, (5,)), "toy/arm": (np.int64, ())},
)


@pytest.fixture(scope="module", autouse=True)
def small_chunks() -> Iterator[None]:
    """Compress frames in chunks of 3 rows: the rings of these tests hold few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "CHUNK_ROWS", 3)
        yield


@st.composite
def configs(draw: st.DrawFn) -> ShardConfig:
    n = draw(st.integers(1, 4))
    prefix = draw(st.integers(0, 3))
    learned = draw(st.integers(1, 5))
    window = WindowSpec(prefix + learned + n, draw(st.integers(1, learned)), prefix)
    stack, lanes = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    offsets = st.lists(st.integers(-prefix, window.length - prefix - 1), min_size=1, max_size=3)
    sparse: dict[str, tuple[object, tuple[int, ...]]] = {
        "state": (np.float32, (2, 3)),
        "toy/mark": (np.int16, ()),
    }
    rows = 2 * (window.length + stack) + draw(st.integers(0, 20))
    return ShardConfig(
        capacity_env_steps=rows * lanes,
        num_lanes=lanes,
        frame_shape=draw(st.sampled_from([(2,), (2, 3), ()])),
        frame_dtype=draw(st.sampled_from([np.uint8, np.float32])),
        frame_stack=stack,
        window=window,
        n_step=n,
        gamma=0.9,
        reward_clip=draw(st.sampled_from([None, 1.0])),
        extra_columns={"toy/state": (np.float16, (2,))},
        sparse_columns=draw(st.sampled_from([{}, sparse])),
        sparse_offsets=draw(st.one_of(st.none(), offsets.map(tuple))),
        rescale_epsilon=draw(st.sampled_from([None, 1e-3])),
        compression=draw(st.sampled_from(["none", "lz4"])),
    )


def ids(shard: ReplayShard) -> dict[tuple[int, int], int]:
    """Every item of a shard, as (lane id, row) -> leaf, read from its index."""
    leaves = shard._items.live_leaves()
    lanes, rows = shard._items.rows_of(leaves)
    return {
        (int(shard._lane_ids[lane]), int(row)): int(leaf)
        for lane, row, leaf in zip(lanes, rows, leaves, strict=True)
    }


def everything(shard: ReplayShard) -> Windows:
    """Windows of all items, each once."""
    leaves = shard._items.live_leaves()
    return shard._windows(leaves, np.ones(leaves.size), None)


def named(shard: ReplayShard, windows: Windows) -> list[tuple[int, int]]:
    lanes, rows = decode_items(windows.item_ids)
    return [(int(shard._lane_ids[lane]), int(row)) for lane, row in zip(lanes, rows, strict=True)]


def filled(config: ShardConfig, blocks: int = 30, seed: int = 0, max_rows: int = 9) -> ReplayShard:
    shard, actors = ReplayShard(config), Actors(config, seed)
    for _ in range(blocks):
        shard.add(actors.random_block(max_rows))
    return shard


@settings(max_examples=25, deadline=None)
@given(
    config=configs(),
    seed=st.integers(0, 10_000),
    max_rows=st.sampled_from([1, 4, 30, 90]),
    numbered=st.booleans(),
)
def test_items_windows_and_priorities_are_the_twins(
    config: ShardConfig, seed: int, max_rows: int, numbered: bool
) -> None:
    shard, twin = ReplayShard(config), ReplayTwin(config)
    actors, losses = Actors(config, seed, numbered=numbered), np.random.default_rng(seed)
    for _ in range(14):
        before = set(ids(shard))
        block = actors.random_block(max_rows)
        if numbered and losses.random() < 0.2:
            continue
        report = shard.add(block)
        twin.add(block)
        shard.check_valid()
        items = ids(shard)
        assert set(items) == twin.items()
        assert report.rows == block.num_lanes * block.num_rows
        assert report.env_steps == int(block.columns["acted"].sum())
        assert report.items - report.dropped == len(items) - len(before)
        expected = [twin.priority(*key) ** config.priority_exponent for key in items]
        got = shard._tree.get(np.array(list(items.values()), np.int64))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)
    windows = everything(shard)
    for b, (lane, row) in enumerate(named(shard, windows)):
        expected_window = twin.window(lane, row)
        np.testing.assert_array_equal(windows.in_episode[b], expected_window["in_episode"])
        assert set(windows.columns) == set(expected_window["columns"])
        for name, column in expected_window["columns"].items():
            np.testing.assert_array_equal(windows[name][b], column, err_msg=name)
        np.testing.assert_array_equal(windows.frames[b], np.stack(expected_window["frames"]))
        assert set(windows.sparse) == set(windows.sparse_known) == set(config.sparse_columns)
        for name, (values, known) in expected_window["sparse"].items():
            assert windows.sparse_known[name][b].tolist() == known, name
            np.testing.assert_array_equal(windows.sparse[name][b], np.stack(values), err_msg=name)
            assert windows.sparse[name].dtype == config.sparse_columns[name][0]
        assert windows.versions[b] == twin.lanes[lane][row]["version"]
        assert not windows["acted"][b][~windows.in_episode[b]].any()
        assert not windows.frames[b, config.frame_stack - 1 :][~windows.in_episode[b]].any()


@settings(max_examples=20, deadline=None)
@given(config=configs(), seed=st.integers(0, 10_000))
def test_the_learner_stacks_what_the_actor_saw(config: ShardConfig, seed: int) -> None:
    shard, actors = ReplayShard(config), Actors(config, seed)
    for _ in range(20):
        shard.add(actors.random_block(12))
    windows = everything(shard)
    stack = config.frame_stack
    for b, (lane, row) in enumerate(named(shard, windows)):
        for t in np.flatnonzero(windows.in_episode[b]):
            seen = actors.lanes[lane - 100].seen[row + t - config.window.prefix]
            got = windows.frames[b, t : t + stack]
            assert got.dtype == seen.dtype
            assert got.tobytes() == seen.tobytes()


@settings(max_examples=20, deadline=None)
@given(config=configs(), seed=st.integers(0, 10_000))
def test_n_step_ends_as_the_stream_does(config: ShardConfig, seed: int) -> None:
    shard, twin, actors = ReplayShard(config), ReplayTwin(config), Actors(config, seed)
    for _ in range(15):
        block = actors.random_block(12)
        shard.add(block)
        twin.add(block)
    w = everything(shard)
    arrays = (w["reward"], w["terminated"], w["acted"], w.in_episode)
    prefix = config.window.prefix
    for start in range(prefix, config.window.length - config.n_step):
        got = n_step(*arrays, config.n_step, config.gamma, config.reward_clip, start)
        for b, (lane, row) in enumerate(named(shard, w)):
            if not (w.in_episode[b, start] and w["acted"][b, start]):
                continue
            total, discount, bootstrap = twin.n_step(lane, row + start - prefix)
            assert got.returns[b] == pytest.approx(total, abs=1e-5)
            assert got.discounts[b] == pytest.approx(discount)
            assert got.bootstrap_row[b] == bootstrap - row + prefix
            if discount > 0.0:
                stacked = w.frames[b, got.bootstrap_row[b] : got.bootstrap_row[b] + config.frame_stack]
                np.testing.assert_array_equal(stacked, twin.observation(lane, bootstrap))


@settings(max_examples=20, deadline=None)
@given(config=configs(), seed=st.integers(0, 10_000))
def test_every_step_of_an_ended_episode_is_in_a_window(config: ShardConfig, seed: int) -> None:
    config, spec = dataclasses.replace(config, capacity_env_steps=400 * config.num_lanes), config.window
    shard, twin, actors = ReplayShard(config), ReplayTwin(config), Actors(config, seed)
    for _ in range(12):
        block = actors.random_block(20)
        shard.add(block)
        twin.add(block)
    learned = set()
    for lane, row in ids(shard):
        for step in range(row, row + spec.length - spec.prefix - config.n_step):
            if twin.same_episode(lane, row, step):
                learned.add((lane, step))
    for lane, rows in twin.lanes.items():
        for row, here in enumerate(rows):
            ended = twin.ended_by(lane, row, len(rows))
            lost = not twin.same_episode(lane, row, row + 1) and not here["terminated"]
            if here["acted"] and ended and not lost:
                assert (lane, row) in learned


def test_without_seams_an_episode_of_k_steps_gives_k_items() -> None:
    config = dataclasses.replace(BASE, num_lanes=1, capacity_env_steps=100)
    shard = ReplayShard(config)
    shard.add(hand_block(acted=[1, 1, 1, 1, 1, 0], first=[1, 0, 0, 0, 0, 0], terminated=[0, 0, 0, 0, 1, 0]))
    assert sorted(row for _, row in ids(shard)) == [0, 1, 2, 3, 4]
    assert shard.stats()["env_steps"] == 5
    assert shard.stats()["rows"] == 6


def hand_block(
    acted: list[int], first: list[int], terminated: list[int], stream: int = 0, **columns: object
) -> Block:
    """One lane, rows from lists."""
    rows = len(acted)
    values = {
        "frame": np.ones((1, rows, 3, 2), np.uint8),
        "action": np.zeros((1, rows), np.int32),
        "reward": np.ones((1, rows), np.float32),
        "terminated": np.array([terminated], bool),
        "truncated": np.zeros((1, rows), bool),
        "first": np.array([first], bool),
        "acted": np.array([acted], bool),
        "q_taken": np.zeros((1, rows), np.float32),
        "q_max": np.full((1, rows), 10.0, np.float32),
        "toy/state": np.zeros((1, rows, 5), np.float32),
        "toy/arm": np.zeros((1, rows), np.int64),
    }
    return Block(columns=values | columns, lane_ids=np.array([3]), stream_ids=np.array([stream]), version=0)


def test_priorities_on_arrival_by_hand() -> None:
    config = dataclasses.replace(
        BASE, num_lanes=1, capacity_env_steps=100, priority_exponent=1.0, priority_epsilon=0.5
    )
    shard = ReplayShard(config)
    # Rewards 1, gamma 0.9, n 3, q_taken 0, q_max 10; the episode is truncated after its fourth step.
    shard.add(hand_block(acted=[1, 1, 1, 1, 0], first=[1, 0, 0, 0, 0], terminated=[0] * 5))
    got = shard._tree.get(np.arange(4))
    # 1 + 0.9 + 0.81 + 0.729 * 10 = 10.0 where three steps follow, 1.9 + 8.1 and 1 + 9 where fewer do.
    np.testing.assert_allclose(got, [10.5, 10.5, 10.5, 10.5], rtol=1e-6)
    # The same episode terminated: 2.71, 2.71, 1.9, 1 without a bootstrap (the first still has one).
    shard.add(hand_block(acted=[1, 1, 1, 1, 0], first=[1, 0, 0, 0, 0], terminated=[0, 0, 0, 1, 0]))
    np.testing.assert_allclose(shard._tree.get(np.arange(5, 9)), [10.5, 3.21, 2.4, 1.5], rtol=1e-6)


def test_a_seam_loses_only_the_step_whose_outcome_is_unknown() -> None:
    config = dataclasses.replace(BASE, num_lanes=1, capacity_env_steps=100, priority_exponent=1.0)
    shard = ReplayShard(config)
    shard.add(hand_block(acted=[1, 1, 1], first=[1, 0, 0], terminated=[0, 0, 0]))
    assert shard.stats()["items"] == 0
    shard.add(hand_block(acted=[1, 1], first=[1, 0], terminated=[0, 0], stream=1))
    assert sorted(row for _, row in ids(shard)) == [0, 1]
    windows = everything(shard)
    assert windows.in_episode.tolist() == [[True, True, True, False], [True, True, False, False]]
    # Row 1: r_1, then a bootstrap at row 2; row 0: r_0 + 0.9 r_1, bootstrap at row 2.
    result = n_step(windows["reward"], windows["terminated"], windows["acted"], windows.in_episode, 3, 0.9)
    np.testing.assert_allclose(result.returns, [1.9, 1.0], rtol=1e-6)
    np.testing.assert_allclose(result.discounts, [0.81, 0.9], rtol=1e-6)
    assert result.bootstrap_row.tolist() == [2, 1]


def test_a_terminated_step_before_a_seam_is_kept() -> None:
    config = dataclasses.replace(BASE, num_lanes=1, capacity_env_steps=100)
    shard = ReplayShard(config)
    shard.add(hand_block(acted=[1, 1], first=[1, 0], terminated=[0, 1]))
    shard.add(hand_block(acted=[1], first=[1], terminated=[0], stream=1))
    assert sorted(row for _, row in ids(shard)) == [0, 1]


def test_a_stream_joined_in_the_middle_has_no_items_with_unknown_stacks() -> None:
    config = dataclasses.replace(BASE, num_lanes=1, capacity_env_steps=100)
    shard = ReplayShard(config)
    shard.add(hand_block(acted=[1] * 6 + [0], first=[0] * 7, terminated=[0] * 7))
    assert sorted(row for _, row in ids(shard)) == [3, 4, 5]


def test_lost_blocks_are_seams() -> None:
    config = dataclasses.replace(BASE, capacity_env_steps=300, extra_columns={"toy/row": (np.int64, ())})
    shard, actors = ReplayShard(config), Actors(config, 5, restart_chance=0.05)
    sent, streams = np.zeros(2, np.int64), np.full(2, -1)
    for i in range(80):
        begin = np.array([len(lane.seen) for lane in actors.lanes])
        block = actors.block(6)
        block.columns["toy/row"][:] = begin[:, None] + np.arange(6)
        sent[streams != block.stream_ids] = 0
        streams = block.stream_ids
        if i % 3 != 1:
            shard.add(dataclasses.replace(block, start_rows=sent.copy()))
        sent += 6
    windows = everything(shard)
    assert windows.batch_size > 60
    for b, (lane, _) in enumerate(named(shard, windows)):
        for t in np.flatnonzero(windows.in_episode[b]):
            row = windows["toy/row"][b, t]
            assert row == windows["toy/row"][b, 0] + t
            np.testing.assert_array_equal(windows.frames[b, t : t + 4], actors.lanes[lane - 100].seen[row])


def test_draws_follow_the_priorities() -> None:
    config = dataclasses.replace(BASE, capacity_env_steps=120, priority_exponent=0.5, priority_epsilon=0.0)
    shard = filled(config)
    windows = everything(shard)
    rng = np.random.default_rng(1)
    wanted = rng.choice([0.0, 0.5, 1.0, 4.0, 25.0], windows.batch_size)
    assert shard.update_priorities(windows.item_ids, wanted) == windows.batch_size
    shares = np.sqrt(wanted) / np.sqrt(wanted).sum()
    index = {item: i for i, item in enumerate(windows.item_ids.tolist())}
    counts = np.zeros(windows.batch_size)
    for _ in range(500):
        drawn = shard.sample(7)
        assert drawn is not None
        places = [index[item] for item in drawn.item_ids.tolist()]
        np.add.at(counts, places, 1)
        np.testing.assert_allclose(drawn.probabilities, shares[places])
        assert drawn.size == windows.batch_size
    assert not counts[shares == 0].any()
    some = shares > 0
    assert stats.chisquare(counts[some], shares[some] * counts.sum()).pvalue > 1e-3
    # The test can tell: the exponent left out is rejected.
    assert stats.chisquare(counts[some], wanted[some] / wanted.sum() * counts.sum()).pvalue < 1e-9


def test_uniform_draws_when_not_prioritised() -> None:
    shard = filled(dataclasses.replace(BASE, prioritized=False))
    size = shard.stats()["items"]
    windows = shard.sample(size)
    assert windows is not None
    assert sorted(windows.item_ids.tolist()) == sorted(everything(shard).item_ids.tolist())
    np.testing.assert_allclose(windows.probabilities, 1 / size)
    assert shard.update_priorities(windows.item_ids, np.full(size, 9.0)) == 0
    shard.check_valid()
    assert shard._tree.total == size


def test_zero_priorities_everywhere_draw_uniformly() -> None:
    shard = filled(dataclasses.replace(BASE, priority_epsilon=0.0))
    windows = everything(shard)
    shard.update_priorities(windows.item_ids, np.zeros(windows.batch_size))
    drawn = shard.sample(50)
    assert drawn is not None
    assert set(drawn.item_ids) <= set(windows.item_ids)
    np.testing.assert_allclose(drawn.probabilities, 1 / windows.batch_size)


def test_updates_of_overwritten_items_are_dropped() -> None:
    shard, actors = ReplayShard(BASE), Actors(BASE, 3)
    for _ in range(8):
        shard.add(actors.block(6))
    old = everything(shard).item_ids
    for _ in range(3):
        shard.add(actors.block(4))
    still = set(everything(shard).item_ids.tolist())
    kept = sum(item in still for item in old.tolist())
    assert 0 < kept < old.size
    before = {key: shard._tree.get(np.array([leaf]))[0] for key, leaf in ids(shard).items()}
    assert shard.update_priorities(old, np.full(old.size, 77.0)) == kept
    assert shard.stats()["dropped"] == old.size - kept
    for key, leaf in ids(shard).items():
        lane = shard._lane_of[key[0]]
        touched = ((lane << 40) | key[1]) in set(old.tolist())
        expected = 77.000001**0.6 if touched else before[key]
        assert shard._tree.get(np.array([leaf]))[0] == pytest.approx(expected)
    for _ in range(12):
        shard.add(actors.block(6))
    assert shard.update_priorities(old, np.full(old.size, 5.0)) == 0


def test_made_up_ids_are_dropped() -> None:
    shard = filled(BASE)
    wrong = np.array([-1, 5 << 40, 1 << 39, (1 << 40) + (1 << 30)], np.int64)
    assert shard.update_priorities(wrong, np.ones(4)) == 0


def test_new_items_take_the_largest_priority_so_far() -> None:
    config = dataclasses.replace(BASE, initial_priority="max", priority_exponent=1.0, priority_epsilon=0.25)
    shard, actors = ReplayShard(config), Actors(config, 0, restart_chance=0.0)
    shard.add(actors.block(10))
    windows = everything(shard)
    np.testing.assert_allclose(shard._tree.get(shard._items.live_leaves()), 1.0)
    shard.update_priorities(windows.item_ids[:1], np.array([6.0]))
    shard.update_priorities(windows.item_ids[:1], np.array([2.0]))
    known = set(ids(shard))
    shard.add(actors.block(5))
    new = [leaf for key, leaf in ids(shard).items() if key not in known]
    assert new
    np.testing.assert_allclose(shard._tree.get(np.array(new)), 6.25)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_bad_priorities_change_nothing(bad: float) -> None:
    shard = filled(BASE)
    items, before = everything(shard).item_ids[:2], shard._tree.get_state()
    with pytest.raises(ValueError, match="finite"):
        shard.update_priorities(items, np.array([1.0, bad]))
    np.testing.assert_array_equal(shard._tree.get_state(), before)


def test_none_below_min_items() -> None:
    config = dataclasses.replace(BASE, num_lanes=1, min_items=3)
    shard = ReplayShard(config)
    assert shard.sample(4) is None
    shard.add(hand_block(acted=[1, 1, 0], first=[1, 0, 0], terminated=[0, 0, 0]))
    assert shard.sample(4) is None
    shard.add(hand_block(acted=[1, 1, 0], first=[1, 0, 0], terminated=[0, 0, 0]))
    assert shard.sample(4) is not None
    assert shard.stats()["sampled"] == 4


def test_frames_may_go_into_an_array_of_the_caller() -> None:
    shard = filled(BASE)
    out = np.full((5, 7, 3, 2), 255, np.uint8)
    state = shard.get_state()
    windows = shard.sample(5, out=out)
    shard.set_state(state)
    again = shard.sample(5)
    assert windows is not None
    assert again is not None
    assert windows.frames is out
    np.testing.assert_array_equal(out, again.frames)
    with pytest.raises(ValueError, match="out is"):
        shard.sample(5, out=np.zeros((5, 6, 3, 2), np.uint8))


def test_age_and_version_are_of_the_first_row() -> None:
    config = dataclasses.replace(BASE, num_lanes=1)
    shard = ReplayShard(config)
    shard.add(dataclasses.replace(hand_block([1, 1, 0], [1, 0, 0], [0, 0, 0]), version=4))
    shard.add(dataclasses.replace(hand_block([1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]), version=9))
    windows = everything(shard)
    assert windows.versions.tolist() == [4, 4, 9, 9, 9]
    assert windows.age_env_steps.tolist() == [5, 5, 3, 3, 3]


def test_a_block_that_does_not_fit_leaves_no_trace() -> None:
    shard, actors = filled(BASE), Actors(dataclasses.replace(BASE, num_lanes=3), 1)
    before = shard.get_state()
    with pytest.raises(BlockError, match=r"lanes \[102\] are new but only 0"):
        shard.add(actors.block(4))
    final = ReplayShard(dataclasses.replace(BASE, num_lanes=1))
    final.add(hand_block([1, 0], [1, 0], [0, 0]))
    with pytest.raises(BlockError, match="lane 3: the row after a final row"):
        final.add(hand_block([1], [0], [0]))
    for name, value in shard.get_state().items():
        np.testing.assert_array_equal(value, before[name])


def test_state_is_the_identity_past_wrap_around() -> None:
    shard = filled(BASE, blocks=60)
    assert shard.stats()["inserted"] > 3 * BASE.capacity_env_steps
    for other in (ReplayShard(dataclasses.replace(BASE, seed=5)), filled(BASE, blocks=50, seed=9)):
        other.set_state(shard.get_state())
        other.check_valid()
        assert other.stats() == shard.stats()
        goes_on_equally(shard, other)


def goes_on_equally(one: ReplayShard, two: ReplayShard) -> None:
    """Do the same with two shards; all that comes out, and what they hold, must be equal bit for bit."""
    for shard_round in range(3):
        w, v = one.sample(6), two.sample(6)
        assert w is not None
        assert v is not None
        assert w.frames.tobytes() == v.frames.tobytes()
        assert w.item_ids.tobytes() == v.item_ids.tobytes()
        assert w.probabilities.tobytes() == v.probabilities.tobytes()
        assert w.age_env_steps.tobytes() == v.age_env_steps.tobytes()
        for name in one.config.sparse_columns:
            assert w.sparse[name].tobytes() == v.sparse[name].tobytes()
            assert w.sparse_known[name].tobytes() == v.sparse_known[name].tobytes()
        one.update_priorities(w.item_ids, np.arange(6.0))
        two.update_priorities(v.item_ids, np.arange(6.0))
        config = dataclasses.replace(one.config)
        block = Actors(config, 70 + shard_round).block(5)
        block = dataclasses.replace(block, stream_ids=block.stream_ids + 1000 + shard_round)
        assert one.add(block) == two.add(block)
    first, second = one.get_state(), two.get_state()
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].tobytes() == second[name].tobytes(), name


def test_threads_may_share_a_shard() -> None:
    config = dataclasses.replace(BASE, capacity_env_steps=400)
    shard, actors = filled(config), Actors(config, 2)
    failed: list[BaseException] = []

    def consume() -> None:
        try:
            for _ in range(200):
                windows = shard.sample(16)
                assert windows is not None
                shard.update_priorities(windows.item_ids, np.ones(16))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=consume)
    thread.start()
    for block in [actors.block(7) for _ in range(40)]:
        block = dataclasses.replace(block, stream_ids=block.stream_ids + 500)
        shard.add(block)
    thread.join()
    assert not failed
    shard.check_valid()


def test_check_valid_notices_damage() -> None:
    shard = filled(BASE)
    shard._items.totals[1] += 1
    with pytest.raises(RuntimeError, match="counted"):
        shard.check_valid()
    shard = filled(BASE)
    leaf = int(np.flatnonzero(shard._tree.get_state() == 0)[0])
    shard._tree.set(np.array([leaf]), np.array([1.0]))
    with pytest.raises(RuntimeError, match="no item"):
        shard.check_valid()


def test_bytes_per_step_of_atari() -> None:
    config = dataclasses.replace(
        BASE, capacity_env_steps=10_000, num_lanes=16, frame_shape=(84, 84), extra_columns={}
    )
    numbers = ReplayShard(config).stats()
    assert numbers["bytes"] / numbers["capacity"] <= 7_500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capacity_env_steps": 20}, "raise the capacity to at least 32"),
        ({"window": WindowSpec(length=6, period=4)}, "learns 3 steps"),
        ({"window": WindowSpec(length=3)}, "learns 0 steps"),
        ({"initial_priority": "mean"}, "known: 'td_error', 'max'"),
        ({"num_lanes": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_work(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(BASE, **change)
