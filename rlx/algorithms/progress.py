"""Counting what a run has done, and the row of metrics that everything downstream reads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from rlx.actors.env_runner import CollectReport
from rlx.learners.replay_learner import LearnReport

#: Training episodes that `return_mean` is taken over.
EPISODE_WINDOW = 100


class Progress:
    """Counters of a run and what was seen since the last row.

    Args:
        frames_per_step: emulator frames per env step.
    """

    def __init__(self, frames_per_step: int) -> None:
        self.frames_per_step = frames_per_step
        self.env_steps = 0
        self.updates = 0
        self.samples = 0
        self.episodes = 0
        self.lost_env_steps = 0
        self.seconds = 0.0
        self.returns: deque[float] = deque(maxlen=EPISODE_WINDOW)
        self.lengths: deque[int] = deque(maxlen=EPISODE_WINDOW)
        self._newest: dict[str, float] = {}
        self._begin_interval()

    def _begin_interval(self) -> None:
        self._since = time.perf_counter()
        self._env_steps_before = self.env_steps
        self._updates_before = self.updates
        self.runner_wait_seconds = 0.0
        self.learner_wait_seconds = 0.0

    def add_collected(self, report: CollectReport) -> None:
        """Count a block."""
        self.env_steps += report.env_steps
        self.lost_env_steps += report.lost_env_steps
        self.episodes += len(report.episodes)
        self.returns.extend(episode.episode_return for episode in report.episodes)
        self.lengths.extend(episode.length_env_steps for episode in report.episodes)
        if report.epsilon_mean is not None:
            self._newest["epsilon_mean"] = report.epsilon_mean
        self._newest.update(report.plugin_metrics)

    def add_learned(self, report: LearnReport) -> None:
        """Count updates."""
        if not report.updates:
            return
        self.updates = report.total_updates
        self.samples += report.samples
        self.learner_wait_seconds += report.wait_seconds
        self._newest.update(report.metrics)
        self._newest["policy_lag_updates"] = report.policy_lag_updates
        self._newest["sample_age_env_steps"] = report.sample_age_env_steps
        self._newest["queue_depth"] = report.queue_depth

    def row(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row of metrics since the last one and begin the next interval."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        self.seconds += seconds
        steps_per_second = (self.env_steps - self._env_steps_before) / seconds
        row: dict[str, Any] = {
            "env_steps": self.env_steps,
            "env_frames": self.env_steps * self.frames_per_step,
            "updates": self.updates,
            "samples": self.samples,
            "episodes": self.episodes,
            "seconds": self.seconds,
            "env_steps_per_second": steps_per_second,
            "env_frames_per_second": steps_per_second * self.frames_per_step,
            "updates_per_second": (self.updates - self._updates_before) / seconds,
            "runner_wait_fraction": min(1.0, self.runner_wait_seconds / seconds),
            "learner_wait_fraction": min(1.0, self.learner_wait_seconds / seconds),
            "lost_env_steps": self.lost_env_steps,
        }
        if self.returns:
            row["return_mean"] = float(np.mean(self.returns))
            row["return_max"] = float(np.max(self.returns))
            row["episode_length_mean"] = float(np.mean(self.lengths))
        row.update(self._newest)
        row.update(extra)
        self._begin_interval()
        return row

    def get_state(self) -> dict[str, Any]:
        """Return the counters."""
        names = ("env_steps", "updates", "samples", "episodes", "lost_env_steps", "seconds")
        counters = {name: getattr(self, name) for name in names}
        return {**counters, "returns": list(self.returns), "lengths": list(self.lengths)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take `get_state`'s result."""
        for name, value in state.items():
            if name in ("returns", "lengths"):
                getattr(self, name).clear()
                getattr(self, name).extend(value)
            else:
                setattr(self, name, value)
        self._begin_interval()
