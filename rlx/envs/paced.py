"""Built-in lanes whose steps keep a schedule."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rlx.envs.batched import BatchedLanes
from rlx.envs.latency import FixedLatency
from rlx.envs.spec import EnvSpec
from rlx.envs.vector import EnvStep


class Pace:
    """An absolute schedule: each `wait` ends `seconds` after the one before was due.

    Args:
        seconds: between two.
        clock: seconds of a clock that never goes back.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self._due: float | None = None

    def restart(self) -> None:
        """Forget the schedule: the next wait takes `seconds` from its call on."""
        self._due = None

    def wait(self) -> None:
        """Sleep until the next step is due; not at all if that is past. At most one step is caught up on."""
        now = self._clock()
        due = now if self._due is None else self._due
        self._due = max(due + self.seconds, now - self.seconds)
        if self._due > now:
            self._sleep(self._due - now)


class PacedLanes(BatchedLanes):
    """Lanes of `FixedLatency`: one wait a step, for all of them."""

    def __init__(self, spec: EnvSpec, num_envs: int, seed: int, pace: Pace | None = None) -> None:
        """Prepare the lanes; `pace` is the task's own if None."""
        super().__init__(spec, num_envs, seed)
        assert isinstance(self._task, FixedLatency)
        self._pace = pace or Pace(self._task.latency_seconds)

    def reset(self, seed: int | None = None) -> NDArray[np.float32]:
        """Start every lane anew, which takes no time, and the schedule with them."""
        self._pace.restart()
        return super().reset(seed)

    def step(self, actions: NDArray[np.int64]) -> EnvStep:
        """Advance every lane by one step when it is due."""
        self._pace.wait()
        return super().step(actions)
