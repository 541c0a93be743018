"""A slow replay shard written from the contract, row by row: an oracle for `rlx.replay`, nothing else.

It keeps every row ever sent in Python lists and decides everything anew from them at each question.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rlx.replay.block import Block
from rlx.replay.config import ShardConfig


class ReplayTwin:
    def __init__(self, config: ShardConfig) -> None:
        self.config = config
        self.kept = -(-config.capacity_env_steps // config.num_lanes)
        self.lanes: dict[int, list[dict[str, Any]]] = {}

    def add(self, block: Block) -> None:
        for i, lane_id in enumerate(block.lane_ids.tolist()):
            rows = self.lanes.setdefault(lane_id, [])
            for t in range(block.columns["acted"].shape[1]):
                row = {name: column[i, t] for name, column in block.columns.items()}
                row["stream"] = int(block.stream_ids[i])
                row["version"] = block.version
                begins = not rows or row["first"] or rows[-1]["stream"] != row["stream"]
                row["start"] = len(rows) if begins else rows[-1]["start"]
                rows.append(row)

    def same_episode(self, lane: int, row: int, other: int) -> bool:
        rows = self.lanes[lane]
        return 0 <= other < len(rows) and rows[other]["start"] == rows[row]["start"]

    def stored(self, lane: int, row: int) -> bool:
        return len(self.lanes[lane]) - self.kept <= row < len(self.lanes[lane])

    def ended_by(self, lane: int, row: int, last: int) -> bool:
        """Say whether the episode of `row` is known to have ended at or before row `last`."""
        rows = self.lanes[lane]
        for later in range(row + 1, min(last + 1, len(rows))):
            if rows[later]["start"] != rows[row]["start"] or not rows[later]["acted"]:
                return True
        return False

    def is_item(self, lane: int, row: int) -> bool:
        rows, config = self.lanes[lane], self.config
        here = rows[row]
        number = row - here["start"]
        if not here["acted"] or number % config.window.period != 0 or not self.stored(lane, row):
            return False
        whole = rows[here["start"]]["first"]
        for back in range(1, config.frame_stack):
            if number >= back:
                if not self.stored(lane, row - back):
                    return False
            elif not whole:
                return False
        last = row + config.window.length - 1
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
        rows, length = self.lanes[lane], self.config.window.length
        inside = [self.same_episode(lane, row, row + j) for j in range(length)]
        columns = {}
        for name in rows[row]:
            if name in ("frame", "first", "stream", "version", "start"):
                continue
            zero = np.zeros_like(rows[row][name])
            columns[name] = np.stack([rows[row + j][name] if inside[j] else zero for j in range(length)])
        return {"in_episode": np.array(inside), "columns": columns}

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
        rows = self.lanes[lane]
        value = discount * float(rows[bootstrap]["q_max"]) if discount > 0.0 else 0.0
        return abs(total + value - float(rows[row]["q_taken"]))

    def priority(self, lane: int, row: int) -> float:
        """Return the value on arrival, before the exponent."""
        window, errors = self.config.window, []
        learned = range(window.prefix, window.length - self.config.n_step)
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
