"""A built-in environment whose steps take a fixed time, for measuring how runners scale.

`rlx/envs/paced.py` makes the time pass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlx.envs.memory import Bools, Floats, Ints

#: The fractional part of the golden ratio: its multiples, modulo 1, fill [0, 1) evenly.
_STRIDE = 0.6180339887498949


class FixedLatency:
    """Wait for a slow simulator: a step of all lanes of a runner together takes `latency_seconds`.

    A step is due `latency_seconds` after the one before was due, as in a simulator that runs on a clock of
    its own. So whatever else the runner does between two steps (its network, blocks, waiting for a request)
    is hidden as long as it takes less than the latency, and the rate is `1 / latency_seconds` exactly; beyond
    that it is what the processor gives. A runner that is late catches up on one step at most: delays are not
    made good later. It shows how many such runners the rest of the system bears, not how fast a runner is.

    The frame is float32 `[1]`, a number in [0, 1) that changes with every step; the reward is that number,
    whatever the action. An episode has `length` steps.
    """

    num_actions = 2
    frame_shape: tuple[int, ...] = (1,)

    def __init__(self, latency_seconds: float = 0.1, length: int = 100) -> None:
        """Choose the time of a step and the steps of an episode."""
        number = isinstance(latency_seconds, int | float) and not isinstance(latency_seconds, bool)
        if not number or not 0 <= latency_seconds <= 60:
            raise ValueError(f"latency_seconds = {latency_seconds!r} must be a number from 0 to 60")
        if not isinstance(length, int) or isinstance(length, bool) or length < 1:
            raise ValueError(f"length = {length!r} must be a whole number of at least 1")
        self.latency_seconds = float(latency_seconds)
        self.length = length

    def start(self, rng: np.random.Generator) -> Floats:
        """Draw the first number, `[1]`."""
        return rng.random(1)

    def advance(self, variables: Floats, steps: Ints, actions: Ints) -> tuple[Floats, Floats, Bools]:
        """Move on to the next number and pay it, see `Task.advance`."""
        after = (variables + _STRIDE) % 1.0
        return after, after[:, 0].copy(), steps + 1 == self.length

    def observe(self, variables: Floats, steps: Ints) -> NDArray[np.float32]:
        """Show the number, `[N, 1]`."""
        return variables.astype(np.float32)
