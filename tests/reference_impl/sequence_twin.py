"""R2D2's loss as loops over steps, with numbers instead of tensors: an oracle for tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np


def h(x: float, epsilon: float = 1e-3) -> float:
    """Squash, as printed."""
    return math.copysign(math.sqrt(abs(x) + 1.0) - 1.0, x) + epsilon * x


def h_inverse(x: float, epsilon: float = 1e-3) -> float:
    """Undo `h`, as printed."""
    root = math.sqrt(1.0 + 4.0 * epsilon * (abs(x) + 1.0 + epsilon))
    return math.copysign(((root - 1.0) / (2.0 * epsilon)) ** 2 - 1.0, x)


def sequence_errors(
    q: Sequence[Sequence[float]],
    q_target: Sequence[Sequence[float]],
    actions: Sequence[int],
    rewards: Sequence[float],
    terminated: Sequence[bool],
    acted: Sequence[bool],
    in_episode: Sequence[bool],
    *,
    learned: int,
    n: int,
    gamma: float,
    squash: Callable[[float], float] = h,
    unsquash: Callable[[float], float] = h_inverse,
) -> list[float | None]:
    """TD errors of the learned rows of one window; None where a row is not learned from."""
    errors: list[float | None] = []
    for t in range(learned):
        last_before_seam = not terminated[t] and not in_episode[t + 1]
        if not (in_episode[t] and acted[t]) or last_before_seam:
            errors.append(None)
            continue
        total, discount, row = 0.0, 1.0, t
        while row < t + n:
            if not terminated[row] and not in_episode[row + 1]:
                break  # a seam: what came of this step is unknown
            total += discount * rewards[row]
            discount *= gamma
            row += 1
            if terminated[row - 1]:
                discount = 0.0
                break
            if not acted[row]:
                break
        if discount:
            best = int(np.argmax(q[row]))
            total += discount * unsquash(q_target[row][best])
        errors.append(squash(total) - q[t][actions[t]])
    return errors
