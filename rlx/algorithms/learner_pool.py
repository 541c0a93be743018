"""Asking learners for updates: one in this process, or several in step in processes of their own."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import ray
from ray.rllib.core.learner.learner_group import LearnerGroup

from rlx.learners.replay_learner import LearnReport

#: Seconds of work that one request to remote learners should be.
_GRANT_SECONDS = 0.5
#: Requests that remote learners may have before them; more would be dropped or act on old budgets.
_MAX_IN_FLIGHT = 2


class LearnersDiedError(Exception):
    """A learner process is gone."""


class LearnerPool:
    """Grant updates to the learners and take their reports.

    Several learners do every update together (DDP), so all get the same number of updates at a time.

    Args:
        group: RLlib's learner group.
        config: a `ReplayConfig`.
    """

    def __init__(self, group: LearnerGroup, config: Any) -> None:
        self.group = group
        self.config = config
        self.local = group.is_local
        self.batch_size = config.rlx.training.batch_size
        self._in_flight: list[tuple[list[Any], int]] = []
        self._grant = 1

    @property
    def _workers(self) -> list[Any]:
        return list(self.group._workers)

    @property
    def local_learner(self) -> Any:
        """Return the learner in this process."""
        return self.group._learner

    def connect(self, shards: list[Any]) -> None:
        """Tell every learner where its windows come from."""
        if self.local:
            self.local_learner.connect(shards)
        else:
            self._get([worker.connect.remote(shards) for worker in self._workers])

    def total_updates(self) -> int:
        """Return how many updates the learners have behind them."""
        if self.local:
            return int(self.local_learner.total_updates())
        return int(self._get([self._workers[0].total_updates.remote()])[0])

    @property
    def updates_in_flight(self) -> int:
        """Return how many updates have been granted and not yet reported."""
        return sum(updates for _, updates in self._in_flight)

    def learn(self, max_updates: int, seconds: float, env_steps: int) -> list[LearnReport]:
        """Have up to `max_updates` updates done; `env_steps` is how far the run is.

        In this process that takes up to about `seconds`. Remote learners are only asked; what returns
        are the reports of earlier requests that have come in.
        """
        if self.local:
            return [self.local_learner.learn(max_updates, seconds, env_steps)] if max_updates > 0 else []
        # Before reports are taken: the caller has not counted theirs yet.
        updates = min(max_updates - self.updates_in_flight, self._grant)
        reports = self.ready()
        room = len(self._in_flight) < _MAX_IN_FLIGHT
        if room and updates > 0:
            references = [worker.learn.remote(updates, None, env_steps) for worker in self._workers]
            self._in_flight.append((references, updates))
        return reports

    def ready(self, timeout_seconds: float = 0.0) -> list[LearnReport]:
        """Return reports of requests that all learners have finished."""
        reports = []
        while self._in_flight:
            references, updates = self._in_flight[0]
            done, _ = ray.wait(references, num_returns=len(references), timeout=timeout_seconds)
            if len(done) < len(references):
                break
            self._in_flight.pop(0)
            parts: list[LearnReport] = self._get(references)
            report = merge_reports(parts)
            seconds = report.busy_seconds + report.wait_seconds
            if report.updates == updates and seconds > 0:
                self._grant = max(1, min(1000, int(_GRANT_SECONDS * report.updates / seconds)))
            reports.append(report)
            timeout_seconds = 0.0
        return reports

    def drain(self) -> list[LearnReport]:
        """Wait for everything that was granted."""
        reports = []
        while self._in_flight:
            reports += self.ready(timeout_seconds=60.0)
        return reports

    def weights(self) -> Any:
        """Return the newest acting weights: a dict in this process, else a reference."""
        if self.local:
            return self.local_learner.get_weights()
        return self._workers[0].get_weights.remote()

    def _get(self, references: list[Any]) -> list[Any]:
        try:
            return ray.get(references)
        except (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError) as error:
            self._in_flight.clear()
            raise LearnersDiedError(str(error).splitlines()[0]) from error

    def alive(self, timeout_seconds: float = 5.0) -> bool:
        """Return whether every learner process answers or is merely busy."""
        if self.local:
            return True
        references = [worker.ping.remote() for worker in self._workers]
        deadline = time.monotonic() + timeout_seconds
        for reference in references:
            try:
                ray.get(reference, timeout=max(0.0, deadline - time.monotonic()))
            except ray.exceptions.GetTimeoutError:
                continue
            except ray.exceptions.RayError:
                return False
        return True

    def replace(
        self, group: LearnerGroup, learner_checkpoint: Path | None, weights: Any, updates: int
    ) -> None:
        """Go on with new learners: from a checkpoint, else from weights with `updates` behind them."""
        self.group = group
        self._in_flight.clear()
        if learner_checkpoint is not None:
            group.restore_from_path(learner_checkpoint)
        elif weights is not None:
            self._get([worker.start_from_weights.remote(weights, updates) for worker in self._workers])


def merge_reports(reports: list[LearnReport]) -> LearnReport:
    """Merge the reports of learners that did the same updates: samples add up, the rest averages."""
    if len(reports) == 1:
        return reports[0]
    count = len(reports)
    metrics: dict[str, float] = defaultdict(float)
    for report in reports:
        for name, value in report.metrics.items():
            metrics[name] += value / count
    return LearnReport(
        updates=reports[0].updates,
        total_updates=reports[0].total_updates,
        samples=sum(report.samples for report in reports),
        metrics=dict(metrics),
        sample_age_env_steps=sum(report.sample_age_env_steps for report in reports) / count,
        policy_lag_updates=sum(report.policy_lag_updates for report in reports) / count,
        wait_seconds=max(report.wait_seconds for report in reports),
        busy_seconds=max(report.busy_seconds for report in reports),
        queue_depth=sum(report.queue_depth for report in reports),
        starved=any(report.starved for report in reports),
    )
