"""Whole agents beside RLlib's DQN: in one process, and with one remote runner.

RLlib's DQN is measured twice: with its own network of the same size on the float images of its own Atari
wrapper, which is what its users run, and with the network and byte frames of rlx, which spares it some work.
The environments are the same C++ ones in all.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from rlx.bench import experiments
from rlx.bench.figure import Context, Figure, Row, medians, row
from rlx.experiment.build import build_engine, start_ray
from rlx.experiment.spec import ExperimentSpec

AGENT_FLOOR = 2.0
REMOTE_FLOOR = 5.0
#: Updates after which an engine is said to be warm: its first slow calls are behind it.
_WARM_UPDATES = 10
#: What Ray is told there is: the three engines are alive together, though only one at a time works.
_RAY_CPUS = 8


@dataclass(frozen=True)
class TorchSwitches:
    """What an engine sets in torch for its whole process: RLlib and rlx set it differently."""

    deterministic: bool
    fill_memory: bool

    @classmethod
    def now(cls) -> TorchSwitches:
        """Read them."""
        fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        return cls(torch.are_deterministic_algorithms_enabled(), bool(fill))

    def restore(self) -> None:
        """Set them."""
        torch.use_deterministic_algorithms(self.deterministic, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = self.fill_memory  # type: ignore[attr-defined]


#: As torch starts.
_FRESH = TorchSwitches(deterministic=False, fill_memory=True)


class EngineSide:
    """Train an engine for some seconds at a time and count its env steps; nothing runs in between.

    It always runs with torch's switches as its building left them: engines share a process here.

    Args:
        engine: see `rlx.runs.engine.Engine`; just built.

    Attributes:
        updates, env_steps: of all turns after the warm-up.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.switches = TorchSwitches.now()
        self.updates = self.env_steps = 0

    def train(self) -> dict[str, Any]:
        """Run one iteration; its row."""
        result = dict(self.engine.train())
        return dict(result.get("rlx", result))

    def warm_up(self) -> None:
        """Train until updates go on."""
        self.switches.restore()
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
        self.switches.restore()
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


def builders(ours: str, make: Callable[..., ExperimentSpec], quick: bool) -> dict[str, Callable[[], Any]]:
    """Return label -> what builds the engine: ours, RLlib's DQN as it is, and with our network on bytes."""
    folder = Path(tempfile.gettempdir())
    own, theirs = make(ours, quick=quick), make("rllib/DQN", quick=quick)
    if ray.is_initialized() and ray.cluster_resources().get("CPU", 0) < _RAY_CPUS:
        ray.shutdown()  # an earlier figure's
    start_ray(own, at_least_cpus=_RAY_CPUS)

    def rllib(network: Any) -> Any:
        from rlx.algorithms.rllib_dqn import build_rllib_engine

        return build_rllib_engine(theirs, folder, network)

    return {
        f"rlx {ours}": lambda: build_engine(own, folder),
        "RLlib's DQN": lambda: rllib("rllib"),
        "RLlib's DQN with the network and frames of rlx": lambda: rllib("shared"),
    }


def compare(context: Context, made_by: Mapping[str, Callable[[], Any]]) -> list[Rates]:
    """Return the rates of each engine, trained in turns."""
    sides: list[EngineSide] = []
    try:
        for label, build in made_by.items():
            context.say(f"starting {label}")
            _FRESH.restore()
            sides.append(EngineSide(build()))
            sides[-1].warm_up()
        # A turn has to be long beside an iteration.
        rates = medians(list(sides), context.budget.scaled(seconds=2.0), context.progress)
        return [
            Rates(rate, rate * side.updates / max(1, side.env_steps))
            for rate, side in zip(rates, sides, strict=True)
        ]
    finally:
        for side in sides:
            side.stop()


def _figure(kind: str, suffix: str, ours: str, make: Callable[..., ExperimentSpec], floor: float) -> Figure:
    steps, updates = (f"{kind}_{what}_per_second{suffix}" for what in ("env_steps", "updates"))
    shared = f"{steps}_same_network"

    def measure(context: Context) -> Iterator[Row]:
        value, rllib, bytes_ = compare(context, builders(ours, make, context.budget.quick))
        rate, unit = value.env_steps_per_second, "env steps/s"
        yield row(steps, rate, unit, limit=rllib.env_steps_per_second, floor=floor)
        yield row(shared, rate, unit, limit=bytes_.env_steps_per_second)
        yield row(updates, value.updates_per_second, "updates/s", limit=rllib.updates_per_second)

    return Figure(steps, measure, floor, more_names=(shared, updates))


FIGURES = (
    _figure("agent", "_pong", "dqn", experiments.agent, AGENT_FLOOR),
    _figure("remote_runner", "", "apex_dqn", experiments.remote_runner, REMOTE_FLOOR),
)
