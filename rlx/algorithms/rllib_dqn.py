"""RLlib's own DQN behind the run loop's interface, for comparison (`algorithm: rllib/DQN`).

RLlib's algorithm, learner, episode replay buffer and runners are used as they are. Three things are ours, so
that a comparison compares the same task: the environment (one protocol, `rlx.envs`), the Q network (the same
parameters; frames stay bytes until the network scales them), and Adam's epsilon, which RLlib's learner
ignores. What stays different: with n > 1 RLlib's prioritised buffer never samples the last n - 1 steps of an
episode and its uniform one bootstraps through the end; `loss: squared` is the whole square there; a lost life
that terminates costs one transition; its checkpoints hold no replay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import torch
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.dqn.default_dqn_rl_module import ATOMS, QF_LOGITS, QF_PREDS, QF_PROBS
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.schedules.scheduler import Scheduler
from ray.tune.registry import register_env

from rlx.algorithms.dqn import DQNConfig as EngineConfig
from rlx.algorithms.rllib_engine import RllibEngine
from rlx.algorithms.rllib_env import RllibVectorEnv, log_finished_games, observation_space
from rlx.errors import RlxError
from rlx.experiment.convolutions import conv_layers
from rlx.experiment.spec import ExperimentSpec
from rlx.networks.q_network import QNetwork, QNetworkConfig

_ENV_NAME = "rlx-vector-env"
#: Whose Q network RLlib's DQN learns.
Network = Literal["shared", "rllib"]


class SharedNetworkModule(DefaultDQNTorchRLModule):
    """RLlib's DQN module around the Q network of this package."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Past the parent's: it would look for a catalog's encoder of these observations.
        super(DefaultDQNTorchRLModule, self).__init__(*args, **kwargs)

    def setup(self) -> None:
        """Build network and exploration schedule (RLlib hook)."""
        settings = self.model_config
        self.uses_double_q = settings["double_q"]
        self.num_atoms = settings["num_atoms"]
        self.epsilon_schedule = Scheduler(fixed_value_or_schedule=settings["epsilon"], framework="torch")
        self.network_config: QNetworkConfig = settings["network"]
        self.q_network = QNetwork(self.network_config)

    def get_initial_state(self) -> dict[str, Any]:
        """Return nothing: the network remembers nothing (RLlib hook)."""
        return {}

    def make_target_networks(self) -> None:
        """Copy the network into a frozen target (RLlib hook)."""
        self.target_q_network = make_target_network(self.q_network)

    def get_target_network_pairs(self) -> list[tuple[Any, Any]]:
        """Return `[(online, target)]` (RLlib hook)."""
        return [(self.q_network, self.target_q_network)]

    def get_non_inference_attributes(self) -> list[str]:
        """Name what runners do not hold (RLlib hook)."""
        return ["target_q_network"]

    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Run the online network (RLlib hook)."""
        return _rllib_outputs(self.q_network, batch[Columns.OBS])

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Run the target network (RLlib hook)."""
        return _rllib_outputs(self.target_q_network, batch[Columns.OBS])

    def q_values(self, obs: torch.Tensor) -> torch.Tensor:
        """Return Q values `[N, A]` of stacked observations, for `rlx.actors.player`."""
        return self.q_network(obs).q  # type: ignore[no-any-return]


def _rllib_outputs(network: QNetwork, obs: torch.Tensor) -> dict[str, Any]:
    output = network(obs)
    result = {QF_PREDS: output.q}
    if output.logits is not None:
        result |= {
            ATOMS: network.atoms,
            QF_LOGITS: output.logits,
            QF_PROBS: torch.softmax(output.logits, -1),
        }
    return result


class AdamEpsilonLearner(DQNTorchLearner):
    """RLlib's DQN learner with the Adam epsilon that its config names and its own code ignores."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register RLlib's optimiser (RLlib hook)."""
        params = [p for p in self.get_parameters(self._module[module_id]) if p.requires_grad]
        optimizer = torch.optim.Adam(params, eps=config.adam_epsilon)
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=params, lr_or_lr_schedule=config.lr
        )


def build_rllib_config(spec: ExperimentSpec, network: Network = "shared") -> DQNConfig:
    """Map an experiment with one environment and one seed to RLlib's DQNConfig.

    Counts are converted to RLlib's: the target period from updates to env steps, the replay ratio to RLlib's
    `training_intensity`. RLlib rounds the ratio to whole calls of its sampler per update, or the reverse.

    Args:
        spec: the experiment.
        network: `shared`: this package's, on bytes. `rllib`: RLlib's own, of the same size, on the float32
            images of its Atari wrapper; convolutional torsos only, and only for benchmarks: `RllibEngine`
            cannot evaluate it.

    Raises:
        RlxError: RLlib's DQN cannot do what a value asks for.
    """
    training, runners = spec.training, spec.env_runners
    if training.noisy:
        raise RlxError("RLlib's DQN has no noisy networks", "training.noisy", "set it to false")
    engine = EngineConfig().from_experiment(spec)
    config = DQNConfig()
    register_env(_ENV_NAME, _make_env)
    info = engine.env_info
    normalized = network == "rllib"
    config.environment(
        _ENV_NAME,
        observation_space=observation_space(info.frame_stack, info.frame_shape, info.frame_dtype, normalized),
        action_space=gym.spaces.Discrete(info.num_actions),
        env_config={
            "spec": engine.env_spec(),
            "reward_clip": training.reward_clip,
            "normalized": normalized,
        },
    )
    config.env_runners(
        num_env_runners=runners.num_env_runners,
        num_envs_per_env_runner=runners.num_envs_per_env_runner,
        num_cpus_per_env_runner=runners.num_cpus_per_env_runner,
        rollout_fragment_length=max(runners.rollout_length_env_steps, training.n_step),
        gym_env_vectorize_mode="vector_entry_point",
    )
    config.callbacks(on_sample_end=log_finished_games)
    config.learners(
        num_learners=spec.learners.num_learners,
        num_gpus_per_learner=spec.learners.num_gpus_per_learner,
        learner_class=AdamEpsilonLearner,
    )
    if network == "rllib":
        config.rl_module(model_config=_rllib_network(spec))
    else:
        config.rl_module(rl_module_spec=_shared_network(spec, engine.network_config()))
    _fill_training(config, spec)
    config.fault_tolerance(
        restart_failed_env_runners=spec.fault_tolerance.restart_failed_env_runners,
        max_num_env_runner_restarts=spec.fault_tolerance.max_restarts,
    )
    config.debugging(seed=spec.seeds[0], log_level="ERROR")
    config.reporting(
        min_time_s_per_iteration=spec.reporting.interval_seconds, min_sample_timesteps_per_iteration=1
    )
    return config


def _shared_network(spec: ExperimentSpec, network: QNetworkConfig) -> RLModuleSpec:
    training = spec.training
    return RLModuleSpec(
        module_class=SharedNetworkModule,
        model_config={
            "network": network,
            "double_q": training.double,
            "dueling": training.dueling,
            "num_atoms": training.num_atoms if training.distributional else 1,
            "epsilon": _epsilon(spec),
        },
    )


def _make_env(context: Any) -> RllibVectorEnv:
    return RllibVectorEnv(
        context["spec"], context["num_envs"], 0, context["reward_clip"], context["normalized"]
    )


def _rllib_network(spec: ExperimentSpec) -> DefaultModelConfig:
    """Describe a network of the same parameters to RLlib, which pads convolutions unless told not to."""
    layers = conv_layers(spec.rl_module)
    if not layers:
        raise RlxError(f"torso {spec.rl_module.torso!r} has no convolutions", "rl_module.torso")
    return DefaultModelConfig(
        conv_filters=[[*layer, "valid"] for layer in layers],
        conv_activation=spec.rl_module.activation,
        head_fcnet_hiddens=[spec.rl_module.head_hidden_size],
        head_fcnet_activation=spec.rl_module.activation,
    )


def _epsilon(spec: ExperimentSpec) -> Any:
    exploration, start = spec.exploration, spec.training.learning_starts_env_steps
    if exploration.kind == "constant":
        return exploration.epsilon
    corner = (start, exploration.initial)
    corners = [corner] if start == 0 else [(0, exploration.initial), corner]
    return [*corners, (start + exploration.decay_env_steps, exploration.final)]


def _fill_training(config: DQNConfig, spec: ExperimentSpec) -> None:
    training, replay = spec.training, spec.replay
    prioritized = {
        "type": "PrioritizedEpisodeReplayBuffer",
        "capacity": replay.capacity,
        "alpha": replay.priority_exponent,
        "beta": replay.importance_exponent,
    }
    uniform = {"type": "EpisodeReplayBuffer", "capacity": replay.capacity}
    ratio = replay.samples_per_env_step
    config.training(
        lr=training.lr,
        gamma=training.gamma,
        train_batch_size_per_learner=training.batch_size // max(1, spec.learners.num_learners),
        grad_clip=training.grad_clip_norm,
        adam_epsilon=training.adam_epsilon,
        n_step=training.n_step,
        epsilon=_epsilon(spec),
        double_q=training.double,
        dueling=training.dueling,
        num_atoms=training.num_atoms if training.distributional else 1,
        v_min=training.v_min,
        v_max=training.v_max,
        td_error_loss_fn="huber" if training.loss == "huber" else "mse",
        num_steps_sampled_before_learning_starts=training.learning_starts_env_steps,
        target_network_update_freq=round(
            training.target_update_period_updates
            * training.batch_size
            / (ratio or _natural_ratio(config, spec))
        ),
        training_intensity=None if ratio is None else _intensity(config, spec, ratio),
        replay_buffer_config=prioritized if replay.prioritized else uniform,
    )


def _steps_per_call(config: DQNConfig, spec: ExperimentSpec) -> int:
    """Env steps that one call of RLlib's sampler brings."""
    runners = spec.env_runners
    fragment: Any = config.rollout_fragment_length
    return int(fragment) * runners.num_envs_per_env_runner * max(1, runners.num_env_runners)


def _natural_ratio(config: DQNConfig, spec: ExperimentSpec) -> float:
    """Samples per env step where RLlib runs free: one update per call of the sampler."""
    return spec.training.batch_size / _steps_per_call(config, spec)


def _intensity(config: DQNConfig, spec: ExperimentSpec, ratio: float) -> float:
    """Return the `training_intensity` that gives `ratio` samples per env step.

    RLlib divides by what a call would bring with one runner more than there is, unless there are none.
    """
    runners = spec.env_runners.num_env_runners
    return ratio * (1.0 if runners == 0 else runners / (runners + 1))


def build_rllib_engine(spec: ExperimentSpec, run_dir: Path, network: Network = "shared") -> RllibEngine:
    """Build RLlib's DQN for one run, with the interface of `rlx.runs.engine.Engine`.

    Args:
        spec: a resolved experiment with one environment and one seed.
        run_dir: of the run; RLlib keeps its own results elsewhere.
        network: see `build_rllib_config`.
    """
    config = build_rllib_config(spec, network)
    return RllibEngine(config.build_algo(), spec, EngineConfig().from_experiment(spec).env_spec())
