"""Episodes in, exactly these windows out: windows with a prefix, sparse values, rescaled priorities."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

from rlx.replay.block import Block, SparseRows
from rlx.replay.config import ShardConfig
from rlx.replay.shard import ReplayShard
from rlx.replay.windows import Windows, WindowSpec, absolute_td

# Three rows of burn-in, two learned, one to bootstrap from; two frames are stacked. A window's frames are
# [stack | prefix prefix prefix | u, u + 1 | u + 2].
CONFIG = ShardConfig(
    capacity_env_steps=100,
    num_lanes=1,
    frame_shape=(),
    frame_stack=2,
    window=WindowSpec(length=6, period=2, prefix=3),
    n_step=1,
    gamma=0.5,
    priority_exponent=1.0,
    priority_epsilon=0.0,
)


class Sent(NamedTuple):
    """A block: row `f` is the first of an episode, `s` a first one that terminates, `t` terminates, `c` is
    truncated, `x` is final, `a` is any other.
    """

    rows: str
    stream: int = 0
    start_row: int | None = None
    episode_row: int | None = None


def make(sent: Sent, number: int, **columns: Sequence[float]) -> Block:
    """Make the block; frames are the rows' numbers from `number` on."""
    kinds = np.array([list(sent.rows)])
    flags = {
        "terminated": np.isin(kinds, ["s", "t"]),
        "truncated": kinds == "c",
        "first": np.isin(kinds, ["f", "s"]),
        "acted": kinds != "x",
    }
    values = {
        name: np.array([columns.get(name, np.zeros(kinds.size))], np.float32)
        for name in ("reward", "q_taken", "q_max")
    }
    frames = np.arange(number, number + kinds.size, dtype=np.uint8)[None]
    known = {"start_rows": sent.start_row, "episode_rows": sent.episode_row}
    return Block(
        columns={"frame": frames, "action": np.zeros(kinds.shape, np.int32), **flags, **values},
        lane_ids=np.array([3]),
        stream_ids=np.array([sent.stream]),
        version=number,
        **{name: None if value is None else np.array([value]) for name, value in known.items()},
    )


def everything(shard: ReplayShard) -> Windows:
    leaves = shard._items.live_leaves()
    _, rows = shard._items.rows_of(leaves)
    return shard._windows(leaves[np.argsort(rows)], np.ones(leaves.size), None)


def after(sent: Sequence[Sent], config: ShardConfig = CONFIG) -> ReplayShard:
    shard, number = ReplayShard(config), 1
    for one in sent:
        shard.add(make(one, number))
        number += len(one.rows)
        shard.check_valid()
    return shard


CUT = {
    "shorter than the burn-in": ([Sent("sx")], ["....12."]),
    "exact fit": ([Sent("ftx")], ["....123"]),
    "an edge of the episode in the prefix": ([Sent("fatx")], ["....123", "..1234."]),
    "long": ([Sent("faaaatx")], ["....123", "..12345", "1234567"]),
    "truncated": ([Sent("faaaacx")], ["....123", "..12345", "1234567"]),
    "in two blocks": ([Sent("faa"), Sent("aatx")], ["....123", "..12345", "1234567"]),
    "row by row": ([Sent(c) for c in "faaaatx"], ["....123", "..12345", "1234567"]),
    "still running": ([Sent("faaa")], ["....123"]),
    "two episodes": ([Sent("ftxfcx")], ["....123", "....456"]),
    "an episode in front of the prefix": ([Sent("sxfatx")], ["....12.", "....345", "..3456."]),
    "a lost life goes on": ([Sent("ftatx")], ["....123", "..12345"]),
    "restart loses the last step": ([Sent("faa"), Sent("ftx", 1)], ["....123", "....456"]),
    "restart": ([Sent("faaa"), Sent("ftx", 1)], ["....123", "..1234.", "....567"]),
    "restart after a terminated step": ([Sent("fat"), Sent("ftx", 1)], ["....123", "..123..", "....456"]),
    "lost block": (
        [Sent("faaa", 0, 0), Sent("aaaaaaatx", 0, 7)],
        ["....123", "..1234.", "56789ab", "789abcd"],
    ),
    "lost block, rows numbered": (
        [Sent("faaa", 0, 0, 0), Sent("aaaaaaatx", 0, 7, 7)],
        ["....123", "..1234.", "6789abc", "89abcd."],
    ),
    "lost block, the next episode is as old": (
        [Sent("faaa", 0, 0, 0), Sent("aaaaatx", 0, 10, 4)],
        ["....123", "..1234.", "56789ab"],
    ),
    "joined too late": ([Sent("aaatx", 0, 7, 7)], []),
    "joined, then an episode": ([Sent("atxftx", 0, 7, 7)], ["....456"]),
    "numbers of rows that go on": (
        [Sent("faa", 0, 0, 0), Sent("aatx", 0, 3, 3)],
        ["....123", "..12345", "1234567"],
    ),
}


@pytest.mark.parametrize("compression", ["none", "lz4"])
@pytest.mark.parametrize(("sent", "expected"), CUT.values(), ids=CUT)
def test_windows_of_episodes(sent: list[Sent], expected: list[str], compression: str) -> None:
    shard = after(sent, dataclasses.replace(CONFIG, compression=compression))
    assert shard.stats()["items"] == len(expected)
    if not expected:
        return
    windows = everything(shard)
    got = ["".join("." if n == 0 else f"{n:x}" for n in frames) for frames in windows.frames]
    assert got == expected
    # A row is in the episode where it has its frame; the item is the row at the prefix's end.
    for frames, inside, item in zip(windows.frames, windows.in_episode, windows.item_ids, strict=True):
        assert inside.tolist() == (frames[1:] > 0).tolist()
        assert item == frames[4] - 1


def test_age_and_version_are_of_the_first_learned_row() -> None:
    windows = everything(after([Sent("faa"), Sent("aatx")]))
    # Versions are the numbers of the blocks' first rows here; ages are counted from the block on.
    assert windows.versions.tolist() == [1, 1, 4]
    assert windows.age_env_steps.tolist() == [6, 6, 3]


@pytest.mark.parametrize("step", [1, 3, 30])
def test_an_item_goes_with_a_row_of_its_prefix_or_its_first_stack(step: int) -> None:
    config = dataclasses.replace(CONFIG, capacity_env_steps=16)
    rows = "f" + "a" * 29
    windows = everything(after([Sent(rows[i : i + step]) for i in range(0, 30, step)], config))
    # Rows 14 .. 29 are stored. Item 18 needs the stack of its prefix, row 14; item 28 is not complete.
    assert (windows.frames[:, 4] - 1).tolist() == [18, 20, 22, 24, 26]
    assert windows.frames[0].tolist() == [15, 16, 17, 18, 19, 20, 21]


def test_an_episodes_begin_keeps_its_item_until_it_is_overwritten() -> None:
    config = dataclasses.replace(CONFIG, capacity_env_steps=16)
    shard = after([Sent("f" + "a" * 15)], config)
    assert 0 in everything(shard).item_ids
    shard.add(make(Sent("a"), 17))
    # Items 0, 2 and 4 need row 0, that is overwritten; item 6 needs row 2.
    assert everything(shard).item_ids.tolist() == [6, 8, 10, 12, 14]


def test_sparse_values_by_hand() -> None:
    config = dataclasses.replace(
        CONFIG, sparse_columns={"state": (np.float32, (2,))}, sparse_offsets=(-3, 0, 2)
    )
    shard = ReplayShard(config)
    rows, values = np.array([0, 1, 4]), np.array([[99, 99], [20, 21], [50, 51]], np.float32)
    sparse = {"state": SparseRows(np.zeros(3, np.int64), rows, values)}
    shard.add(dataclasses.replace(make(Sent("faaaatx"), 1), sparse=sparse))
    shard.add(make(Sent("fatx"), 8))
    windows = everything(shard)
    # What stands at the first row does not count: its state is zero.
    zero, none = ([0, 0], True), ([0, 0], False)
    expected = [
        [zero, zero, none],
        [zero, none, ([50, 51], True)],
        [([20, 21], True), ([50, 51], True), none],
        [zero, zero, none],
        [zero, none, none],
    ]
    pairs = [
        list(zip(value, known, strict=True))
        for value, known in zip(
            windows.sparse["state"].tolist(), windows.sparse_known["state"].tolist(), strict=True
        )
    ]
    assert pairs == expected
    assert windows.sparse["state"].shape == (5, 3, 2)


def test_one_sparse_value_by_default_at_the_windows_begin() -> None:
    config = dataclasses.replace(CONFIG, sparse_columns={"state": (np.int16, ())})
    assert config.offsets == (-3,)
    shard = ReplayShard(config)
    sparse = {"state": SparseRows(np.array([0]), np.array([3]), np.array([7], np.int16))}
    shard.add(dataclasses.replace(make(Sent("faaaaaaatx"), 1), sparse=sparse))
    windows = everything(shard)
    assert windows.sparse["state"].tolist() == [[0], [0], [0], [7], [0]]
    assert windows.sparse_known["state"].tolist() == [[True], [True], [False], [True], [False]]


def test_rescaled_priorities_by_hand() -> None:
    # With epsilon 0, h(x) = sqrt(x + 1) - 1 and h^-1(x) = (x + 1)^2 - 1 for x >= 0; gamma is 0.5.
    config = dataclasses.replace(CONFIG, rescale_epsilon=0.0, priority_eta=1.0)
    shard = ReplayShard(config)
    block = make(Sent("fatx"), 1, reward=[11, 0, 8, 0], q_taken=[1, 3, 1.5, 0], q_max=[9, 2, 6, 0])
    shard.add(block)
    # Step 0: h(11 + 0.5 h^-1(2)) = h(15) = 3, error 2. Step 1: h(0.5 h^-1(6)) = h(24) = 4, error 1.
    # Step 2, terminated: h(8) = 2, error 0.5. Items are the steps 0 and 2.
    np.testing.assert_allclose(shard._tree.get(np.array([0, 2])), [2.0, 0.5], rtol=1e-6)
    plain = ReplayShard(dataclasses.replace(config, rescale_epsilon=None))
    plain.add(block)
    # 11 + 0.5 * 2 - 1 against 0.5 * 6 - 3, and 8 - 1.5.
    np.testing.assert_allclose(plain._tree.get(np.array([0, 2])), [11.0, 6.5], rtol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 0.1])
def test_rescaled_errors_are_the_learners(epsilon: float) -> None:
    torch = pytest.importorskip("torch")
    rescaling = pytest.importorskip("rlx.losses.rescaling")
    rng, n, batch = np.random.default_rng(0), 3, 500
    spec = WindowSpec(length=3 + n, prefix=2)
    scale = 10.0 ** rng.uniform(-4, 4, (batch, spec.length))
    columns = {
        "reward": (rng.normal(size=scale.shape) * scale).astype(np.float32),
        "terminated": rng.random(scale.shape) < 0.1,
        "acted": np.ones(scale.shape, bool),
        "q_taken": rng.normal(size=scale.shape).astype(np.float32),
        "q_max": (rng.normal(size=scale.shape) * np.sqrt(scale)).astype(np.float32),
    }
    inside = np.ones(scale.shape, bool)
    got = absolute_td(columns, inside, spec, n, 0.9, None, 1.0, epsilon)
    # One learned step, row 2.
    rewards, ends = columns["reward"].astype(np.float64), columns["terminated"]
    alive = np.cumprod(~ends[:, 2 : 2 + n], axis=1)
    before = np.concatenate([np.ones((batch, 1)), alive[:, :-1]], axis=1)
    returns = (rewards[:, 2 : 2 + n] * before * 0.9 ** np.arange(n)).sum(axis=1)
    tensors = [returns, 0.9**n * alive[:, -1], columns["q_max"][:, -1].astype(np.float64)]
    target = rescaling.rescaled_target(*map(torch.from_numpy, tensors), epsilon).numpy()
    np.testing.assert_allclose(got, np.abs(target - columns["q_taken"][:, 2]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sparse_offsets": (-4,)}, r"each in -3\.\.2"),
        ({"sparse_offsets": (0, 3)}, r"each in -3\.\.2"),
        ({"sparse_offsets": ()}, "at least one"),
        ({"sparse_columns": {"reward": (np.float32, ())}}, r"\['reward'\] have names of columns"),
        ({"rescale_epsilon": -0.1}, "rescale_epsilon is -0.1"),
        ({"rescale_epsilon": float("nan")}, "rescale_epsilon is nan"),
        ({"compression": "zstd"}, "known: 'none', 'lz4'"),
    ],
)
def test_settings_that_cannot_work(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **change)
