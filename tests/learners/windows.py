"""Windows with made-up contents, and a shard that gives them out."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlx.replay.windows import Windows


def make_windows(
    rng: np.random.Generator,
    *,
    batch: int = 8,
    n_step: int = 3,
    stack: int = 1,
    frame_shape: tuple[int, ...] = (4,),
    num_actions: int = 2,
    dtype: Any = np.float32,
) -> Windows:
    """Draw windows: some whole, some that terminate, some that are truncated, some at a seam."""
    length = 1 + n_step
    frames = rng.normal(size=(batch, stack - 1 + length, *frame_shape)).astype(dtype)
    columns = {
        "action": rng.integers(0, num_actions, (batch, length)).astype(np.int32),
        "reward": rng.normal(size=(batch, length)).astype(np.float32) * 2,
        "terminated": np.zeros((batch, length), bool),
        "truncated": np.zeros((batch, length), bool),
        "acted": np.ones((batch, length), bool),
        "q_taken": rng.normal(size=(batch, length)).astype(np.float32),
        "q_max": rng.normal(size=(batch, length)).astype(np.float32),
    }
    in_episode = np.ones((batch, length), bool)
    for b in range(batch):
        at = int(rng.integers(0, n_step))
        match b % 4:
            case 1:
                columns["terminated"][b, at] = True
                _end(columns, in_episode, b, at)
            case 2:
                columns["truncated"][b, at] = True
                _end(columns, in_episode, b, at)
            case 3:
                in_episode[b, max(at, 1) + 1 :] = False
    for column in columns.values():
        column[~in_episode] = 0
    probabilities = rng.random(batch) / batch
    return Windows(
        frames=frames,
        columns=columns,
        in_episode=in_episode,
        item_ids=np.arange(batch, dtype=np.int64),
        probabilities=probabilities,
        size=100,
        age_env_steps=np.full(batch, 10.0, np.float32),
        versions=np.zeros(batch, np.int64),
    )


def _end(columns: dict[str, np.ndarray], in_episode: np.ndarray, b: int, at: int) -> None:
    columns["acted"][b, at + 1] = False
    columns["reward"][b, at + 1] = 0.0
    in_episode[b, at + 2 :] = False


class WindowShard:
    """Give out prepared windows in order; keep the priorities that come back."""

    def __init__(self, batches: list[Windows]) -> None:
        self.batches = list(batches)
        self.priorities: list[tuple[np.ndarray, np.ndarray]] = []
        self.asked: list[int] = []

    def sample(self, batch_size: int) -> Windows | None:
        self.asked.append(batch_size)
        return self.batches.pop(0) if self.batches else None

    def update_priorities(self, item_ids: np.ndarray, priorities: np.ndarray) -> int:
        self.priorities.append((item_ids, priorities.copy()))
        return len(item_ids)
