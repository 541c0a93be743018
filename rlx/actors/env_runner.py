"""The environment runner: N lanes acted in together, handed over as columnar blocks.

It is an RLlib `SingleAgentEnvRunner`, so that `EnvRunnerGroup`, its fault tolerance and Tune treat it
as any other; `sample` and the connector path behind it are replaced by `collect`, which sends a block
of columns straight to a replay shard (docs/design/0001-contracts.md).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MEAN,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
)

from rlx.actors.lanes import Lanes
from rlx.actors.player import PlayedEpisodes, play_episodes
from rlx.actors.policy import make_policy
from rlx.envs.vector import make_vector_env
from rlx.networks.determinism import settle_determinism, small_seeding
from rlx.replay.block import Block


@dataclass(frozen=True)
class CollectRequest:
    """What the driver asks of a runner.

    Attributes:
        steps: T, rows to collect per lane.
        env_steps: the run's environment steps so far, for schedules.
        shard: replay shard that takes the block: an actor handle, or a `ReplayShard` in this process.
            None: the block comes back with the report (the shard is in the driver's process).
        weights: module state, or a reference to it, when newer than what the runner has.
        version: learner updates behind those weights.
    """

    steps: int
    env_steps: int = 0
    shard: Any = None
    weights: Any = None
    version: int = -1


@dataclass
class Episode:
    """A finished training episode: undiscounted raw return, length in env steps, epsilon, lane."""

    episode_return: float
    length_env_steps: int
    epsilon: float
    lane_id: int


@dataclass
class CollectReport:
    """What a runner tells the driver after a block: counts and times.

    Attributes:
        worker_index, env_steps, episodes, version, weights_seconds: see the names.
        sample_seconds: spent acting and stepping.
        shard_seconds: spent waiting for a shard to take earlier blocks.
        epsilon_mean: of the lanes; None if the runner only waited for its shard.
        has_weights: False if the runner acted on weights nobody sent it (it was restarted).
        lost_env_steps: env steps of blocks that a dead shard did not take.
        plugin_metrics: name -> value.
        first_env_step_at: `time.time()` of this runner's first step.
        block: only if the request named no shard.
    """

    worker_index: int
    env_steps: int
    version: int
    has_weights: bool
    sample_seconds: float
    shard_seconds: float
    weights_seconds: float
    epsilon_mean: float | None
    lost_env_steps: int = 0
    episodes: list[Episode] = field(default_factory=list)
    plugin_metrics: dict[str, float] = field(default_factory=dict)
    first_env_step_at: float = 0.0
    block: Block | None = None


class ReplayEnvRunner(SingleAgentEnvRunner):
    """Act in N environments and hand blocks of columns to replay shards.

    Source: actors of [ApeX] section 3, Algorithm 1: act, compute Q values once, send a block.
    """

    #: Blocks that may be on their way to a shard before this runner waits for it.
    MAX_BLOCKS_IN_FLIGHT = 2
    #: Seconds that one request waits for a shard that takes no blocks; then it answers without having acted.
    SHARD_WAIT_SECONDS = 5.0
    #: Seconds that blocks on their way are waited for before a checkpoint, unless the driver says how many.
    FLUSH_SECONDS = 2.0

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        with small_seeding():
            super().__init__(config=config, **kwargs)
        self.version = -1
        self._evaluations = 0
        self._first_env_step_at = 0.0
        self._pending: list[tuple[Any, int]] = []
        self._lost_env_steps = 0
        self.lanes: Lanes | None = None
        self.policy = make_policy(self.module, self._device, fresh_noise=True)
        if self.env is not None:
            self.lanes = self._make_lanes(self.env, self.config.runner_seed(self.worker_index or 0))

    def make_env(self) -> None:
        """Build this runner's vector environment (RLlib hook)."""
        if self.env is not None:
            self.env.close()
        if self.worker_index:
            torch.set_num_threads(1)  # runners share the cores: more threads per process only contend
        self.env = make_vector_env(
            self.config.env_spec(),
            self.config.num_envs_per_env_runner,
            seed=self.config.runner_seed(self.worker_index or 0),
            num_threads=1,
        )
        self.num_envs = self.env.num_envs

    def make_module(self) -> None:
        """Build the acting network on this runner's device (RLlib hook)."""
        spec = self.config.get_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()
        settle_determinism(self.config.rlx.debugging.deterministic)
        self._device = self.config.runner_device(self.worker_index or 0)
        self.module.to(self._device)
        self.module.eval().requires_grad_(False)

    def get_spaces(self) -> dict[str, Any]:
        """Return the spaces of the stacked observation and the action (RLlib hook)."""
        return self.config.module_spaces()

    def _make_lanes(self, env: Any, seed: int) -> Lanes:
        return Lanes(
            env,
            worker_index=self.worker_index or 0,
            seed=seed,
            stream_id=int.from_bytes(os.urandom(7), "little"),
            epsilon=self.config.epsilon_source(),
            plugins=self.config.plugin_set(),
            plugin_context=self.config.plugin_context(
                num_lanes=env.num_envs,
                worker_index=self.worker_index or 0,
                seed=seed,
                device=str(self._device),
            ),
            plugin_modules=dict(self.module.plugin_modules.items()),
            recurrent=self.config.recurrent,
        )

    def _take_weights(self, weights: Any, version: int) -> float:
        """Load other weights; return the seconds it took."""
        started = time.perf_counter()
        if weights is None:
            self.version = max(self.version, version)
        else:
            try:
                # Half of the time after which this runner would be taken for dead.
                timeout = self.config.rlx.fault_tolerance.runner_timeout_seconds / 2
                remote = isinstance(weights, ray.ObjectRef)
                state = ray.get(weights, timeout=timeout) if remote else weights
            except ray.exceptions.RayError:
                pass  # the learner died, or is out of reach: act on with what is here
            else:
                self.module.set_state(state)
                self.version = version
        return time.perf_counter() - started

    def collect(self, request: CollectRequest) -> CollectReport:
        """Act for `request.steps` rows in every lane and send the block to the shard.

        While the shard does not take what it was sent before, nothing is acted: the report counts no step,
        so that the driver sees that this runner lives.
        """
        assert self.lanes is not None
        weights_seconds = self._take_weights(request.weights, request.version)
        started = time.perf_counter()
        if not self._has_room(self._patience()):
            return self._waiting_report(weights_seconds, time.perf_counter() - started)
        self._first_env_step_at = self._first_env_step_at or time.time()
        started = time.perf_counter()
        block, episodes, epsilon_mean = self.lanes.collect(
            self.policy,
            request.steps,
            request.env_steps,
            self.version,
        )
        sampled = time.perf_counter()
        env_steps = int(block.columns["acted"].sum())
        self.num_env_steps_sampled_lifetime += env_steps
        self._send(block, request.shard, env_steps)
        lost, self._lost_env_steps = self._lost_env_steps, 0
        return CollectReport(
            worker_index=self.worker_index or 0,
            env_steps=env_steps,
            version=self.version,
            has_weights=self.version >= 0,
            sample_seconds=sampled - started,
            shard_seconds=time.perf_counter() - sampled,
            weights_seconds=weights_seconds,
            epsilon_mean=epsilon_mean,
            lost_env_steps=lost,
            episodes=[Episode(*episode) for episode in episodes],
            plugin_metrics=self.lanes.plugin_metrics(),
            first_env_step_at=self._first_env_step_at,
            block=block if request.shard is None else None,
        )

    def _send(self, block: Block, shard: Any, env_steps: int) -> None:
        """Hand a block over; wait only when too many are on their way."""
        if shard is None:
            return
        if not isinstance(shard, ray.actor.ActorHandle):
            shard.add(block)
            return
        self._pending.append((shard.add.remote(block), env_steps))
        self._has_room(self._patience())

    def _patience(self) -> float:
        return min(self.SHARD_WAIT_SECONDS, self.config.rlx.fault_tolerance.runner_timeout_seconds / 4)

    def _has_room(self, timeout_seconds: float, room: int = MAX_BLOCKS_IN_FLIGHT) -> bool:
        """Wait until at most `room` blocks are on their way; return whether that came true in time.

        Ray holds calls to a shard that starts again, so that blocks arrive when it is back.
        """
        deadline = time.monotonic() + timeout_seconds
        while len(self._pending) > room:
            reference, steps = self._pending[0]
            try:
                ray.get(reference, timeout=max(0.0, deadline - time.monotonic()))
            except ray.exceptions.GetTimeoutError:
                return False
            except ray.exceptions.RayError:
                self._lost_env_steps += steps
            self._pending.pop(0)
        return True

    def _waiting_report(self, weights_seconds: float, waited_seconds: float) -> CollectReport:
        lost, self._lost_env_steps = self._lost_env_steps, 0
        return CollectReport(
            worker_index=self.worker_index or 0,
            env_steps=0,
            version=self.version,
            has_weights=self.version >= 0,
            sample_seconds=0.0,
            shard_seconds=waited_seconds,
            weights_seconds=weights_seconds,
            epsilon_mean=None,
            lost_env_steps=lost,
            first_env_step_at=self._first_env_step_at,
        )

    def flush(self, timeout_seconds: float | None = None) -> int:
        """Wait a while for blocks on their way to the shard; return the env steps lost so far."""
        self._has_room(self.FLUSH_SECONDS if timeout_seconds is None else timeout_seconds, room=0)
        return self._lost_env_steps

    def restart_episodes(self, seed: int) -> None:
        """Start every lane anew, as a new stream (used where an emulator cannot be saved)."""
        assert self.lanes is not None
        self.lanes.restart(seed)

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[PlayedEpisodes]:
        """Play episodes for RLlib's evaluation; training goes through `collect`."""
        settings = self.config.rlx.evaluation
        epsilon = 1.0 if random_actions else settings.epsilon
        seed = self.config.runner_seed(self.worker_index or 0) + 1_000_003 * (1 + self._evaluations)
        self._evaluations += 1
        played = play_episodes(
            self.module,
            self.config.env_spec(),
            episodes=num_episodes or settings.episodes,
            num_envs=settings.num_envs,
            epsilon=epsilon,
            seed=seed,
            device=self._device,
        )
        for name, value in (
            (EPISODE_RETURN_MEAN, float(played.returns.mean())),
            (EPISODE_LEN_MEAN, float(played.lengths.mean())),
        ):
            self.metrics.log_value(name, value, window=1)
        self.metrics.log_value(NUM_EPISODES, len(played.returns), reduce="sum")
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED, played.env_steps(), reduce="sum")
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, played.env_steps(), reduce="lifetime_sum")
        return [played]

    def get_metrics(self) -> Any:
        """Return RLlib's reduced metrics (evaluation only; training reports through `collect`)."""
        return self.metrics.reduce()

    def get_lane_state(self) -> dict[str, Any]:
        """Return what continues a lane after a restart: RNGs, schedules, plugins, environments."""
        assert self.lanes is not None
        return {"lanes": self.lanes.get_state(), "policy": self.policy.get_state(), "version": self.version}

    def set_lane_state(self, state: dict[str, Any]) -> bool:
        """Take `get_lane_state`'s result; return whether the episodes in progress go on."""
        assert self.lanes is not None
        self.version = state["version"]
        self.policy.set_state(state["policy"])
        return self.lanes.set_state(state["lanes"])

    def assert_healthy(self) -> None:
        """Raise if construction did not complete (RLlib hook)."""
        assert self.env is not None
        assert self.module is not None

    def stop(self) -> None:
        """Close the environments."""
        if self.env is not None:
            self.env.close()
