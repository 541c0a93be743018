"""The engine: runners, replay shards and learners kept busy, whatever the algorithm.

The picture is [ApeX] figure 1. The driver passes references and grants work; frames go from runners to
shards and from shards to learners without it. With no processes but the driver's the same calls run one
after the other, and in deterministic mode always in the same order.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.train.constants import TRAIN_PLACEMENT_GROUP_TIMEOUT_S_ENV

from rlx.actors.player import POLICY_PATH, play_episodes
from rlx.algorithms.checkpoint import ENGINE_FOLDER, CheckpointJob
from rlx.algorithms.config import ReplayConfig
from rlx.algorithms.gone import gone_error
from rlx.algorithms.learner_pool import LearnerPool, LearnersDiedError
from rlx.algorithms.nodes import NodeWatch, Reservation, free_resources, learner_threads_of, plan_cluster
from rlx.algorithms.progress import Progress
from rlx.algorithms.runner_group import placed_runners
from rlx.algorithms.runner_pool import RunnerPool
from rlx.algorithms.shard_group import ShardGroup
from rlx.errors import CheckpointError, NeverStartedError
from rlx.networks.determinism import settle_determinism
from rlx.replay.rate_limiter import RateLimiter

logger = logging.getLogger(__name__)

#: Seconds of updates between two looks at the runners, where learner and driver share a process.
_LEARN_SLICE_SECONDS = 0.05
#: Updates granted at once where the learner runs free.
_MOST_UPDATES = 1_000_000
#: Seconds that an evaluation waits for the weights of a learner in another process.
_WEIGHTS_SECONDS = 30.0
#: Env steps of an iteration in deterministic mode, where no clock may decide.
DETERMINISTIC_ITERATION_ENV_STEPS = 1000


class ReplayAlgorithm(Algorithm):
    """An RLlib Algorithm whose training step is the engine's."""

    config: ReplayConfig

    def setup(self, config: ReplayConfig) -> None:
        """Start runners and learners (RLlib), then shards, and connect them.

        On several nodes by a plan of who lives where (docs/design/0003-nodes.md).

        Raises:
            NeverStartedError: a process failed while it started, or found no room in time.
        """
        spec = config.rlx
        limit = spec.fault_tolerance.startup_timeout_seconds
        self.plan = plan_cluster(spec, config.part_sizes())
        self.nodes = None if self.plan is None else NodeWatch()
        self._reservation = None if self.plan is None else Reservation(spec, self.plan, limit)
        config = self._placed(config)
        try:
            with placed_runners(self.plan, limit), self._room_for_learners():
                super().setup(config)
            settle_determinism(spec.debugging.deterministic)
            self.shards = ShardGroup(self.config, self.plan, self.nodes)
        except BaseException:
            self.cleanup()
            raise
        self.runners = RunnerPool(self.env_runner_group, self.shards, self.config, self.nodes)
        self.learners = LearnerPool(self.learner_group, self.config)
        self.learners.connect(self.shards.shards)
        self.limiter = RateLimiter(
            ratio=spec.replay.samples_per_env_step,
            min_env_steps=spec.training.learning_starts_env_steps,
            tolerance=spec.replay.ratio_tolerance,
        )
        self.progress = Progress(self.config.env_info.frames_per_step)
        self._env_steps_logged = 0
        self.events: list[str] = []
        self.first_env_step_at: float | None = None
        self._weights: Any = None
        self._weights_version = -1
        #: The last ones sent: the newest may never arrive, if the learner died while it was asked.
        self._sent_weights: deque[tuple[Any, int]] = deque(maxlen=4)
        self._starved = False
        self._last_checkpoint: Path | None = None
        self._checkpoints = 0
        self._eval_modules: Any = None
        self.learner_restarts = 0
        self._restored: list[int] = []
        self._share_parameters()

    def _placed(self, config: ReplayConfig) -> ReplayConfig:
        """Return the config with what the plan says of learners; it becomes this algorithm's."""
        threads, resources = None, {}
        if self.plan is not None:
            threads, resources = learner_threads_of(config.rlx, self.plan), self.plan.learner_resources()
        self.config = config.copy(copy_frozen=False)
        self.config.place_learners(threads, resources)
        self.config.freeze()
        return self.config

    @contextlib.contextmanager
    def _room_for_learners(self) -> Iterator[None]:
        """Let learners wait for room as long as others, and say what they wait for."""
        limit = self.config.rlx.fault_tolerance.startup_timeout_seconds
        before = os.environ.get(TRAIN_PLACEMENT_GROUP_TIMEOUT_S_ENV)
        os.environ[TRAIN_PLACEMENT_GROUP_TIMEOUT_S_ENV] = str(max(1, round(limit)))
        try:
            yield
        except TimeoutError as error:
            if isinstance(error, ray.exceptions.RayError):
                raise  # a call of something else
            gpus = self.config.num_gpus_per_learner
            wanted = f"{gpus:g} GPUs" if gpus else "1 CPU"
            raise NeverStartedError(
                f"{self.config.num_learners} learner(s) did not start within {limit:g} s "
                f"(fault_tolerance.startup_timeout_seconds); each waits for {wanted}: {free_resources()}",
                next="take fewer learners, free the cluster, or allow more time",
            ) from error
        finally:
            if before is None:
                del os.environ[TRAIN_PLACEMENT_GROUP_TIMEOUT_S_ENV]
            else:
                os.environ[TRAIN_PLACEMENT_GROUP_TIMEOUT_S_ENV] = before

    def _share_parameters(self) -> None:
        """Let a local runner act with the local learner's own parameters instead of copies."""
        if not (self.learners.local and self.runners.local):
            return
        runner, learner = self.env_runner_group.local_env_runner, self.learners.local_learner
        if str(runner._device) != str(learner._device):
            return
        runner.module.q_network = learner.q_module.q_network
        runner.module.plugin_modules = learner.q_module.plugin_modules
        self.runners.shares_parameters = True

    # Training.

    def training_step(self) -> None:
        """Keep everybody busy for one reporting interval (RLlib hook)."""
        deterministic = self.config.rlx.debugging.deterministic
        deadline = time.monotonic() + self.config.rlx.reporting.interval_seconds
        end_env_steps = (
            self.progress.env_steps // DETERMINISTIC_ITERATION_ENV_STEPS + 1
        ) * DETERMINISTIC_ITERATION_ENV_STEPS
        while True:
            self._learn()
            if self._updates_left() == 0:
                break
            if deterministic and self.progress.env_steps >= end_env_steps:
                break
            self._collect()
            if not deterministic and time.monotonic() >= deadline:
                break
        self._look_after_processes()
        self._log_env_steps()
        if self.progress.returns:
            self.metrics.log_value(
                (ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN), float(np.mean(self.progress.returns)), window=1
            )

    def _log_env_steps(self) -> None:
        """Tell RLlib's metrics the env steps since the last time.

        As a sum over the life, not a value in a window: RLlib reads it where a window would be empty (NaN).
        """
        new = self.progress.env_steps - self._env_steps_logged
        self._env_steps_logged += new
        self.metrics.log_value(
            (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), new, reduce="lifetime_sum"
        )

    def _updates_left(self) -> int | None:
        """Return how many updates the stop condition leaves, None if it names none."""
        limit = self.config.rlx.stop.updates
        return None if limit is None else max(0, limit - self.progress.updates)

    def _collect(self) -> None:
        """Ask runners for blocks if the replay ratio allows, and take the reports that are there."""
        started = time.perf_counter()
        may_insert = self.limiter.may_insert() or self._starved
        if may_insert:
            self._publish_weights()
            version = self.learners_version
            self.runners.submit(self.progress.env_steps, self._weights, version)
        learner_idle = not self.limiter.may_learn(self.learners.batch_size) or self._starved
        wait = 0.02 if learner_idle or not self.learners.local else 0.0
        self._take_reports(wait)
        elapsed = time.perf_counter() - started
        if not may_insert and not self.runners.in_flight:
            self.progress.runner_wait_seconds += elapsed
        if learner_idle and not self.learners.updates_in_flight:
            self.progress.learner_wait_seconds += elapsed

    def _take_reports(self, wait_seconds: float) -> None:
        """Count the blocks whose reports came in; wait up to `wait_seconds` for the first."""
        for report in self.runners.ready(wait_seconds):
            self.first_env_step_at = self.first_env_step_at or report.first_env_step_at
            self.progress.add_collected(report)
            self.limiter.insert(report.env_steps)
            if report.env_steps:  # none: the runner waits for its shard
                self._starved = False

    @property
    def learners_version(self) -> int:
        """Return the number of updates behind the weights that runners are sent."""
        return self.progress.updates if self.runners.shares_parameters else self._weights_version

    def _publish_weights(self) -> None:
        """Take the learner's weights when a runner is due for newer ones than were last taken."""
        newest = self.progress.updates
        if newest == self._weights_version or not self.runners.wants_weights():
            return
        weights = self.learners.weights()
        self._weights = ray.put(weights) if self.learners.local and not self.runners.local else weights
        self._weights_version = newest
        self._sent_weights.append((self._weights, newest))

    def _learn(self) -> None:
        """Grant the updates that the replay ratio owes, and count those that were done."""
        batch = self.learners.batch_size
        owed = 0
        if self.limiter.may_learn(batch):
            left = self._updates_left()
            owed = max(1, int(min(self.limiter.owed_samples / batch, _MOST_UPDATES)))
            owed = owed if left is None else min(owed, left)
        seconds = float("inf") if self.config.rlx.debugging.deterministic else _LEARN_SLICE_SECONDS
        try:
            reports = self.learners.learn(owed, seconds, self.progress.env_steps)
        except LearnersDiedError as error:
            self._replace_learners(error)
            return
        for report in reports:
            self.limiter.learn(report.samples)
            self.progress.add_learned(report)
            self._starved = report.starved

    # Faults.

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """Take restarted runners back (RLlib hook); their next request carries the weights."""
        if env_runner_group is not self.env_runner_group or self.runners.local:
            return []
        self._take_back()
        restored, self._restored = self._restored, []
        return restored

    def _take_back(self) -> None:
        back, events = self.runners.restored()
        self._restored += back
        self.events += events

    def _look_after_processes(self) -> None:
        self._look_after_nodes()
        self.events += self.shards.check_restarted()
        self.runners.check_gone()
        self._take_back()
        self._tell_full_strength()
        if not self.learners.updates_in_flight and not self.learners.alive():
            self._replace_learners(LearnersDiedError("a learner process is gone"))

    def _look_after_nodes(self) -> None:
        """Tell which nodes went, with what they held, and which came."""
        if self.nodes is None:
            return
        for came, node_id, name in self.nodes.changes():
            held = "" if came else self._lost_with(node_id)
            if not came and self._reservation is not None:
                self._reservation.forget(node_id)
            self.events.append(self.nodes.describe(came, name, held))

    def _lost_with(self, node_id: str) -> str:
        """Take what was on a node out of service, and say what: runners 1, 2 and replay shard 0 with ..."""
        runners = self.runners.lose(node_id)
        parts = []
        if runners:
            parts.append(f"runner{'s' if len(runners) > 1 else ''} {', '.join(map(str, runners))}")
        parts += [
            f"replay shard {index} with {env_steps} env steps"
            for index, env_steps in self.shards.lose(node_id)
        ]
        return " and ".join(parts)

    def _tell_full_strength(self) -> None:
        """Tell when all that was lost with a node works again, or that it still does not.

        Raises:
            ProcessGoneError: a process is away for too long though no node is.
        """
        if self.nodes is None:
            return
        runners, shards = self.runners, self.shards
        limit = self.config.rlx.fault_tolerance.startup_timeout_seconds
        if self.nodes.lost_at is None:
            runners.check_overdue(limit)
            shards.check_overdue(limit)
        elif runners.healthy == runners.count and shards.healthy == len(shards.shards):
            counts = (0 if runners.local else runners.count, len(shards.shards) if shards.remote else 0)
            self.events.append(self.nodes.full_again(*counts))
        elif (seconds := self.nodes.late(limit)) is not None:
            names = [f"runner {index}" for index in runners.away] + [
                f"shard {index}" for index in shards.away
            ]
            self.events.append(
                f"not at full strength {seconds:.0f} s after the loss, waiting for {', '.join(names)}: "
                f"{free_resources()}"
            )

    def _replace_learners(self, error: Exception) -> None:
        """Start new learners from the last checkpoint, else from the last weights sent to runners."""
        faults = self.config.rlx.fault_tolerance
        if not faults.restart_failed_learners or self.learner_restarts >= faults.max_restarts:
            raise gone_error("a learner", faults.restart_failed_learners, faults.max_restarts) from error
        self.learner_restarts += 1
        before = self.progress.updates
        self.learner_group.shutdown()
        spec = self.config.get_multi_rl_module_spec(spaces=self.spaces, inference_only=False)
        with self._room_for_learners():
            self.learner_group = self.config.build_learner_group(rl_module_spec=spec)
        checkpoint = self._last_checkpoint / "learner_group" if self._last_checkpoint else None
        weights, version = (None, 0) if checkpoint else self._last_weights()
        self.learners.replace(self.learner_group, checkpoint, weights, version)
        self.learners.connect(self.shards.shards)
        self._weights, self._weights_version = None, -1
        self._sent_weights.clear()
        self.runners.forget_weights()
        self.progress.updates = self.learners.total_updates()
        source = "the last weights sent" if weights is not None else "new weights (none had been sent)"
        if self._last_checkpoint:
            source = f"checkpoint {self._last_checkpoint.name}"
        self.events.append(
            f"a learner died ({error}); new ones go on from {source}: "
            f"{before - self.progress.updates} updates lost"
        )

    def _last_weights(self) -> tuple[Any, int]:
        """Return the newest weights that were sent and can still be had, and the updates behind them."""
        for weights, version in reversed(self._sent_weights):
            try:
                return (
                    ray.get(weights, timeout=10.0) if isinstance(weights, ray.ObjectRef) else weights
                ), version
            except ray.exceptions.RayError:
                continue
        return None, 0

    # Results.

    def step(self) -> dict[str, Any]:
        """Run one iteration and add the flat row of metrics under `rlx` (RLlib hook)."""
        result = super().step()
        result["rlx"] = self._row()
        return result

    def _row(self) -> dict[str, Any]:
        stats = self.shards.stats()
        spec = self.config.rlx
        events, self.events = self.events, []
        row = self.progress.row(
            {
                "replay_env_steps": int(stats.get("env_steps", 0)),
                "replay_capacity": spec.replay.capacity,
                "replay_fill": stats.get("env_steps", 0) / spec.replay.capacity,
                "replay_ratio": self.limiter.measured_ratio,
                "replay_ratio_target": spec.replay.samples_per_env_step or 0.0,
                "lr": spec.training.lr,
                "alive_nodes": 1 if self.nodes is None else self.nodes.alive,
                "healthy_runners": self.runners.healthy,
                "healthy_shards": self.shards.healthy,
                "restarted_runners": self.runners.restarts,
                "restarted_shards": self.shards.restarts,
                "restarted_learners": self.learner_restarts,
            }
        )
        row["lost_env_steps"] += self.shards.lost_env_steps
        row["events"] = events
        return row

    # Evaluation.

    def evaluate_policy(
        self, episodes: int, epsilon: float, seed: int, abandon: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Play whole episodes with the learner's present weights, in environments of their own.

        Args:
            episodes: how many.
            epsilon: probability of a random action.
            seed: of the environments and of those random actions.
            abandon: asked before every step whether to give up.

        Returns:
            `returns` (undiscounted, raw), `lengths` (env steps), `seconds`.

        Raises:
            EvaluationAbandonedError: `abandon` said so.
        """
        started = time.perf_counter()
        played = play_episodes(
            self._evaluated_module(),
            self.config.env_spec(),
            episodes=episodes,
            num_envs=self.config.rlx.evaluation.num_envs,
            epsilon=epsilon,
            seed=seed,
            device=self._evaluation_device(),
            abandon=abandon,
        )
        return {
            "returns": played.returns.tolist(),
            "lengths": played.lengths.tolist(),
            "seconds": time.perf_counter() - started,
        }

    def _evaluation_device(self) -> Any:
        return self.learners.local_learner._device if self.learners.local else "cpu"

    def _evaluated_module(self) -> Any:
        if self.learners.local:
            return self.learners.local_learner.q_module
        if self._eval_modules is None:
            spec = self.config.get_multi_rl_module_spec(spaces=self.spaces, inference_only=True)
            self._eval_modules = spec.build()
            self._eval_modules[DEFAULT_MODULE_ID].eval().requires_grad_(False)
        module = self._eval_modules[DEFAULT_MODULE_ID]
        try:
            weights = ray.get(self.learners.weights(), timeout=_WEIGHTS_SECONDS)
        except ray.exceptions.RayError:  # dead or out of reach: the last ones that it gave
            weights, _ = self._last_weights()
            if weights is None:
                raise
        module.set_state(weights)
        return module

    def save_policy(self, directory: Path | str) -> None:
        """Write the network that the last evaluation played, as `rlx.actors.player.load_policy` reads it.

        Args:
            directory: a folder; call before training goes on.
        """
        # Remote learners may have newer weights by now; local ones have waited.
        local = self.learners.local
        modules = self.learners.local_learner.module if local else self._eval_modules
        modules.save_to_path(Path(directory).absolute() / POLICY_PATH)

    # Checkpoints.

    def begin_checkpoint(self, directory: Path | str) -> CheckpointJob:
        """Write small states into `directory` now and the replay in the background.

        The directory is an RLlib checkpoint (`Algorithm.from_checkpoint` reads it) with a folder of the
        engine's own beside RLlib's.
        """
        directory = Path(directory).absolute()
        for report in self.learners.drain():
            self.limiter.learn(report.samples)
            self.progress.add_learned(report)
        lanes = self.runners.lane_states()
        count = self.runners.count
        left_out = count - len(lanes)
        if left_out:
            self.events.append(
                f"the checkpoint is written without the episodes of {left_out} of {count} runners; "
                "they start anew after a resume"
            )
        self._take_reports(0.0)  # what was on its way is in the shards now, and counts
        self._log_env_steps()
        super().save_to_path(directory)
        if not self.learners.local and not any((directory / "learner_group").rglob("*.pkl")):
            raise CheckpointError("the learner did not write its state")  # RLlib passes over that
        own = directory / ENGINE_FOLDER
        own.mkdir(parents=True, exist_ok=True)
        self._checkpoints += 1
        restarted = sum(1 for state in lanes.values() if state["lanes"]["env"] is None)
        if restarted and self.config.rlx.debugging.deterministic:
            self.runners.restart_episodes(self._restart_seed())
        state = {
            "progress": self.progress.get_state(),
            "limiter": self.limiter.get_state(),
            "runners": lanes,
            "checkpoints": self._checkpoints,
            "starved": self._starved,
        }
        (own / "state.pkl").write_bytes(pickle.dumps(state))
        if self.config.rlx.checkpointing.include_replay:
            self.shards.begin_save(own / "replay")
        info = {
            "env_steps": self.progress.env_steps,
            "env_frames": self.progress.env_steps * self.progress.frames_per_step,
            "updates": self.progress.updates,
            "samples": self.progress.samples,
            "restarted_episodes": bool(restarted or left_out),
            "includes_replay": self.config.rlx.checkpointing.include_replay,
        }
        return CheckpointJob(self.shards, info)

    def checkpoint_committed(self, directory: Path) -> None:
        """Note where the newest whole checkpoint lies; learners that die go on from it."""
        self._last_checkpoint = Path(directory)

    def _restart_seed(self) -> int:
        return self.config.runner_seed(0) + 7919 * self._checkpoints

    def save_to_path(self, path: Any = None, **kwargs: Any) -> str:
        """Write a whole checkpoint and wait for it (RLlib hook)."""
        directory = Path(path or tempfile.mkdtemp(prefix="rlx-checkpoint-"))
        self.begin_checkpoint(directory).wait()
        self.checkpoint_committed(directory)
        return str(directory)

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Take a checkpoint into this fresh algorithm (RLlib hook)."""
        super().restore_from_path(path, *args, **kwargs)
        own = Path(path) / ENGINE_FOLDER
        if own.is_dir():
            self._restore_own(own)
            self._last_checkpoint = Path(path)

    def _restore_own(self, own: Path) -> None:
        state = pickle.loads((own / "state.pkl").read_bytes())
        self.progress.set_state(state["progress"])
        self._env_steps_logged = self.progress.env_steps
        self.limiter.set_state(state["limiter"])
        self._checkpoints = state["checkpoints"]
        self._starved = state["starved"]
        if (own / "replay").is_dir():
            self.events += self.shards.load(own / "replay")
        going_on = self.runners.set_lane_states(state["runners"])
        runners = max(self.runners.count, len(state["runners"]))
        if going_on < runners:
            self.events.append(
                f"episodes in progress of {runners - going_on} of {runners} runners start anew: "
                "they are not in the checkpoint, or could not be saved"
            )
            if self.config.rlx.debugging.deterministic:
                self.runners.restart_episodes(self._restart_seed())
        self._weights, self._weights_version = None, -1
        # RLlib passes over a learner that could not take its state.
        if self.learners.total_updates() != self.progress.updates:
            raise CheckpointError(
                f"the learner has {self.learners.total_updates()} updates, "
                f"the checkpoint {self.progress.updates}"
            )

    def restore(self, directory: Path | str) -> None:
        """Take a checkpoint; only right after construction.

        Raises:
            RuntimeError: if this algorithm has already trained (RLlib would keep its newer weights).
        """
        if self.progress.env_steps:
            raise RuntimeError("restore into a fresh algorithm: RLlib keeps newer weights in a live one")
        self.restore_from_path(str(Path(directory).absolute()))

    def cleanup(self) -> None:
        """End runners, learners and shards, and give reserved cores back (RLlib hook)."""
        super().cleanup()
        if hasattr(self, "shards"):
            self.shards.stop()
        if self._reservation is not None:
            self._reservation.release()
