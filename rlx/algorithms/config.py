"""AlgorithmConfigs of the engine: RLlib's, carrying a resolved experiment."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES

from rlx.actors.env_runner import ReplayEnvRunner
from rlx.actors.epsilon import EpsilonSource
from rlx.envs.spec import EnvSpec, resolve_env
from rlx.envs.vector import EnvInfo, describe_env
from rlx.experiment.check import learner_threads
from rlx.experiment.memory import EnvShape, PartSizes, SequenceShape, part_sizes
from rlx.experiment.spec import ExperimentSpec
from rlx.learners.q_learner import QLearner
from rlx.networks.q_network import QNetworkConfig
from rlx.networks.rl_module import QModule
from rlx.plugins import PluginContext, PluginSet, Sequences, make_plugins
from rlx.replay.config import ShardConfig
from rlx.replay.recurrent import PREVIOUS_COLUMNS, STORED_STATE
from rlx.replay.windows import WindowSpec


def device_of(name: str) -> torch.device:
    """Return the torch device of `cpu`, `cuda`, `cuda:N`, or `auto` (cuda where there is one)."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _named(name: str | None) -> Any:
    """Return the class that `package.module:Class` names; None for None."""
    if name is None:
        return None
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


class ReplayConfig(AlgorithmConfig):
    """Base of the engine's configs: everything that is ours stands in `rlx`, the resolved experiment.

    RLlib's own fields are filled from it by `from_experiment`, never the other way round, so that the
    experiment (and the manifest of a run) is the whole truth.
    """

    rlx: ExperimentSpec
    _placed_learner_threads: int | None = None

    def from_experiment(self, spec: ExperimentSpec, *, seed: int | None = None) -> Self:
        """Fill this config from a resolved experiment with one environment.

        Args:
            spec: the experiment.
            seed: the run's seed; the first of the experiment's by default.
        """
        self.rlx = spec
        self._env_info = describe_env(self.env_spec())
        # Made here and sent along: the registry of another process may not know them.
        self._plugins = make_plugins(spec.plugins)
        runners, learners, faults = spec.env_runners, spec.learners, spec.fault_tolerance
        spaces = self.module_spaces()[DEFAULT_MODULE_ID]
        self.environment(env=spec.envs[0], observation_space=spaces[0], action_space=spaces[1])
        self.env_runners(
            env_runner_cls=ReplayEnvRunner,
            num_env_runners=runners.num_env_runners,
            num_envs_per_env_runner=runners.num_envs_per_env_runner,
            num_cpus_per_env_runner=runners.num_cpus_per_env_runner,
            # RLlib's manager drops what goes beyond its own limit, which is one.
            max_requests_in_flight_per_env_runner=runners.max_requests_in_flight,
            create_local_env_runner=runners.num_env_runners == 0,
            validate_env_runners_after_construction=True,
            add_default_connectors_to_env_to_module_pipeline=False,
            add_default_connectors_to_module_to_env_pipeline=False,
        )
        local_gpus = int(device_of(learners.device).type == "cuda")
        self.learners(
            num_learners=learners.num_learners,
            num_gpus_per_learner=learners.num_gpus_per_learner if learners.num_learners else local_gpus,
            local_gpu_idx=device_of(learners.device).index or 0,
            max_requests_in_flight_per_learner=2,
            learner_class=self.get_default_learner_class(),
        )
        self.training(
            lr=spec.training.lr,
            gamma=spec.training.gamma,
            train_batch_size_per_learner=spec.training.batch_size // max(1, learners.num_learners),
        )
        self.fault_tolerance(
            restart_failed_env_runners=faults.restart_failed_env_runners,
            ignore_env_runner_failures=faults.restart_failed_env_runners,
            max_num_env_runner_restarts=faults.max_restarts,
        )
        self.debugging(
            seed=spec.seeds[0] if seed is None else seed, log_level=_RAY_LEVELS[spec.debugging.log_level]
        )
        self.reporting(min_time_s_per_iteration=None)
        self._dont_auto_sync_env_runner_states = True
        return self

    # What runners and learners read.

    def env_spec(self) -> EnvSpec:
        """Return the environment with its protocol resolved."""
        return resolve_env(self.rlx.envs[0], self.rlx.environment)

    @property
    def env_info(self) -> EnvInfo:
        """Return shapes and counts of the environment."""
        return self._env_info

    def runner_seed(self, worker_index: int) -> int:
        """Return the seed of a runner, far from its neighbours'."""
        return int(np.random.SeedSequence([self.seed or 0, 1, worker_index]).generate_state(1)[0] >> 1)

    def learner_seed(self) -> int:
        """Return the seed of learner-side plugins."""
        return int(np.random.SeedSequence([self.seed or 0, 2]).generate_state(1)[0] >> 1)

    def shard_seed(self, shard_index: int) -> int:
        """Return the seed of a shard's sampling."""
        return int(np.random.SeedSequence([self.seed or 0, 3, shard_index]).generate_state(1)[0] >> 1)

    def runner_device(self, worker_index: int) -> torch.device:
        """Return where a runner computes: `auto` is the learner's device in the driver, the CPU elsewhere."""
        asked = self.rlx.env_runners.device
        if asked != "auto":
            return device_of(asked)
        return torch.device("cpu") if worker_index else device_of(self.rlx.learners.device)

    def place_learners(self, threads: int | None, resources: Mapping[str, float]) -> None:
        """Take what the plan of a cluster says of learners.

        Args:
            threads: torch threads of each; None: as many as this machine leaves.
            resources: of Ray, to put each learner's process where the plan has it.
        """
        self._placed_learner_threads = threads
        self.learners(custom_resources_per_learner=dict(resources))

    def learner_torch_threads(self) -> int:
        """Return the torch threads of a learner: by the plan of the cluster, or on this machine."""
        if self._placed_learner_threads is not None:
            return self._placed_learner_threads
        return learner_threads(self.rlx, self.rlx.resources.num_cpus or len(os.sched_getaffinity(0)))

    def part_sizes(self) -> PartSizes:
        """Return the bytes of each part of the run."""
        info = self._env_info
        shape = EnvShape(
            frame_shape=tuple(info.frame_shape),
            dtype_bytes=np.dtype(info.frame_dtype).itemsize,
            frame_stack=info.frame_stack,
            num_actions=info.num_actions,
        )
        plugins = self.plugin_set()
        sequences = plugins.only("sequences", self.rlx.training.n_step)
        return part_sizes(self.rlx, shape, SequenceShape.of(sequences, plugins.merged("network")))

    def module_spaces(self) -> dict[str, Any]:
        """Return RLlib's spaces: the stacked observation and the discrete action."""
        info = self._env_info
        shape = (info.frame_stack, *info.frame_shape)
        if np.dtype(info.frame_dtype) == np.uint8:
            observation = gym.spaces.Box(0, 255, shape, np.uint8)
        else:
            observation = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
        single = (observation, gym.spaces.Discrete(info.num_actions))
        return {INPUT_ENV_SPACES: single, INPUT_ENV_SINGLE_SPACES: single, DEFAULT_MODULE_ID: single}

    def epsilon_source(self) -> EpsilonSource:
        """Return the exploration rates of all lanes."""
        runners = self.rlx.env_runners
        lanes = max(1, runners.num_env_runners) * runners.num_envs_per_env_runner
        return EpsilonSource.from_section(
            self.rlx.exploration, lanes, self.rlx.training.learning_starts_env_steps
        )

    def plugin_set(self) -> PluginSet:
        """Return the plugins of the experiment."""
        return self._plugins

    def plugin_context(
        self, *, num_lanes: int = 0, worker_index: int = 0, seed: int = 0, device: str = "cpu"
    ) -> PluginContext:
        """Return what plugins may know, for one runner or learner."""
        info = self._env_info
        return PluginContext(
            num_lanes=num_lanes,
            num_actions=info.num_actions,
            frame_shape=tuple(info.frame_shape),
            frame_dtype=str(np.dtype(info.frame_dtype)),
            frame_stack=info.frame_stack,
            gamma=self.rlx.training.gamma,
            worker_index=worker_index,
            seed=seed,
            device=device,
        )

    @property
    def recurrent(self) -> bool:
        """Whether the network remembers."""
        return self.network_config().lstm_size > 0

    def window_spec(self) -> WindowSpec:
        """Return which rows a learner gets for each sample.

        N + 1 from every step, or a plugin's sequences.
        """
        n_step = self.rlx.training.n_step
        sequences: Sequences | None = self.plugin_set().only("sequences", n_step)
        if sequences is None:
            return WindowSpec(length=1 + n_step, period=1, prefix=0)
        return WindowSpec(sequences.length, sequences.period, sequences.prefix)

    def extra_columns(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return dtype and shape of the columns beyond the engine's own.

        Plugins', and those of recurrence.
        """
        columns = self.plugin_set().columns(self.plugin_context())
        extra = {name: (column.dtype, column.shape) for name, column in columns.items()}
        return {**extra, **PREVIOUS_COLUMNS} if self.recurrent else extra

    def sparse_columns(self) -> dict[str, Any]:
        """Return what shards keep of recurrent states: fields of `ShardConfig`."""
        sequences: Sequences | None = self.plugin_set().only("sequences", self.rlx.training.n_step)
        if sequences is None or not sequences.state_offsets:
            return {}
        return {
            "sparse_columns": {STORED_STATE: ("float32", (2, self.network_config().lstm_size))},
            "sparse_offsets": sequences.state_offsets,
        }

    def shard_config(self, shard_index: int) -> ShardConfig:
        """Return the settings of one replay shard."""
        spec, info = self.rlx, self._env_info
        shards = max(1, spec.replay.num_shards)
        runners = max(1, spec.env_runners.num_env_runners)
        served = len(range(shard_index, runners, shards))
        return ShardConfig(
            capacity_env_steps=spec.replay.capacity // shards,
            num_lanes=served * spec.env_runners.num_envs_per_env_runner,
            frame_shape=tuple(info.frame_shape),
            frame_dtype=str(np.dtype(info.frame_dtype)),
            frame_stack=info.frame_stack,
            window=self.window_spec(),
            n_step=spec.training.n_step,
            gamma=spec.training.gamma,
            reward_clip=spec.training.reward_clip,
            prioritized=spec.replay.prioritized,
            priority_exponent=spec.replay.priority_exponent,
            priority_epsilon=spec.replay.priority_epsilon,
            initial_priority=spec.replay.initial_priority,
            min_items=max(
                1, min(spec.training.batch_size, spec.training.learning_starts_env_steps) // shards
            ),
            seed=self.shard_seed(shard_index),
            extra_columns=self.extra_columns(),
            compression=spec.replay.compression,
            **self.sparse_columns(),
            **self.plugin_set().merged("replay"),
        )

    def network_config(self) -> QNetworkConfig:
        """Return the shape of the Q network."""
        training, network, info = self.rlx.training, self.rlx.rl_module, self._env_info
        return QNetworkConfig(
            torso=network.torso,
            frame_shape=tuple(info.frame_shape),
            frame_stack=info.frame_stack,
            num_actions=info.num_actions,
            conv_layers=network.conv_layers,
            hidden_sizes=tuple(network.hidden_sizes),
            head_hidden_size=network.head_hidden_size,
            activation=network.activation,
            dueling=training.dueling,
            distributional=training.distributional,
            num_atoms=training.num_atoms,
            v_min=training.v_min,
            v_max=training.v_max,
            noisy=training.noisy,
            noisy_sigma0=training.noisy_sigma0,
            **self.plugin_set().merged("network"),
        )

    # RLlib hooks.

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Return the module's class and settings (RLlib hook)."""
        return RLModuleSpec(
            module_class=_named(self.plugin_set().only("module_class")) or QModule,
            model_config={
                "network": self.network_config(),
                "double": self.rlx.training.double,
                "precision": self.rlx.training.precision,
                "acting_precision": self.rlx.env_runners.precision,
                "plugins": self.plugin_set(),
                "context": self.plugin_context(),
            },
        )

    def get_default_learner_class(self) -> type[QLearner]:
        """Return the learner's class: a plugin's, or the algorithm's (RLlib hook)."""
        return _named(self.plugin_set().only("learner_class")) or QLearner

    def build_env_to_module_connector(self, env: Any = None, spaces: Any = None, device: Any = None) -> Any:
        """Build a pipeline that does nothing: runners stack frames themselves (RLlib hook)."""
        return super().build_env_to_module_connector(env=None, spaces=self.module_spaces(), device=device)

    def build_module_to_env_connector(self, env: Any = None, spaces: Any = None) -> Any:
        """Build a pipeline that does nothing: runners choose actions themselves (RLlib hook)."""
        return super().build_module_to_env_connector(env=None, spaces=self.module_spaces())

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {}


_RAY_LEVELS = {"DEBUG": "DEBUG", "INFO": "INFO", "WARNING": "WARN", "ERROR": "ERROR"}
