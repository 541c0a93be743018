"""Whole agents beside RLlib's DQN: in one process, and with one remote runner."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rlx.bench import experiments
from rlx.bench.figure import Context, Figure, Row, medians, row
from rlx.experiment.build import build_engine
from rlx.experiment.spec import ExperimentSpec

AGENT_FLOOR = 2.0
REMOTE_FLOOR = 5.0
RLLIB = "rllib/DQN"
#: Env steps after which an engine is said to be warm: it learns, and its first slow calls are behind it.
_WARM_UPDATES = 10


class EngineSide:
    """Train an engine for some seconds at a time and count its env steps; nothing runs in between.

    Attributes:
        updates, env_steps: of all turns after the warm-up.
    """

    def __init__(self, spec: ExperimentSpec) -> None:
        self.engine: Any = build_engine(spec, Path(tempfile.gettempdir()))
        self.updates = self.env_steps = 0

    def train(self) -> dict[str, Any]:
        """Run one iteration; its row."""
        result = dict(self.engine.train())
        return dict(result.get("rlx", result))

    def warm_up(self) -> None:
        """Train until updates go on."""
        while self.train()["updates"] < _WARM_UPDATES:
            pass
        self.settle()

    def settle(self) -> None:
        """Wait until remote runners have answered what they were asked before, so that they idle."""
        pool = getattr(self.engine, "runners", None)
        if pool is not None and not pool.local:
            time.sleep(0.5)

    def __call__(self, seconds: float) -> float:
        """Train for about `seconds`; return env steps/s."""
        began = self._counts()
        started = time.perf_counter()
        while True:
            counts = self.train()
            elapsed = time.perf_counter() - started
            if elapsed >= seconds:
                break
        env_steps = counts["env_steps"] - began[0]
        self.env_steps += env_steps
        self.updates += counts["updates"] - began[1]
        self._last = (counts["env_steps"], counts["updates"])
        self.settle()
        return float(env_steps / elapsed)

    _last: tuple[int, int] | None = None

    def _counts(self) -> tuple[int, int]:
        if self._last is None:
            row_ = self.train()
            self._last = (row_["env_steps"], row_["updates"])
        return self._last

    def stop(self) -> None:
        """End the engine."""
        self.engine.stop()


def compare(context: Context, specs: list[ExperimentSpec]) -> tuple[float, float]:
    """Return env steps/s of ours and of RLlib's, trained in turns."""
    sides: list[EngineSide] = []
    try:
        for spec in specs:
            context.say(f"starting {spec.algorithm}")
            sides.append(EngineSide(spec))
            sides[-1].warm_up()
        # A turn has to be long beside RLlib's iterations; together about 40 s each.
        budget = context.budget.scaled(seconds=8 / 3)
        ours, limit = medians(list(sides), budget, context.progress)
        for spec, side in zip(specs, sides, strict=True):
            per_update = side.env_steps / max(1, side.updates)
            context.say(f"{spec.algorithm}: one update per {per_update:.1f} env steps")
    finally:
        for side in sides:
            side.stop()
    return ours, limit


def _figure(
    name: str, ours: str, make: Callable[..., ExperimentSpec], floor: float
) -> Callable[[Context], Iterator[Row]]:
    def measure(context: Context) -> Iterator[Row]:
        specs = [make(algorithm, quick=context.budget.quick) for algorithm in (ours, RLLIB)]
        value, limit = compare(context, specs)
        yield row(name, value, "env steps/s", limit=limit, floor=floor)

    return measure


def _made(name: str, ours: str, make: Callable[..., ExperimentSpec], floor: float) -> Figure:
    return Figure(name, _figure(name, ours, make, floor), floor)


FIGURES = (
    _made("agent_env_steps_per_second_pong", "dqn", experiments.agent, AGENT_FLOOR),
    _made("remote_runner_env_steps_per_second", "apex_dqn", experiments.remote_runner, REMOTE_FLOOR),
)
