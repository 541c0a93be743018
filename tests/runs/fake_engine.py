"""An engine that learns nothing: counts steps, keeps a weight vector, and fails on demand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlx.errors import EvaluationAbandonedError
from rlx.experiment.resolve import from_mapping

STEPS_PER_ITERATION = 100


def make_spec(**sections: Any) -> Any:
    """Return a resolved spec of one run with small numbers; keyword arguments replace values."""
    values: dict[str, Any] = {
        "name": "fake",
        "algorithm": "dqn",
        "env": "CartPole-v1",
        "seeds": [0],
        "stop": {"env_steps": 500},
        "replay": {"capacity": 2000},
        "training": {"learning_starts_env_steps": 100},
        "checkpointing": {"interval_seconds": None, "interval_env_steps": 200, "keep_last": 2},
        "evaluation": {"at_end": False, "episodes": 3},
        "debugging": {"deterministic": True},
    }
    for key, value in sections.items():
        if isinstance(value, dict) and key != "stop":
            values[key] = {**values.get(key, {}), **value}
        else:
            values[key] = value
    return from_mapping(values)


class FakeJob:
    """A checkpoint that is done after `polls` questions."""

    def __init__(self, engine: FakeEngine, directory: Path, polls: int) -> None:
        self.info = {"env_steps": engine.env_steps, "updates": engine.updates, "restarted_episodes": 1}
        self._engine, self._directory, self._polls, self._written = engine, directory, polls, False
        self._replay = "row\n" * engine.env_steps

    def done(self) -> bool:
        self._polls -= 1
        if self._polls <= 0:
            self._write()
        return self._written

    def wait(self) -> None:
        self._write()

    def _write(self) -> None:
        if not self._written:
            if self._engine.on_write is not None:
                self._engine.on_write(self._directory)
            (self._directory / "replay").mkdir(exist_ok=True)
            (self._directory / "replay" / "rows.bin").write_text(self._replay)
            self._written = True


class FakeEngine:
    """The interface of `rlx.runs.engine.Engine`; `hooks[n]` is called at the start of iteration n.

    `scores` replaces what an evaluation returns at some env steps; by default it is the env steps.
    """

    def __init__(self, seconds_per_iteration: float = 0.0, job_polls: int = 1) -> None:
        self.env_steps = self.updates = self.iterations = 0
        self.weights = [0.0, 0.0]
        self.seconds_per_iteration = seconds_per_iteration
        self.job_polls = job_polls
        self.hooks: dict[int, Any] = {}
        self.on_write: Any = None
        self.on_begin: Any = None
        self.on_evaluate: Any = None
        self.on_save_policy: Any = None
        self.scores: dict[int, float] = {}
        self.extra: dict[str, Any] = {}
        self.restored_from: Path | None = None
        self.stopped = False
        self.evaluations: list[tuple[int, float, int]] = []

    def train(self) -> dict[str, Any]:
        self.iterations += 1
        if self.iterations in self.hooks:
            self.hooks[self.iterations]()
        time.sleep(self.seconds_per_iteration)
        self.env_steps += STEPS_PER_ITERATION
        self.updates += 10
        self.weights = [0.9 * w + self.env_steps for w in self.weights]
        row = {
            "env_steps": self.env_steps,
            "env_frames": 4 * self.env_steps,
            "updates": self.updates,
            "samples": 32 * self.updates,
            "return_mean": self.env_steps / 10 if self.env_steps > 100 else float("nan"),
            "env_steps_per_second": 50.0,
            "env_frames_per_second": 200.0,
            "updates_per_second": 5.0,
            "replay_fill": 0.5,
            "replay_env_steps": self.env_steps,
            "replay_ratio": 7.9,
            "replay_ratio_target": 8.0,
            "policy_lag_updates": 3.0,
            "sample_age_env_steps": 1234.0,
            "runner_wait_fraction": 0.25,
            "learner_wait_fraction": 0.01,
            "healthy_runners": 2,
            "restarted_runners": 0,
            "lost_env_steps": 0,
            **self.extra,
        }
        return {"rlx": row, "episodes": "something nested and heavy"}

    def begin_checkpoint(self, directory: Path) -> FakeJob:
        if self.on_begin is not None:
            self.on_begin(directory)
        state = {"env_steps": self.env_steps, "updates": self.updates, "weights": self.weights}
        (directory / "state.json").write_text(json.dumps(state))
        return FakeJob(self, directory, self.job_polls)

    def restore(self, directory: Path) -> None:
        state = json.loads((directory / "state.json").read_text())
        self.env_steps, self.updates, self.weights = state["env_steps"], state["updates"], state["weights"]
        self.restored_from = directory

    def evaluate_policy(
        self, episodes: int, epsilon: float, seed: int, abandon: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        self.evaluations.append((episodes, epsilon, seed))
        if self.on_evaluate is not None:
            self.on_evaluate()
        if abandon():
            raise EvaluationAbandonedError(f"given up after 0 of {episodes} episodes")
        score = self.scores.get(self.env_steps, self.env_steps)
        returns = [float(score + k) for k in range(episodes)]
        return {"returns": returns, "lengths": [10] * episodes, "seconds": 0.01}

    def save_policy(self, directory: Path) -> None:
        if self.on_save_policy is not None:
            self.on_save_policy(directory)
        (directory / "learner_group").mkdir()
        (directory / "learner_group" / "weights.json").write_text(json.dumps(self.weights))

    def stop(self) -> None:
        self.stopped = True


class RecordingView:
    """Keep what it is told."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.events: list[tuple[str, str]] = []
        self.checkpoints: list[str] = []
        self.started = self.finished = False

    def start(self, context: Any) -> None:
        self.started = True

    def update(self, row: Any) -> None:
        self.rows.append(dict(row))

    def event(self, level: str, text: str) -> None:
        self.events.append((level, text))

    def checkpoint(self, name: str) -> None:
        self.checkpoints.append(name)

    def finish(self, result: Any) -> None:
        self.finished = True

    def warnings(self) -> list[str]:
        return [text for level, text in self.events if level == "warning"]
