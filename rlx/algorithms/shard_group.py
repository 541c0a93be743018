"""The replay shards of a run: one in the driver's process, or several in processes of their own."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from rlx.algorithms.gone import gone_error, last_line, overdue_error
from rlx.algorithms.nodes import ClusterPlan, NodeWatch, free_resources
from rlx.algorithms.shard_save import ShardSave, load_shards
from rlx.errors import NeverStartedError
from rlx.experiment.memory import format_bytes
from rlx.replay.shard_actor import ReplayShardActor, ShardStatus, create_shard

logger = logging.getLogger(__name__)

#: Seconds that an answer is waited for, once, in a cluster and on one machine; a shard that is silent for
#: longer is away until it answers.
_ANSWER_SECONDS, _ANSWER_SECONDS_ALONE = 2.0, 5.0
#: Seconds for a shard to fix its state for a checkpoint: in a cluster, if it is away, on one machine.
_SAVE_SECONDS, _SAVE_SECONDS_AWAY, _SAVE_SECONDS_ALONE = 10.0, 1.0, 120.0


@dataclass
class _Shard:
    """What the group knows of one shard process."""

    status: ShardStatus
    asked: Any = None
    away: bool = False
    away_since: float = 0.0
    deaths: int = 0
    stats: dict[str, int] = field(default_factory=dict)


class ShardGroup:
    """Make shards, say who writes to which, sum their statistics, see to dead ones.

    Every shard has at most one question before it, and none is waited for twice.

    Args:
        config: a `ReplayConfig`.
        plan: of the cluster; None on one machine.
        nodes: of the cluster; None on one machine.

    Raises:
        NeverStartedError: a shard failed while it started, or found no room in time.
    """

    def __init__(self, config: Any, plan: ClusterPlan | None = None, nodes: NodeWatch | None = None) -> None:
        self.config = config
        self.plan = plan
        self.nodes = nodes
        self.remote = config.rlx.replay.num_shards > 0
        self.faults = config.rlx.fault_tolerance
        self.lost_env_steps = 0
        self.restarts = 0
        self.missing: dict[int, str] = {}
        self._asked_at = 0.0
        self._events: list[str] = []
        self._save: ShardSave | None = None
        self.shards: list[Any] = []
        self._known: list[_Shard] = []
        if not self.remote:
            self.shards = [ReplayShardActor(config.shard_config(0))]
            return
        try:
            for index in range(config.rlx.replay.num_shards):
                self.shards.append(create_shard(config.shard_config(index), **self._options(index)))
            self._known = [_Shard(status, stats=status.stats) for status in self._await_construction()]
        except BaseException:
            self.stop()
            raise

    def _options(self, index: int) -> dict[str, Any]:
        restarts = self.faults.max_restarts if self.faults.restart_failed_shards else 0
        if self.plan is None:
            return {"max_restarts": restarts, "num_cpus": 0}
        # Ray does not limit the restarts: those after the loss of a node do not count.
        return {"max_restarts": -1 if restarts else 0, **self.plan.shard_options(index)}

    def _await_construction(self) -> list[ShardStatus]:
        limit = self.faults.startup_timeout_seconds
        asked = [shard.status.remote() for shard in self.shards]
        _, waiting = ray.wait(asked, num_returns=len(asked), timeout=limit)
        if waiting:
            names = ", ".join(str(asked.index(reference)) for reference in waiting)
            wanted = "a process of its own"
            if self.plan is not None:
                wanted = format_bytes(self.plan.sizes.shard)
            raise NeverStartedError(
                f"replay shard{'s' if len(waiting) > 1 else ''} {names} did not start within {limit:g} s "
                f"(fault_tolerance.startup_timeout_seconds); each waits for {wanted}: {free_resources()}",
                next="more shards (they are smaller), more memory, or more time",
            )
        found = []
        for index, reference in enumerate(asked):
            try:
                found.append(ray.get(reference))
            except ray.exceptions.RayActorError as error:
                raise NeverStartedError(
                    f"replay shard {index} could not be started: {last_line(error)}"
                ) from error
        return found

    def for_runner(self, worker_index: int) -> Any:
        """Return the shard that a runner's blocks go to, always the same one."""
        return self.shards[max(0, worker_index - 1) % len(self.shards)]

    def stats(self, max_age_seconds: float = 1.0) -> dict[str, float]:
        """Return sums over the shards of `env_steps`, `items`, `inserted`, `capacity` and so on."""
        if self.remote and time.monotonic() - self._asked_at > max_age_seconds:
            self._look()
        each = [known.stats for known in self._known] if self.remote else [self.shards[0].stats()]
        total: dict[str, float] = {}
        for stats in each:
            for name, value in stats.items():
                total[name] = total.get(name, 0) + value
        return total

    @property
    def healthy(self) -> int:
        """Return how many shards answer."""
        return sum(not known.away for known in self._known) if self.remote else 1

    @property
    def away(self) -> list[int]:
        """Return the shards that do not answer."""
        return [index for index, known in enumerate(self._known) if known.away]

    def check_overdue(self, limit_seconds: float) -> None:
        """Raise if a shard has not answered for longer than that.

        Raises:
            ProcessGoneError: naming it.
        """
        for index in self.away:
            if time.monotonic() - self._known[index].away_since > limit_seconds:
                raise overdue_error(f"replay shard {index}", limit_seconds)

    def lose(self, node_id: str) -> list[tuple[int, int]]:
        """Wait no longer for the shards of a node that is gone; return them and the env steps they held."""
        lost = []
        for index, known in enumerate(self._known):
            if known.status.node == node_id:
                self._set_away(known, True)
                lost.append((index, int(known.stats.get("env_steps", 0))))
        return lost

    def check_restarted(self) -> list[str]:
        """Return a sentence for each shard that died and was started anew (empty) since the last call.

        Raises:
            ProcessGoneError: one died and is not started again.
        """
        if self.remote:
            self._look()
        events, self._events = self._events, []
        return events

    def _look(self) -> None:
        """Ask every shard that has no question before it, and take what answers there are."""
        self._asked_at = time.monotonic()
        for shard, known in zip(self.shards, self._known, strict=True):
            if known.asked is None:
                known.asked = shard.status.remote()
        near = [known.asked for known in self._known if not known.away]
        if near:
            patience = _ANSWER_SECONDS_ALONE if self.plan is None else _ANSWER_SECONDS
            ray.wait(near, num_returns=len(near), timeout=patience)
        for index, known in enumerate(self._known):
            if ray.wait([known.asked], timeout=0)[0]:
                self._take(index, known)
            elif not known.away:
                logger.info("replay shard %d does not answer", index)
                self._set_away(known, True)

    @staticmethod
    def _set_away(known: _Shard, away: bool) -> None:
        if away and not known.away:
            known.away_since = time.monotonic()
        known.away = away

    def _take(self, index: int, known: _Shard) -> None:
        reference, known.asked = known.asked, None
        try:
            status: ShardStatus = ray.get(reference)
        except ray.exceptions.ActorDiedError as error:
            allowed = self.faults.restart_failed_shards
            raise gone_error(f"replay shard {index}", allowed, self.faults.max_restarts, error) from error
        except ray.exceptions.RayError:
            self._set_away(known, True)  # died, and starts again
            return
        # An answer from before the node went says nothing.
        self._set_away(known, self.nodes is not None and not self.nodes.is_alive(status.node))
        before, known.status = known.status, status
        if status.incarnation != before.incarnation:
            self._note_restart(index, known, before)
        known.stats = status.stats

    def _note_restart(self, index: int, known: _Shard, before: ShardStatus) -> None:
        lost = int(known.stats.get("env_steps", 0))
        self.lost_env_steps += lost
        self.restarts += 1
        where = "" if self.nodes is None else f" on {self.nodes.name(known.status.node)}"
        if self.nodes is not None and not self.nodes.is_alive(before.node, now=True):
            self._events.append(
                f"replay shard {index} was started again{where}, empty: {lost} env steps lost"
            )
            return
        self._events.append(f"replay shard {index} died and was started empty{where}: {lost} env steps lost")
        known.deaths += 1
        if self.nodes is not None and known.deaths > self.faults.max_restarts:
            raise gone_error(f"replay shard {index}", True, self.faults.max_restarts)

    # Checkpoints

    def begin_save(self, directory: Path) -> None:
        """Start writing every shard under `directory`; those that do not answer are left out."""
        self.missing = {}
        if not self.remote:
            self.shards[0].begin_save(str(directory / "shard_0"))
            return
        near = _SAVE_SECONDS_ALONE if self.plan is None else _SAVE_SECONDS
        patience = [_SAVE_SECONDS_AWAY if known.away else near for known in self._known]
        if self.plan is None:
            patience = [near] * len(self.shards)
        self._save = ShardSave(self.shards, directory, patience)

    def save_done(self) -> bool:
        """Return whether the writing started by `begin_save` has ended. Raises what failed."""
        if not self.remote:
            return bool(self.shards[0].save_done())
        if self._save is None:
            return True
        if not self._save.done():
            return False
        for index in sorted(self._save.missing.keys() - self.missing.keys()):
            why = self._save.missing[index]
            self._events.append(f"the checkpoint is written without replay shard {index}, which {why}")
        self.missing = dict(self._save.missing)
        return True

    def load(self, directory: Path) -> list[str]:
        """Take the contents that `begin_save` wrote; return a sentence for each shard that stays empty."""
        if not self.remote:
            self.shards[0].load(directory / "shard_0")
            return []
        empty = load_shards(self.shards, directory)
        return [f"replay shard {index} starts empty: {why}" for index, why in sorted(empty.items())]

    def stop(self) -> None:
        """End the shard processes."""
        if self.remote:
            for shard in self.shards:
                ray.kill(shard)
