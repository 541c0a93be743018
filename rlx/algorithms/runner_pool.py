"""Asking runners for blocks and taking their reports, in this process or in others."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rlx.actors.env_runner import CollectReport, CollectRequest
from rlx.algorithms.gone import gone, gone_error
from rlx.algorithms.shard_group import ShardGroup

logger = logging.getLogger(__name__)

_TAG = "collect"


@dataclass
class _Runner:
    """What the pool knows of one runner."""

    sent_version: int = -1
    steps_since_weights: int = 1 << 60
    last_answer: float = 0.0
    in_flight: int = 0


class RunnerPool:
    """Keep every healthy runner busy with up to `max_requests_in_flight` requests.

    With no runner processes the one in the driver is called directly, by the same requests.

    Args:
        group: RLlib's group of runners.
        shards: where their blocks go.
        config: a `ReplayConfig`.
    """

    def __init__(self, group: EnvRunnerGroup, shards: ShardGroup, config: Any) -> None:
        self.group = group
        self.shards = shards
        self.settings = config.rlx.env_runners
        self.faults = config.rlx.fault_tolerance
        self.timeout_seconds = self.faults.runner_timeout_seconds
        self.local = group.num_remote_env_runners() == 0
        self.shares_parameters = False
        ids = [0] if self.local else group.healthy_env_runner_ids()
        self._runners = {index: _Runner(last_answer=time.monotonic()) for index in ids}
        self._done: list[CollectReport] = []
        self.restarts = 0

    @property
    def _manager(self) -> Any:
        return self.group._worker_manager

    def wants_weights(self) -> bool:
        """Return whether a runner is due for newer weights at its next request."""
        if self.shares_parameters:
            return False
        period = self.settings.weights_pull_period_env_steps
        return any(runner.steps_since_weights >= period for runner in self._runners.values())

    def forget_weights(self) -> None:
        """Send every runner weights at its next request, also older ones (the learners were replaced)."""
        for runner in self._runners.values():
            runner.sent_version = -1
            runner.steps_since_weights = 1 << 60

    def _request(self, index: int, env_steps: int, weights: Any, version: int) -> CollectRequest:
        runner = self._runners[index]
        steps = self.settings.rollout_length_env_steps
        due = runner.steps_since_weights >= self.settings.weights_pull_period_env_steps
        fresh = due and weights is not None and version > runner.sent_version
        if fresh:
            runner.sent_version = version
            runner.steps_since_weights = 0
        runner.steps_since_weights += steps
        return CollectRequest(
            steps=steps,
            env_steps=env_steps,
            shard=self.shards.for_runner(index) if self.local or self.shards.remote else None,
            weights=weights if fresh else None,
            version=version if fresh or self.shares_parameters else runner.sent_version,
        )

    def submit(self, env_steps: int, weights: Any, version: int) -> int:
        """Send requests to all runners that have room for one; return how many."""
        if self.local:
            runner = self.group.local_env_runner
            self._done.append(runner.collect(self._request(0, env_steps, weights, version)))
            return 1
        sent = 0
        for index in self.group.healthy_env_runner_ids():
            state = self._runners[index]
            while state.in_flight < self.settings.max_requests_in_flight:
                request = self._request(index, env_steps, weights, version)
                fired = self._manager.foreach_actor_async(
                    ["collect"], tag=_TAG, kwargs=[{"request": request}], remote_actor_ids=[index]
                )
                if not fired:
                    break
                if state.in_flight == 0:
                    state.last_answer = time.monotonic()
                state.in_flight += 1
                sent += 1
        return sent

    @property
    def in_flight(self) -> int:
        """Return how many requests are unanswered."""
        return sum(runner.in_flight for runner in self._runners.values())

    def ready(self, timeout_seconds: float = 0.0) -> list[CollectReport]:
        """Return the reports that came in; wait up to `timeout_seconds` for the first."""
        if self.local:
            done, self._done = self._done, []
            return done
        if timeout_seconds and not self.in_flight:
            time.sleep(timeout_seconds)  # no runner works: do not spin until one is back
        elif timeout_seconds:
            references = list(self._manager._in_flight_req_to_actor_id)
            ray.wait(references, num_returns=1, timeout=timeout_seconds, fetch_local=False)
        reports = []
        for result in self._manager.fetch_ready_async_reqs(tags=_TAG, timeout_seconds=0.0):
            state = self._runners[result.actor_id]
            if result.ok:
                state.in_flight = max(0, state.in_flight - 1)
                state.last_answer = time.monotonic()
                reports.append(self._take_in(result.get()))
            else:
                logger.info("runner %d failed: %s", result.actor_id, result.get())
                self._forget(result.actor_id)
        self._end_silent_runners()
        return reports

    def _take_in(self, report: CollectReport) -> CollectReport:
        """Put a block that came with its report into the shard in this process."""
        if report.block is not None:
            self.shards.for_runner(report.worker_index).add(report.block)
            report.block = None
        return report

    def _forget(self, index: int) -> None:
        """Treat a runner as new: its requests are gone and so are its weights."""
        self._runners[index] = _Runner(last_answer=time.monotonic())

    def _end_silent_runners(self) -> None:
        """Kill runners that hold a request and have not answered for too long; Ray restarts them."""
        now = time.monotonic()
        for index, state in self._runners.items():
            if state.in_flight and now - state.last_answer > self.timeout_seconds:
                logger.warning("runner %d did not answer for %.0f s", index, now - state.last_answer)
                ray.kill(self._manager.actors()[index], no_restart=False)
                state.last_answer = now

    def restored(self, indices: list[int]) -> list[str]:
        """Note runners that came back after a restart; return a sentence for each."""
        for index in indices:
            self._forget(index)
        self.restarts += len(indices)
        return [
            f"runner {index} died and was restarted; its episodes in progress are lost" for index in indices
        ]

    def check_gone(self) -> None:
        """Raise if a runner died and is not started again.

        Raises:
            ProcessGoneError: naming it.
        """
        if self.local:
            return
        unhealthy = set(self._runners) - set(self.group.healthy_env_runner_ids())
        actors = self._manager.actors()
        for name in gone({f"runner {index}": actors[index].ping.remote() for index in sorted(unhealthy)}):
            raise gone_error(name, self.faults.restart_failed_env_runners, self.faults.max_restarts)

    @property
    def healthy(self) -> int:
        """Return how many runners work."""
        return 1 if self.local else self.group.num_healthy_remote_workers()

    def lane_states(self) -> dict[int, Any]:
        """Wait for blocks on their way, and return every runner's lane state by index."""
        if self.local:
            return {0: self.group.local_env_runner.get_lane_state()}
        results = self._manager.foreach_actor(_flushed_lane_state, timeout_seconds=self.timeout_seconds)
        return {result.actor_id: result.get() for result in results if result.ok}

    def set_lane_states(self, states: dict[int, Any]) -> int:
        """Give runners their state back; return how many went on with their episodes."""
        if self.local:
            return int(self.group.local_env_runner.set_lane_state(states[0]))
        going_on = 0
        for index in set(states) & set(self._runners):
            reference = self._manager.actors()[index].set_lane_state.remote(states[index])
            going_on += int(ray.get(reference))
        return going_on

    def restart_episodes(self, seed: int) -> None:
        """Start every lane anew (deterministic mode, where an emulator cannot be saved)."""
        if self.local:
            self.group.local_env_runner.restart_episodes(seed)


def _flushed_lane_state(runner: Any) -> Any:
    runner.flush()
    return runner.get_lane_state()
