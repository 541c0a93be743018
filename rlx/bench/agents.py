"""Whole agents beside RLlib's DQN: in one process, and with one remote runner."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlx.bench import experiments
from rlx.bench.figure import Context, Figure, Row, medians, row
from rlx.experiment.build import build_engine
from rlx.experiment.spec import ExperimentSpec

AGENT_FLOOR = 2.0
REMOTE_FLOOR = 5.0
RLLIB = "rllib/DQN"
#: Updates after which an engine is said to be warm: its first slow calls are behind it.
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
        """Wait until remote runners have answered what they were asked before, and idle."""
        pool = getattr(self.engine, "runners", None)
        if pool is not None and not pool.local:
            time.sleep(0.5)

    def __call__(self, seconds: float) -> float:
        """Train for about `seconds`; return env steps/s.

        The clock starts after one iteration more: it brings what runners collected after the last turn.
        """
        before = self.train()
        started = time.perf_counter()
        while True:
            now = self.train()
            elapsed = time.perf_counter() - started
            if elapsed >= seconds:
                break
        env_steps = now["env_steps"] - before["env_steps"]
        self.env_steps += env_steps
        self.updates += now["updates"] - before["updates"]
        self.settle()
        return float(env_steps / elapsed)

    def stop(self) -> None:
        """End the engine."""
        self.engine.stop()


@dataclass(frozen=True)
class Rates:
    """Medians over the turns of one side."""

    env_steps_per_second: float
    updates_per_second: float


def compare(context: Context, specs: list[ExperimentSpec]) -> list[Rates]:
    """Return the rates of each experiment, trained in turns."""
    sides: list[EngineSide] = []
    try:
        for spec in specs:
            context.say(f"starting {spec.algorithm}")
            sides.append(EngineSide(spec))
            sides[-1].warm_up()
        # A turn has to be long beside RLlib's iterations; together about 40 s each.
        budget = context.budget.scaled(seconds=8 / 3)
        rates = medians(list(sides), budget, context.progress)
        return [
            Rates(rate, rate * side.updates / max(1, side.env_steps))
            for rate, side in zip(rates, sides, strict=True)
        ]
    finally:
        for side in sides:
            side.stop()


def _figure(kind: str, suffix: str, ours: str, make: Callable[..., ExperimentSpec], floor: float) -> Figure:
    steps_name, updates_name = (f"{kind}_{what}_per_second{suffix}" for what in ("env_steps", "updates"))

    def measure(context: Context) -> Iterator[Row]:
        value, limit = compare(
            context, [make(algorithm, quick=context.budget.quick) for algorithm in (ours, RLLIB)]
        )
        yield row(
            steps_name,
            value.env_steps_per_second,
            "env steps/s",
            limit=limit.env_steps_per_second,
            floor=floor,
        )
        yield row(updates_name, value.updates_per_second, "updates/s", limit=limit.updates_per_second)

    return Figure(steps_name, measure, floor, more_names=(updates_name,))


FIGURES = (
    _figure("agent", "_pong", "dqn", experiments.agent, AGENT_FLOOR),
    _figure("remote_runner", "", "apex_dqn", experiments.remote_runner, REMOTE_FLOOR),
)
