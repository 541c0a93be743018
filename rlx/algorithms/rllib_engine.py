"""An RLlib algorithm of its own kind, as the run loop sees engines."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.core import ALL_MODULES, DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_MODULE_STEPS_TRAINED_LIFETIME,
)

from rlx.actors.epsilon import EpsilonSource
from rlx.actors.player import POLICY_PATH, play_episodes
from rlx.algorithms.progress import EPISODE_WINDOW
from rlx.algorithms.rllib_env import GAME_LENGTHS, GAME_RETURNS
from rlx.envs.spec import EnvSpec
from rlx.experiment.spec import ExperimentSpec

#: Holds what RLlib does not checkpoint, inside its checkpoint.
_STATE_FILE = "rlx_rllib.json"
#: Our names of RLlib's learner results.
_LEARNER_METRICS = {
    "loss": "qf_loss",
    "q_mean": "qf_mean",
    "td_error_mean": "td_error_mean",
}


class DoneJob:
    """A checkpoint that was complete when `begin_checkpoint` returned.

    Attributes:
        info: counters at the moment of the checkpoint, for the manifest.
    """

    def __init__(self, info: Mapping[str, Any]) -> None:
        self.info = dict(info)

    def done(self) -> bool:
        """Return True."""
        return True

    def wait(self) -> None:
        """Return at once."""


class RllibEngine:
    """Train, evaluate and checkpoint an RLlib algorithm with `rlx.algorithms.rllib_env` environments.

    Args:
        algorithm: built, with a local replay buffer.
        spec: the experiment that it was built from.
        env_spec: its environment.
    """

    def __init__(self, algorithm: Any, spec: ExperimentSpec, env_spec: EnvSpec) -> None:
        self.algorithm = algorithm
        self.spec = spec
        self.env_spec = env_spec
        self.counts: dict[str, Any] = {"env_steps": 0, "samples": 0, "episodes": 0, "seconds": 0.0}
        self._returns: deque[float] = deque(maxlen=EPISODE_WINDOW)
        self._lengths: deque[float] = deque(maxlen=EPISODE_WINDOW)
        self._events: list[str] = []
        self._restarts = 0
        self._played_modules: Any = None

    @property
    def first_env_step_at(self) -> float | None:
        """`time.time()` of the first env step, where it was taken in this process."""
        runner = self.algorithm.env_runner
        env = getattr(runner, "env", None)
        return None if env is None else env.unwrapped.first_step_at

    # Training.

    def train(self) -> dict[str, Any]:
        """Run one iteration of RLlib; the flat row of metrics."""
        before = dict(self.counts, updates=self._updates())
        started = time.perf_counter()
        result = self.algorithm.train()
        seconds = time.perf_counter() - started
        runners = result.get(ENV_RUNNER_RESULTS, {})
        learners = result.get(LEARNER_RESULTS, {})
        trained = learners.get(ALL_MODULES, {}).get(NUM_MODULE_STEPS_TRAINED_LIFETIME)
        self.counts["env_steps"] = int(runners.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, self.counts["env_steps"]))
        self.counts["samples"] = int(self.counts["samples"] if trained is None else trained)
        self._take_games(runners)
        self.counts["seconds"] += seconds
        row = self._counters(before, seconds)
        row |= self._games() | self._runners() | self._learning(learners.get(DEFAULT_MODULE_ID, {}))
        row["events"], self._events = self._events, []
        return row

    def _updates(self) -> int:
        return int(self.counts["samples"]) // self.spec.training.batch_size

    def _counters(self, before: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        buffer = self.algorithm.local_replay_buffer
        stored = 0 if buffer is None else int(buffer.get_num_timesteps())
        env_steps, updates = self.counts["env_steps"], self._updates()
        learned_from = max(1, env_steps - self.spec.training.learning_starts_env_steps)
        rate = (env_steps - before["env_steps"]) / seconds
        frames = self.env_spec.frames_per_step
        return {
            **self.counts,
            "env_frames": env_steps * frames,
            "updates": updates,
            "env_steps_per_second": rate,
            "env_frames_per_second": rate * frames,
            "updates_per_second": (updates - before["updates"]) / seconds,
            "replay_env_steps": stored,
            "replay_capacity": self.spec.replay.capacity,
            "replay_fill": stored / self.spec.replay.capacity,
            "replay_ratio": self.counts["samples"] / learned_from,
            "replay_ratio_target": self.spec.replay.samples_per_env_step or 0.0,
            "lr": self.spec.training.lr,
            "epsilon_mean": self._epsilon(),
            "lost_env_steps": 0,
        }

    def _epsilon(self) -> float:
        start = self.spec.training.learning_starts_env_steps
        source = EpsilonSource.from_section(self.spec.exploration, 1, start)
        return float(source([0], self.counts["env_steps"])[0])

    def _take_games(self, runners: Mapping[str, Any]) -> None:
        returns = np.ravel(runners.get(GAME_RETURNS, ())).tolist()
        self._returns.extend(returns)
        self._lengths.extend(np.ravel(runners.get(GAME_LENGTHS, ())).tolist())
        self.counts["episodes"] += len(returns)

    def _games(self) -> dict[str, float]:
        if not self._returns:
            return {}
        return {
            "return_mean": float(np.mean(self._returns)),
            "return_max": float(np.max(self._returns)),
            "episode_length_mean": float(np.mean(self._lengths)),
        }

    def _runners(self) -> dict[str, int]:
        group = self.algorithm.env_runner_group
        if self.spec.env_runners.num_env_runners == 0:
            return {"healthy_runners": 1, "restarted_runners": 0}
        restarts = int(group.num_remote_worker_restarts())
        if restarts > self._restarts:
            self._events.append(f"{restarts - self._restarts} runner(s) died and were restarted")
            self._restarts = restarts
        return {"healthy_runners": group.num_healthy_remote_workers(), "restarted_runners": restarts}

    def _learning(self, module: Mapping[str, Any]) -> dict[str, float]:
        return {name: float(module[theirs]) for name, theirs in _LEARNER_METRICS.items() if theirs in module}

    # Evaluation.

    def evaluate_policy(
        self, episodes: int, epsilon: float, seed: int, abandon: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Play whole episodes with the learner's weights: `returns`, `lengths`, `seconds`.

        Raises:
            EvaluationAbandonedError: `abandon`, which is asked before every step, said so.
        """
        started = time.perf_counter()
        modules = self.algorithm.config.get_multi_rl_module_spec(
            spaces=self.algorithm.spaces, inference_only=True
        ).build()
        weights = self.algorithm.learner_group.get_weights()
        modules[DEFAULT_MODULE_ID].set_state(weights[DEFAULT_MODULE_ID])
        self._played_modules = modules
        played = play_episodes(
            modules[DEFAULT_MODULE_ID].eval(),
            self.env_spec,
            episodes=episodes,
            num_envs=self.spec.evaluation.num_envs,
            epsilon=epsilon,
            seed=seed,
            abandon=abandon,
        )
        return {
            "returns": played.returns.tolist(),
            "lengths": played.lengths.tolist(),
            "seconds": time.perf_counter() - started,
        }

    def save_policy(self, directory: Path | str) -> None:
        """Write the network that the last evaluation played, as `rlx.actors.player.load_policy` reads it."""
        self._played_modules.save_to_path(Path(directory).absolute() / POLICY_PATH)

    # Checkpoints.

    def begin_checkpoint(self, directory: Path | str) -> DoneJob:
        """Write RLlib's checkpoint, without the replay, and our counters; complete on return."""
        directory = Path(directory).absolute()
        self.algorithm.save_to_path(directory)
        (directory / _STATE_FILE).write_text(json.dumps(self.counts))
        counters = {name: self.counts[name] for name in ("env_steps", "samples")}
        return DoneJob(
            {
                **counters,
                "updates": self._updates(),
                "restarted_episodes": True,
                "includes_replay": False,
            }
        )

    def restore(self, directory: Path | str) -> None:
        """Take a checkpoint, right after construction. The replay fills anew before learning goes on.

        Raises:
            RuntimeError: this engine has already trained (RLlib would keep its newer weights).
        """
        if self.counts["env_steps"]:
            raise RuntimeError("restore into a fresh engine: RLlib keeps newer weights in a live one")
        directory = Path(directory).absolute()
        self.algorithm.restore_from_path(directory)
        self.counts.update(json.loads((directory / _STATE_FILE).read_text()))
        again = max(self.spec.training.learning_starts_env_steps, self.spec.training.batch_size)
        config = self.algorithm.config.copy(copy_frozen=False)
        config.num_steps_sampled_before_learning_starts = self.counts["env_steps"] + again
        config.freeze()
        self.algorithm.config = config
        self._events.append(
            f"RLlib does not checkpoint its replay: {again} env steps fill it before learning"
        )

    def stop(self) -> None:
        """End runners and learners."""
        self.algorithm.stop()
