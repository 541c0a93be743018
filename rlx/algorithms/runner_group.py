"""RLlib's group of runners, on the nodes that the plan says, and never waiting for one that is away."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import ray
from ray.rllib.algorithms import algorithm as rllib_algorithm
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rlx.algorithms.gone import last_line
from rlx.algorithms.nodes import ClusterPlan, free_resources
from rlx.errors import NeverStartedError

logger = logging.getLogger(__name__)

_PROBE_TAG = "probe"
#: Seconds that runners get to close their environments before they are killed.
_STOP_SECONDS = 5.0


class Whereabouts(NamedTuple):
    """The process and the node that an actor lives in."""

    process: int
    node: str


def whereabouts(_: Any = None) -> Whereabouts:
    """Return where the calling actor is; to be sent to it."""
    return Whereabouts(os.getpid(), ray.get_runtime_context().get_node_id())


class PlacedRunnerGroup(EnvRunnerGroup):
    """An `EnvRunnerGroup` that puts runners on nodes, wants all of them, and waits for none that is away.

    Args:
        plan: of the cluster; None on one machine.
        startup_timeout_seconds: within which every runner must have been constructed.
        kwargs: RLlib's.

    Raises:
        NeverStartedError: a constructor failed, or a runner found no room in time.
    """

    def __init__(self, *, plan: ClusterPlan | None, startup_timeout_seconds: float, **kwargs: Any) -> None:
        self.plan = plan
        self.startup_timeout_seconds = startup_timeout_seconds
        self.whereabouts: dict[int, Whereabouts] = {}
        super().__init__(**kwargs)

    def _make_worker(self, *, worker_index: int, **kwargs: Any) -> Any:
        """Make a runner on its node (RLlib hook); inside a placement group that one decides."""
        plan = self.plan
        planned = plan is not None and 0 < worker_index <= len(plan.placement.runners)
        if plan is None or not planned or ray.util.get_current_placement_group() is not None:
            return super()._make_worker(worker_index=worker_index, **kwargs)
        before = self._remote_args
        # Ray does not limit the restarts: those after the loss of a node do not count (see `RunnerPool`).
        restarts = -1 if before["max_restarts"] else 0
        strategy = plan.runner_strategy(worker_index)
        self._remote_args = {**before, "max_restarts": restarts, "scheduling_strategy": strategy}
        try:
            return super()._make_worker(worker_index=worker_index, **kwargs)
        finally:
            self._remote_args = before

    def add_workers(self, num_workers: int, validate: bool = False) -> None:
        """Make runners and, with `validate`, wait until all have been constructed (RLlib hook)."""
        super().add_workers(num_workers, validate=False)
        if validate:
            try:
                self._await_construction()
            except BaseException:
                self._worker_manager.clear()
                raise

    def _await_construction(self) -> None:
        deadline = time.monotonic() + self.startup_timeout_seconds
        actors = self._worker_manager.actors()
        asked = {actors[index].apply.remote(whereabouts): index for index in self._worker_manager.actor_ids()}
        while asked:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._not_started(sorted(asked.values()))
            ready, _ = ray.wait(list(asked), timeout=min(left, 1.0))
            for reference in ready:
                index = asked.pop(reference)
                try:
                    self.whereabouts[index] = ray.get(reference)
                except ray.exceptions.ActorDiedError as error:
                    raise NeverStartedError(
                        f"runner {index} could not be started: {last_line(error)}",
                        next="see train.log for the whole of it",
                    ) from error
                except ray.exceptions.RayError:  # died and starts again
                    asked[actors[index].apply.remote(whereabouts)] = index

    def _not_started(self, waiting: list[int]) -> NeverStartedError:
        names = ", ".join(str(index) for index in waiting)
        cpus = self._remote_args["num_cpus"]
        return NeverStartedError(
            f"runner{'s' if len(waiting) > 1 else ''} {names} did not start within "
            f"{self.startup_timeout_seconds:g} s (fault_tolerance.startup_timeout_seconds); each waits for "
            f"{cpus:g} CPUs: {free_resources()}",
            next="take fewer runners, free the cluster, or allow more time",
        )

    def get_spaces(self) -> Any:
        """Return the spaces of the runners (RLlib hook); none has to be asked."""
        return self._remote_config.module_spaces()

    def probe(self) -> tuple[list[int], dict[int, BaseException]]:
        """Ask after the runners that are out of service; waits for none.

        Returns:
            Those that are back since the last call, and those that are gone for good with what Ray says.
        """
        manager = self._worker_manager
        away = {index for index in manager.actor_ids() if not manager.is_actor_healthy(index)}
        back, gone = [], dict[int, BaseException]()
        for result in manager.fetch_ready_async_reqs(tags=_PROBE_TAG, timeout_seconds=0.0, mark_healthy=True):
            if result.ok:
                self.whereabouts[result.actor_id] = result.get()
                back.append(result.actor_id)
            elif isinstance(result.get(), ray.exceptions.ActorDiedError):
                gone[result.actor_id] = result.get()
        # One question at a time to each: Ray holds it back until the runner lives again.
        asked = {index for tag, index in manager._in_flight_req_to_actor_id.values() if tag == _PROBE_TAG}
        ask = sorted(away - set(back) - set(gone) - asked)
        if ask:
            manager.foreach_actor_async(
                [whereabouts] * len(ask),
                tag=_PROBE_TAG,
                kwargs=[{} for _ in ask],
                healthy_only=False,
                remote_actor_ids=ask,
            )
        return back, gone

    def stop(self) -> None:
        """End all runners (RLlib hook); one that is away is not waited for."""
        try:
            self.foreach_env_runner(
                lambda runner: runner.stop(), local_env_runner=True, timeout_seconds=_STOP_SECONDS
            )
        except Exception:
            logger.exception("a runner did not stop")
        finally:
            self._worker_manager.clear()


@contextlib.contextmanager
def placed_runners(plan: ClusterPlan | None, startup_timeout_seconds: float) -> Iterator[None]:
    """Have `Algorithm.setup` make its runners by `PlacedRunnerGroup`.

    RLlib names the class of the group in the middle of `setup` and has no hook for it or for the options of
    the actors, so the name is bound anew while `setup` runs.
    """

    def group(**kwargs: Any) -> PlacedRunnerGroup:
        return PlacedRunnerGroup(plan=plan, startup_timeout_seconds=startup_timeout_seconds, **kwargs)

    before = rllib_algorithm.EnvRunnerGroup
    rllib_algorithm.EnvRunnerGroup = group
    try:
        yield
    finally:
        rllib_algorithm.EnvRunnerGroup = before
