"""Asking runners for blocks and taking their reports, in this process or in others."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import ray

from rlx.actors.env_runner import CollectReport, CollectRequest
from rlx.algorithms.gone import gone_error, overdue_error
from rlx.algorithms.nodes import NodeWatch
from rlx.algorithms.runner_group import PlacedRunnerGroup, Whereabouts
from rlx.algorithms.shard_group import ShardGroup

logger = logging.getLogger(__name__)

_TAG = "collect"
#: Seconds between two looks at runners that are out of service.
_PROBE_SECONDS = 1.0
#: Seconds that a runner gets, beyond the time of a request, to hand over what it remembers.
_STATE_SECONDS = 5.0


@dataclass
class _Runner:
    """What the pool knows of one runner."""

    sent_version: int = -1
    steps_since_weights: int = 1 << 60
    last_answer: float = 0.0
    in_flight: int = 0
    answer_seconds: float = 0.0
    away_since: float | None = None


class RunnerPool:
    """Keep every healthy runner busy with up to `max_requests_in_flight` requests.

    With no runner processes the one in the driver is called directly, by the same requests.

    Args:
        group: the runners.
        shards: where their blocks go.
        config: a `ReplayConfig`.
        nodes: those of the cluster; None on one machine.
    """

    def __init__(
        self, group: PlacedRunnerGroup, shards: ShardGroup, config: Any, nodes: NodeWatch | None = None
    ) -> None:
        self.group = group
        self.shards = shards
        self.nodes = nodes
        self.settings = config.rlx.env_runners
        self.faults = config.rlx.fault_tolerance
        self.timeout_seconds = self.faults.runner_timeout_seconds
        self.local = group.num_remote_env_runners() == 0
        self.shares_parameters = False
        ids = [0] if self.local else self._manager.actor_ids()
        self._runners = {index: _Runner(last_answer=time.monotonic()) for index in ids}
        self._done: list[CollectReport] = []
        self.restarts = 0
        #: Where runners were when that was last told.
        self._homes = dict(group.whereabouts)
        #: Restarts that were not for the loss of a node, of each runner; counted here only in a cluster.
        self._deaths = dict.fromkeys(ids, 0)
        self._probed_at = time.monotonic()
        self._back: list[tuple[int, Whereabouts]] = []

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
        self._forget_failed()
        # Only ours: RLlib never fetches the answers to what it sent itself, and those are there at once.
        asked = self._manager._in_flight_req_to_actor_id.items()
        references = [reference for reference, (tag, _) in asked if tag == _TAG]
        if timeout_seconds and references:
            ray.wait(references, num_returns=1, timeout=timeout_seconds, fetch_local=False)
        elif timeout_seconds:
            time.sleep(timeout_seconds)  # no runner works: do not spin until one is back
        reports = []
        for result in self._manager.fetch_ready_async_reqs(tags=_TAG, timeout_seconds=0.0):
            state = self._runners[result.actor_id]
            if result.ok:
                now = time.monotonic()
                state.in_flight = max(0, state.in_flight - 1)
                state.answer_seconds, state.last_answer = now - state.last_answer, now
                reports.append(self._take_in(result.get()))
            else:
                logger.info("runner %d failed: %s", result.actor_id, result.get())
                self._forget(result.actor_id)
        self._end_silent_runners()
        self._probe()
        return reports

    def _probe(self) -> None:
        """Take runners back that live again.

        Raises:
            ProcessGoneError: one does not.
        """
        if self.healthy == len(self._runners) or time.monotonic() - self._probed_at < _PROBE_SECONDS:
            return
        self._probed_at = time.monotonic()
        back, gone = self.group.probe()
        for index, error in gone.items():
            restarts = self.faults.restart_failed_env_runners
            raise gone_error(f"runner {index}", restarts, self.faults.max_restarts, error) from error
        for index in back:
            self._forget(index)
        self._back += [(index, self.group.whereabouts[index]) for index in back]

    def _take_in(self, report: CollectReport) -> CollectReport:
        """Put a block that came with its report into the shard in this process."""
        if report.block is not None:
            self.shards.for_runner(report.worker_index).add(report.block)
            report.block = None
        return report

    def _forget(self, index: int) -> None:
        """Treat a runner as new: its requests are gone and so are its weights."""
        now = time.monotonic()
        away = not self._manager.is_actor_healthy(index)
        self._runners[index] = _Runner(last_answer=now, away_since=now if away else None)

    def _forget_failed(self) -> None:
        """Forget runners that RLlib has taken out of service in a call that was not this pool's."""
        for index, state in self._runners.items():
            if state.away_since is None and not self._manager.is_actor_healthy(index):
                self._forget(index)

    def _end_silent_runners(self) -> None:
        """Kill runners that hold a request and have not answered for too long; Ray restarts them."""
        now = time.monotonic()
        for index, state in self._runners.items():
            if state.in_flight and now - state.last_answer > self.timeout_seconds:
                logger.warning("runner %d did not answer for %.0f s", index, now - state.last_answer)
                ray.kill(self._manager.actors()[index], no_restart=False)
                state.last_answer = now

    def restored(self) -> tuple[list[int], list[str]]:
        """Return the runners that came back since the last call, and a sentence for each.

        Raises:
            ProcessGoneError: one died more often than it may.
        """
        back, self._back = self._back, []
        return [index for index, _ in back], [self._restarted(index, found) for index, found in back]

    def _restarted(self, index: int, found: Whereabouts) -> str:
        before, self._homes[index] = self._homes.get(index), found
        if found == before:  # the same process: only its link was down
            return f"runner {index} answers again"
        self.restarts += 1
        if self.nodes is None:
            return f"runner {index} died and was restarted; its episodes in progress are lost"
        name = self.nodes.name(found.node)
        if before is not None and not self.nodes.is_alive(before.node, now=True):
            return f"runner {index} was started again on {name}; its episodes in progress are lost"
        self._deaths[index] += 1
        if self._deaths[index] > self.faults.max_restarts:
            raise gone_error(f"runner {index}", True, self.faults.max_restarts)
        return f"runner {index} died and was restarted on {name}; its episodes in progress are lost"

    def lose(self, node_id: str) -> list[int]:
        """Take the runners of a node that is gone out of service, and return them."""
        lost = sorted(index for index, home in self._homes.items() if home.node == node_id)
        for index in lost:
            # Ray tells it only of those that hold a request. Some may be back elsewhere by now.
            if self.group.whereabouts[index].node == node_id:
                self._manager.set_actor_state(index, healthy=False)
                self._forget(index)
        return lost

    @property
    def count(self) -> int:
        """Return how many runners there are to be."""
        return len(self._runners)

    def check_gone(self) -> None:
        """Raise if a runner died and is not started again.

        Raises:
            ProcessGoneError: naming it.
        """
        if not self.local:
            self._probe()

    @property
    def away(self) -> list[int]:
        """Return the runners that are out of service."""
        return [] if self.local else sorted(self._runners.keys() - set(self.group.healthy_env_runner_ids()))

    def check_overdue(self, limit_seconds: float) -> None:
        """Raise if a runner has been away for longer than that.

        Raises:
            ProcessGoneError: naming it.
        """
        now = time.monotonic()
        for index in self.away:
            since = self._runners[index].away_since
            if since is not None and now - since > limit_seconds:
                raise overdue_error(f"runner {index}", limit_seconds)

    @property
    def healthy(self) -> int:
        """Return how many runners work."""
        return 1 if self.local else self.group.num_healthy_remote_workers()

    def lane_states(self) -> dict[int, Any]:
        """Wait for blocks on their way, and return every runner's lane state by index.

        Without those that do not answer in good time: their episodes start anew when the run is resumed.
        """
        if self.local:
            return {0: self.group.local_env_runner.get_lane_state()}
        timeout, flush_seconds = self.timeout_seconds, None
        if self.nodes is None:
            flush_seconds = timeout / 2
        else:
            slowest = max((runner.answer_seconds for runner in self._runners.values()), default=0.0)
            timeout = min(timeout, _STATE_SECONDS + self.settings.max_requests_in_flight * slowest)
        results = self._manager.foreach_actor(
            _flushed_lane_state, kwargs={"flush_seconds": flush_seconds}, timeout_seconds=timeout
        )
        self._forget_failed()
        return {result.actor_id: result.get() for result in results if result.ok}

    def set_lane_states(self, states: dict[int, Any]) -> int:
        """Give runners their state back; return how many went on with their episodes."""
        if self.local:
            return int(self.group.local_env_runner.set_lane_state(states[0]))
        asked = [
            self._manager.actors()[index].set_lane_state.remote(states[index])
            for index in set(states) & set(self._runners)
        ]
        ready, _ = (
            ray.wait(asked, num_returns=len(asked), timeout=self.timeout_seconds) if asked else ([], [])
        )
        going_on = 0
        for reference in ready:
            try:
                going_on += int(ray.get(reference))
            except ray.exceptions.RayActorError:
                continue  # died meanwhile: it starts anew
        return going_on

    def restart_episodes(self, seed: int) -> None:
        """Start every lane anew (deterministic mode, where an emulator cannot be saved)."""
        if self.local:
            self.group.local_env_runner.restart_episodes(seed)


def _flushed_lane_state(runner: Any, flush_seconds: float | None) -> Any:
    runner.flush(flush_seconds)
    return runner.get_lane_state()
