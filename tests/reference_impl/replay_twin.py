"""A slow replay shard written from the contract, row by row: an oracle for `rlx.replay`, nothing else.

It keeps every row ever sent in Python lists and decides everything anew from them at each question.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rlx.replay.block import Block
from rlx.replay.config import ShardConfig


def squashed(x: float, epsilon: float) -> float:
    """h as it is printed: [Pohlen2018] proposition A.2."""
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + epsilon * x


def unsquashed(x: float, epsilon: float) -> float:
    """h^-1 as it is printed, epsilon > 0."""
    root = (math.sqrt(1 + 4 * epsilon * (abs(x) + 1 + epsilon)) - 1) / (2 * epsilon)
    return math.copysign(root**2 - 1, x)


class ReplayTwin:
    def __init__(self, config: ShardConfig) -> None:
        self.config = config
        self.kept = -(-config.capacity_env_steps // config.num_lanes)
        self.lanes: dict[int, list[dict[str, Any]]] = {}
        self.sent: dict[int, int] = {}

    def add(self, block: Block) -> None:
        for i, lane_id in enumerate(block.lane_ids.tolist()):
            rows = self.lanes.setdefault(lane_id, [])
            stream = int(block.stream_ids[i])
            seam = not rows or rows[-1]["stream"] != stream
            if block.start_rows is not None:
                seam = seam or self.sent[lane_id] != block.start_rows[i]
                self.sent[lane_id] = int(block.start_rows[i])
            elif seam:
                self.sent[lane_id] = 0
            self.sent[lane_id] += block.columns["acted"].shape[1]
            for t in range(block.columns["acted"].shape[1]):
                row = {name: column[i, t] for name, column in block.columns.items()}
                row["stream"] = stream
                row["version"] = block.version
                row["sparse"] = {
                    name: sparse.values[k]
                    for name, sparse in (block.sparse or {}).items()
                    for k in range(len(sparse.rows))
                    if (sparse.lanes[k], sparse.rows[k]) == (i, t)
                }
                if row["first"]:
                    row["start"], row["number"] = len(rows), 0
                elif seam and t == 0:
                    row["start"] = len(rows)
                    row["number"] = 0 if block.episode_rows is None else int(block.episode_rows[i])
                else:
                    row["start"], row["number"] = rows[-1]["start"], rows[-1]["number"] + 1
                rows.append(row)

    def same_episode(self, lane: int, row: int, other: int) -> bool:
        rows = self.lanes[lane]
        return 0 <= other < len(rows) and rows[other]["start"] == rows[row]["start"]

    def stored(self, lane: int, row: int) -> bool:
        return len(self.lanes[lane]) - self.kept <= row < len(self.lanes[lane])

    def ended_by(self, lane: int, row: int, last: int) -> bool:
        """Say whether the episode of `row`, which acted, is known to have ended at or before row `last`."""
        rows = self.lanes[lane]
        for later in range(row + 1, min(last + 1, len(rows))):
            if rows[later]["start"] != rows[row]["start"] or not rows[later]["acted"]:
                return True
        return False

    def is_item(self, lane: int, row: int) -> bool:
        rows, config = self.lanes[lane], self.config
        here = rows[row]
        if not here["acted"] or here["number"] % config.window.period != 0 or not self.stored(lane, row):
            return False
        whole = rows[here["start"]]["first"]
        for back in range(1, config.frame_stack + config.window.prefix):
            if row - back >= here["start"]:
                if not self.stored(lane, row - back):
                    return False
            elif not whole:
                return False
        last = row + config.window.length - config.window.prefix - 1
        if last >= len(rows) and not self.ended_by(lane, row, last):
            return False
        lost = row + 1 < len(rows) and not self.same_episode(lane, row, row + 1) and not here["terminated"]
        return not lost

    def items(self) -> set[tuple[int, int]]:
        return {
            (lane, row)
            for lane, rows in self.lanes.items()
            for row in range(len(rows))
            if self.is_item(lane, row)
        }

    def observation(self, lane: int, row: int) -> np.ndarray:
        rows, frames = self.lanes[lane], []
        for back in reversed(range(self.config.frame_stack)):
            inside = self.same_episode(lane, row, row - back)
            frames.append(rows[row - back]["frame"] if inside else np.zeros_like(rows[row]["frame"]))
        return np.stack(frames)

    def window(self, lane: int, row: int) -> dict[str, Any]:
        """Return what the window of the item at `row` must hold."""
        rows, spec = self.lanes[lane], self.config.window
        numbers = range(row - spec.prefix, row - spec.prefix + spec.length)
        inside = [self.same_episode(lane, row, j) for j in numbers]
        columns = {}
        for name in self.config.columns():
            if name in ("frame", "first"):
                continue
            zero = np.zeros_like(rows[row][name])
            columns[name] = np.stack(
                [rows[j][name] if here else zero for j, here in zip(numbers, inside, strict=True)]
            )
        frames, zero = [], np.zeros_like(rows[row]["frame"])
        for j in range(numbers[0] - self.config.frame_stack + 1, numbers[-1] + 1):
            frames.append(rows[j]["frame"] if self.same_episode(lane, row, j) else zero)
        sparse = {name: self.sparse(lane, row, name) for name in self.config.sparse_columns}
        return {"in_episode": np.array(inside), "columns": columns, "frames": frames, "sparse": sparse}

    def sparse(self, lane: int, row: int, name: str) -> tuple[list[np.ndarray], list[bool]]:
        """Return the values of a sparse column that the window of the item at `row` wants."""
        dtype, shape = self.config.sparse()[name]
        rows, values, known = self.lanes[lane], [], []
        for offset in self.config.offsets:
            wanted = max(row + offset, rows[row]["start"])
            value = None
            if self.same_episode(lane, row, wanted):
                zero = np.zeros(shape, dtype) if rows[wanted]["first"] else None
                value = zero if rows[wanted]["first"] else rows[wanted]["sparse"].get(name)
            known.append(value is not None)
            values.append(np.zeros(shape, dtype) if value is None else value)
        return values, known

    def n_step(self, lane: int, row: int) -> tuple[float, float, int]:
        """Return reward sum, discount and absolute bootstrap row of the step at `row`."""
        rows, config = self.lanes[lane], self.config
        total = 0.0
        for k in range(config.n_step):
            here = rows[row + k]
            if not here["terminated"] and not self.same_episode(lane, row, row + k + 1):
                return total, config.gamma**k, row + k
            reward = float(here["reward"])
            if config.reward_clip is not None:
                reward = max(-config.reward_clip, min(config.reward_clip, reward))
            total += config.gamma**k * reward
            if here["terminated"]:
                return total, 0.0, row + k + 1
            if not rows[row + k + 1]["acted"]:
                return total, config.gamma ** (k + 1), row + k + 1
        return total, config.gamma**config.n_step, row + config.n_step

    def absolute_td(self, lane: int, row: int) -> float:
        total, discount, bootstrap = self.n_step(lane, row)
        rows, epsilon = self.lanes[lane], self.config.rescale_epsilon
        q_max = float(rows[bootstrap]["q_max"]) if discount > 0.0 else 0.0
        if epsilon is None:
            target = total + discount * q_max
        else:
            target = squashed(total + discount * unsquashed(q_max, epsilon), epsilon)
        return abs(target - float(rows[row]["q_taken"]))

    def priority(self, lane: int, row: int) -> float:
        """Return the value on arrival, before the exponent."""
        window, errors = self.config.window, []
        learned = range(window.length - window.prefix - self.config.n_step)
        for step in (row + offset for offset in learned):
            if not self.same_episode(lane, row, step) or not self.lanes[lane][step]["acted"]:
                break
            cut = not self.same_episode(lane, row, step + 1)
            if cut and not self.lanes[lane][step]["terminated"]:
                break
            errors.append(self.absolute_td(lane, step))
        eta = self.config.priority_eta
        mixed = eta * max(errors) + (1 - eta) * sum(errors) / len(errors) if errors else 0.0
        return mixed + self.config.priority_epsilon
