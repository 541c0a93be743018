"""Windows: which rows they take, how they are gathered, and what their n-step returns are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlx.replay.block import Array
from rlx.replay.compiled import compiled

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Float32s = NDArray[np.float32]


@dataclass(frozen=True)
class WindowSpec:
    """Which rows an item takes.

    Attributes:
        length: rows returned: 1 + n for n-step DQN, burn-in + unroll + n for R2D2.
        period: the first learned row, which names the item, is every `period`-th row of an episode; at most
            the steps learned of a window.
        prefix: rows in front of it that are not learned from (burn-in), as far as the episode has them; they
            count in `length`.
    """

    length: int
    period: int = 1
    prefix: int = 0

    def __post_init__(self) -> None:
        if self.length < 2 or self.period < 1 or not 0 <= self.prefix < self.length - 1:
            raise ValueError(f"{self}: needs length >= 2, period >= 1 and 0 <= prefix < length - 1")


@dataclass(eq=False)
class Windows:
    """A batch of B windows of L rows, the first P of them the prefix; S is the frame stack.

    Attributes:
        frames: ``[B, S-1+L, *frame_shape]``; row t is seen with frames t .. t+S-1. Frames before the
            episode's start, and those of rows that are not `in_episode`, are zeros.
        columns: name -> ``[B, L, ...]``: all of a block's but `frame` and `first`; zeros where not
            `in_episode`.
        in_episode: ``[B, L]`` bool: of the episode and stream of row P; True for its final row.
        item_ids: ``[B]`` int64, for `update_priorities`.
        probabilities: ``[B]`` float64, chance of the item in one draw from this shard.
        size: items the draw was made from.
        age_env_steps: ``[B]`` float32, env steps that the shard took in since row P.
        versions: ``[B]`` int64, learner updates behind the weights that chose row P's action.
        sparse: name -> ``[B, O, ...]``: values of sparse columns at O rows (`ShardConfig.sparse_offsets`);
            zeros where not known.
        sparse_known: name -> ``[B, O]`` bool; the zeros of an episode's first row are known.
    """

    frames: Array
    columns: dict[str, Array]
    in_episode: Bools
    item_ids: Ints
    probabilities: NDArray[np.float64]
    size: int
    age_env_steps: Float32s
    versions: Ints
    sparse: dict[str, Array] = field(default_factory=dict)
    sparse_known: dict[str, Bools] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        """B."""
        return int(self.item_ids.shape[0])

    def __getitem__(self, name: str) -> Array:
        """Return a column ``[B, L, ...]``."""
        return self.columns[name]


@compiled
def _locate(
    lanes: Ints,
    rows: Ints,
    next_row: Ints,
    episode_row: NDArray[np.int32],
    slots: Ints,
    in_episode: Bools,
    prefix: int,
) -> None:
    rows_per_lane = episode_row.shape[1]
    for b in range(rows.shape[0]):
        lane, row = lanes[b], rows[b]
        start = episode_row[lane, row % rows_per_lane]
        for j in range(slots.shape[1]):
            offset = j - prefix
            slot = (row + offset) % rows_per_lane
            if offset < 0:
                in_episode[b, j] = start + offset >= 0
            else:
                # A later segment counts from 0 again: its rows have smaller numbers than are expected.
                in_episode[b, j] = row + offset < next_row[lane] and episode_row[lane, slot] == start + offset
            slots[b, j] = lane * rows_per_lane + slot


def locate(
    lanes: Ints,
    rows: Ints,
    length: int,
    next_row: Ints,
    episode_row: NDArray[np.int32],
    prefix: int = 0,
) -> tuple[Ints, Bools]:
    """Find the rows of windows.

    Args:
        lanes: ``[B]`` ring lane of each window.
        rows: ``[B]`` absolute number of its first learned row; it and the prefix that its episode has are in
            the ring.
        length: L.
        next_row: ``[lanes]`` rows ever written.
        episode_row: ``[lanes, rows_per_lane]`` number of each row in its episode or stream.
        prefix: rows of a window in front of the first learned one.

    Returns:
        Slots ``[B, L]`` in a flat column, and ``[B, L]`` whether the row belongs to the episode of the first
        learned row.
    """
    slots = np.empty((rows.shape[0], length), np.int64)
    in_episode = np.empty((rows.shape[0], length), np.bool_)
    _locate(lanes, rows, next_row, episode_row, slots, in_episode, prefix)
    return slots, in_episode


@compiled
def _gather_frames(
    raw: NDArray[np.uint8],
    lanes: Ints,
    rows: Ints,
    in_episode: Bools,
    episode_row: NDArray[np.int32],
    out: NDArray[np.uint8],
    prefix: int,
) -> None:
    rows_per_lane = episode_row.shape[1]
    before = out.shape[1] - in_episode.shape[1]
    for b in range(rows.shape[0]):
        lane, row = lanes[b], rows[b]
        start = episode_row[lane, row % rows_per_lane]
        for i in range(out.shape[1]):
            j = i - before - prefix
            target = out[b, i]
            # Byte by byte, as loops: assigning slices is seven times slower here.
            if (j < 0 and start + j >= 0) or (j >= 0 and in_episode[b, prefix + j]):
                source = raw[lane * rows_per_lane + (row + j) % rows_per_lane]
                for k in range(target.shape[0]):
                    target[k] = source[k]
            else:
                for k in range(target.shape[0]):
                    target[k] = 0


def gather_frames(
    raw: NDArray[np.uint8],
    lanes: Ints,
    rows: Ints,
    in_episode: Bools,
    episode_row: NDArray[np.int32],
    out: NDArray[np.uint8],
    prefix: int = 0,
) -> None:
    """Copy the frames of windows, and those that stack before them, as bytes.

    Args:
        raw: ``[lanes * rows_per_lane, F]`` bytes of the frame column.
        lanes, rows, in_episode, episode_row, prefix: as in `locate`.
        out: ``[B, S-1+L, F]``; zeros are written for what is not of the episode.
    """
    _gather_frames(raw, lanes, rows, in_episode, episode_row, out, prefix)


class NStep(NamedTuple):
    """n-step returns of B windows."""

    returns: Float32s
    """``[B]`` sum of gamma^k r_k."""
    discounts: Float32s
    """``[B]`` factor of the bootstrap value, 0 if a terminal step was met."""
    bootstrap_row: Ints
    """``[B]`` row of the window to bootstrap from; if the discount is 0, the row after the terminal one."""


@compiled
def _n_step_at(
    rewards: Float32s,
    terminated: Bools,
    acted: Bools,
    in_episode: Bools,
    b: int,
    start: int,
    n: int,
    gamma: float,
    clip: float,
) -> tuple[float, float, int]:
    total, discount = 0.0, 1.0
    for row in range(start, start + n):
        if not terminated[b, row] and not in_episode[b, row + 1]:
            return total, discount, row
        total += discount * min(max(rewards[b, row], -clip), clip)
        discount *= gamma
        if terminated[b, row]:
            return total, 0.0, row + 1
        if not acted[b, row + 1]:
            return total, discount, row + 1
    return total, discount, start + n


@compiled
def _n_step(
    rewards: Float32s,
    terminated: Bools,
    acted: Bools,
    in_episode: Bools,
    start: int,
    n: int,
    gamma: float,
    clip: float,
    returns: Float32s,
    discounts: Float32s,
    bootstrap_row: Ints,
) -> None:
    for b in range(rewards.shape[0]):
        total, discount, row = _n_step_at(rewards, terminated, acted, in_episode, b, start, n, gamma, clip)
        returns[b], discounts[b], bootstrap_row[b] = total, discount, row


def n_step(
    rewards: Float32s,
    terminated: Bools,
    acted: Bools,
    in_episode: Bools,
    n: int,
    gamma: float,
    reward_clip: float | None = None,
    start: int = 0,
) -> NStep:
    """Sum rewards from row `start` of each window to where n steps, the episode or the stream ends.

    With k counted from `start`: add gamma^k r_k; stop with discount 0 if row k is terminated, and with a
    bootstrap at row k + 1 (discount gamma^(k+1)) if that row did not act or k + 1 = n. If row k is not
    terminated and row k + 1 is of another episode or stream (a seam: the step's outcome is unknown), stop
    with a bootstrap at row k (discount gamma^k), without r_k.

    Args:
        rewards: ``[B, L]`` float32, raw.
        terminated, acted, in_episode: ``[B, L]`` bool; row `start` acted and is in the episode, or the result
            means nothing.
        n: steps, with start + n < L.
        gamma: discount of one step.
        reward_clip: clip rewards to +-this before summing; None leaves them.

    Raises:
        ValueError: the window has no row start + n.

    Source: [Rainbow] section 2 (multi-step learning) for the sum; docs/design/0001-contracts.md for the ends.
    """
    batch, length = rewards.shape
    if n < 1 or start < 0 or start + n >= length:
        raise ValueError(f"a window of {length} rows has no {n} steps and a bootstrap from row {start}")
    result = NStep(np.empty(batch, np.float32), np.empty(batch, np.float32), np.empty(batch, np.int64))
    clip = math.inf if reward_clip is None else float(reward_clip)
    _n_step(rewards, terminated, acted, in_episode, start, n, float(gamma), clip, *result)
    return result


@compiled
def _rescale(x: float, epsilon: float) -> float:
    """Compute h in the form of `rlx.losses.rescaling.rescale`."""
    return x / (math.sqrt(abs(x) + 1.0) + 1.0) + epsilon * x


@compiled
def _inverse_rescale(x: float, epsilon: float) -> float:
    """Compute h^-1 in the form of `rlx.losses.rescaling.inverse_rescale`."""
    root = math.sqrt(1.0 + 4.0 * epsilon * (abs(x) + 1.0 + epsilon))
    signed_w = 2.0 * x / (root + 1.0 + 2.0 * epsilon)
    return signed_w * (abs(signed_w) + 2.0)


@compiled
def _absolute_td(
    rewards: Float32s,
    terminated: Bools,
    acted: Bools,
    in_episode: Bools,
    q_taken: Float32s,
    q_max: Float32s,
    prefix: int,
    n: int,
    gamma: float,
    clip: float,
    eta: float,
    rescaled: bool,
    epsilon: float,
    out: NDArray[np.float64],
) -> None:
    for b in range(rewards.shape[0]):
        largest, total, count = 0.0, 0.0, 0
        for start in range(prefix, rewards.shape[1] - n):
            if not (in_episode[b, start] and acted[b, start]):
                break
            if not terminated[b, start] and not in_episode[b, start + 1]:
                break
            value, discount, row = _n_step_at(
                rewards, terminated, acted, in_episode, b, start, n, gamma, clip
            )
            if discount > 0.0:
                q = float(q_max[b, row])
                value += discount * (_inverse_rescale(q, epsilon) if rescaled else q)
            if rescaled:
                value = _rescale(value, epsilon)
            error = abs(value - q_taken[b, start])
            largest = max(largest, error)
            total += error
            count += 1
        out[b] = eta * largest + (1.0 - eta) * total / count if count > 0 else 0.0


def absolute_td(
    columns: dict[str, Array],
    in_episode: Bools,
    spec: WindowSpec,
    n: int,
    gamma: float,
    reward_clip: float | None,
    eta: float,
    rescale_epsilon: float | None = None,
) -> NDArray[np.float64]:
    """Estimate |TD error| of windows from the values that the acting network gave.

    The target is the n-step return plus the discounted `q_max` of the bootstrap row; with a rescaling h it is
    h(R + gamma^n h^-1(q_max)). Of a window with several learned steps the result is
    eta * max + (1 - eta) * mean over them; the prefix does not count.

    Args:
        columns: `reward terminated acted q_taken q_max`, each ``[B, L]``.
        in_episode: ``[B, L]``.
        spec: gives L and the first learned row.
        rescale_epsilon: epsilon of h, under which `q_taken` and `q_max` stand; None: no h.

    Returns:
        ``[B]`` float64, not negative.

    Source: [ApeX] section 3 (priorities from the actor's values); [R2D2] section 2.3 (eta, h).
    Differs: one network for both parts of double Q-learning.
    """
    out = np.empty(in_episode.shape[0], np.float64)
    clip = math.inf if reward_clip is None else float(reward_clip)
    names = ("reward", "terminated", "acted")
    rewards, terminated, acted = (columns[name] for name in names)
    values = (columns["q_taken"], columns["q_max"])
    rescaled, epsilon = rescale_epsilon is not None, rescale_epsilon or 0.0
    flags = (terminated, acted, in_episode)
    _absolute_td(rewards, *flags, *values, spec.prefix, n, gamma, clip, eta, rescaled, epsilon, out)
    return out
