"""The replay shards of a run: one in the driver's process, or several in processes of their own."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import ray

from rlx.algorithms.gone import gone_error
from rlx.replay.shard_actor import ReplayShardActor, create_shard

logger = logging.getLogger(__name__)


class ShardGroup:
    """Make shards, say who writes to which, sum their statistics, see to dead ones.

    Args:
        config: a `ReplayConfig`.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.remote = config.rlx.replay.num_shards > 0
        self.faults = config.rlx.fault_tolerance
        count = max(1, config.rlx.replay.num_shards)
        restarts = self.faults.max_restarts if self.faults.restart_failed_shards else 0
        if self.remote:
            options = {"max_restarts": restarts, "num_cpus": 0}
            self.shards = [create_shard(config.shard_config(index), **options) for index in range(count)]
            self._processes = ray.get([shard.process_id.remote() for shard in self.shards])
        else:
            self.shards = [ReplayShardActor(config.shard_config(0))]
            self._processes = []
        self.lost_env_steps = 0
        self.restarts = 0
        self._stats: list[dict[str, Any]] = [{} for _ in self.shards]
        self._stats_at = 0.0

    def for_runner(self, worker_index: int) -> Any:
        """Return the shard that a runner's blocks go to, always the same one."""
        return self.shards[max(0, worker_index - 1) % len(self.shards)]

    def stats(self, max_age_seconds: float = 1.0) -> dict[str, float]:
        """Return sums over the shards of `env_steps`, `items`, `inserted`, `capacity` and so on."""
        if not self.remote or time.monotonic() - self._stats_at > max_age_seconds:
            self._stats = self._fetch_stats()
            self._stats_at = time.monotonic()
        total: dict[str, float] = {}
        for stats in self._stats:
            for name, value in stats.items():
                if isinstance(value, (int, float)):
                    total[name] = total.get(name, 0) + value
        return total

    def _fetch_stats(self) -> list[dict[str, Any]]:
        if not self.remote:
            return [shard.stats() for shard in self.shards]
        found = list(self._stats)
        asked = [[shard.stats.remote(), shard.process_id.remote()] for shard in self.shards]
        for index, references in enumerate(asked):
            try:
                stats, process = ray.get(references, timeout=5.0)
                # A new process does not know what the old one held: `check_restarted` tells that first.
                if process == self._processes[index]:
                    found[index] = stats
            except (ray.exceptions.RayError, TimeoutError):
                logger.info("replay shard %d did not answer", index)
        return found

    def check_restarted(self) -> list[str]:
        """Return a sentence for each shard that died and was started anew (empty) since the last call.

        Raises:
            ProcessGoneError: one died and is not started again.
        """
        events = []
        if not self.remote:
            return events
        for index, shard in enumerate(self.shards):
            try:
                process = ray.get(shard.process_id.remote(), timeout=1.0)
            except ray.exceptions.ActorDiedError as error:
                allowed = self.faults.restart_failed_shards
                raise gone_error(f"replay shard {index}", allowed, self.faults.max_restarts, error) from error
            except (ray.exceptions.RayError, TimeoutError):
                continue
            if process != self._processes[index]:
                self._processes[index] = process
                lost = int(self._stats[index].get("env_steps", 0))
                self.lost_env_steps += lost
                self.restarts += 1
                events.append(f"replay shard {index} died and was started empty: {lost} env steps lost")
        return events

    def begin_save(self, directory: Path, previous: Path | None = None) -> None:
        """Start writing every shard under `directory`; unchanged parts are linked to `previous`."""
        begun = []
        for index, shard in enumerate(self.shards):
            path = str(directory / f"shard_{index}")
            before = None if previous is None else str(previous / f"shard_{index}")
            begun.append(
                shard.begin_save.remote(path, before) if self.remote else shard.begin_save(path, before)
            )
        if self.remote:
            ray.get(begun)

    def save_done(self) -> bool:
        """Return whether the writing started by `begin_save` has ended. Raises what failed."""
        if self.remote:
            return all(ray.get([shard.save_done.remote() for shard in self.shards]))
        return all(shard.save_done() for shard in self.shards)

    def load(self, directory: Path) -> None:
        """Take the contents that `begin_save` wrote."""
        for index, shard in enumerate(self.shards):
            path = directory / f"shard_{index}"
            if self.remote:
                ray.get(shard.load.remote(str(path)))
            else:
                shard.load(path)

    def stop(self) -> None:
        """End the shard processes."""
        if self.remote:
            for shard in self.shards:
                ray.kill(shard)
