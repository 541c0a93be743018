"""The complete description of an experiment: one frozen, strict model per YAML section.

A field without a default here takes it from the preset of the algorithm (`presets.py`), so a resolved
`ExperimentSpec` has a value everywhere. `None` always has a meaning that the field's description states.
Units stand in the names: `_env_steps _env_frames _updates _seconds _bytes`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

ALGORITHMS = ("dqn", "rainbow", "apex_dqn", "r2d2", "rllib/DQN")


def _integral(value: Any) -> Any:
    """Turn a whole float such as `1e6` into an int; leave everything else to the strict check."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


# The range stands before the validator, so that JSON Schema shows it as the integer's own.
Count = Annotated[int, Field(ge=0), BeforeValidator(_integral)]
Positive = Annotated[int, Field(ge=1), BeforeValidator(_integral)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
ConvLayer = Annotated[tuple[Positive, Positive, Positive], Field(strict=False)]
Text = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """One section of the YAML: no unknown keys, no silent conversions, unchangeable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class Stop(Section):
    """When a run is finished: the first condition that is reached stops it."""

    env_steps: Positive | None = Field(default=None, description="Env steps sampled (agent steps).")
    env_frames: Positive | None = Field(
        default=None, description="Emulator frames sampled (4 per step on Atari)."
    )
    updates: Positive | None = Field(default=None, description="Learner updates.")
    seconds: PositiveFloat | None = Field(default=None, description="Wall-clock seconds of training.")
    return_mean: float | None = Field(
        default=None, description="Mean raw return of the last 100 training episodes."
    )
    evaluation_return_mean: float | None = Field(
        default=None, description="Mean raw return of an evaluation; one of new episodes follows at the end."
    )


class Environment(Section):
    """The protocol of the environment; null means what the environment id means."""

    noop_max: Count | None = Field(
        default=None, description="Most no-op frames at a reset (drawn from 0 to this)."
    )
    sticky_action_probability: Fraction | None = Field(
        default=None, description="Probability, per emulator frame, that the last action is repeated."
    )
    life_loss_terminates: bool | None = Field(
        default=None, description="Whether a lost life ends the bootstrap (the game itself goes on)."
    )
    max_episode_frames: Positive | None = Field(
        default=None, description="Emulator frames after which an episode is truncated."
    )
    full_action_space: bool | None = Field(
        default=None, description="All 18 Atari actions, not only the game's own."
    )
    frame_skip: Positive | None = Field(
        default=None, description="Emulator frames per env step (action repeat)."
    )
    frame_stack: Positive | None = Field(default=None, description="Newest frames that make one observation.")
    frame_size: Positive | None = Field(default=None, description="Side of the square frame, in pixels.")
    grayscale: bool | None = Field(default=None, description="Grey frames instead of colour.")
    env_config: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments for gymnasium.make of other environments."
    )


class EnvRunners(Section):
    """The actors: how many, how large, how often they talk to the rest."""

    num_env_runners: Count = Field(description="Runner processes; 0 runs one inside the driver.")
    num_envs_per_env_runner: Positive = Field(description="Environments (lanes) of one runner.")
    rollout_length_env_steps: Positive = Field(
        description="Env steps of each environment in one request, that is rows per lane of a block."
    )
    weights_pull_period_env_steps: Positive = Field(
        description="Env steps of each environment between two weight updates of a runner."
    )
    num_cpus_per_env_runner: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="CPU cores reserved for each runner process."
    )
    device: Device = Field(
        default="auto",
        description="Where runners compute: cpu, cuda[:N], or auto (in the driver as the learner, else cpu).",
    )
    precision: Literal["f32", "bf16"] = Field(
        default="f32", description="Number format of the acting network."
    )
    max_requests_in_flight: Positive = Field(
        default=1, description="Requests queued at a runner at one time."
    )


class Exploration(Section):
    """How a runner departs from the greedy action."""

    kind: Literal["ladder", "linear", "constant", "none"] = Field(
        description="ladder (an epsilon per lane), linear (annealed), constant, or none (noisy nets)."
    )
    epsilon: Fraction = Field(description="Base of the ladder, or the constant random-action probability.")
    alpha: Annotated[float, Field(ge=0)] = Field(
        description="Ladder steepness: epsilon_i = epsilon ** (1 + alpha * i / (N - 1))."
    )
    initial: Fraction = Field(description="Probability of a random action at the start of a linear schedule.")
    final: Fraction = Field(description="Probability of a random action at the end of a linear schedule.")
    decay_env_steps: Positive = Field(
        description="Env steps (all runners) from `initial` to `final`, counted after the warm-up."
    )


class Replay(Section):
    """Replay memory, its priorities, and how often data is learned from."""

    capacity: Positive = Field(description="Env steps kept, over all shards.")
    num_shards: Count = Field(description="Shard processes; 0 keeps one shard inside the driver.")
    prioritized: bool = Field(description="Sample in proportion to priorities instead of uniformly.")
    priority_exponent: Fraction = Field(description="Exponent of the priority in the sampling probability.")
    importance_exponent: Fraction = Field(description="Importance-weight exponent beta at the start.")
    importance_exponent_final: Fraction = Field(description="Importance-weight exponent beta at the end.")
    importance_anneal_env_steps: Positive = Field(
        description="Env steps over which beta goes linearly from its start to its end."
    )
    initial_priority: Literal["td_error", "max"] = Field(
        description="Priority of new items: their n-step TD error, or the largest priority seen so far."
    )
    priority_epsilon: Annotated[float, Field(ge=0)] = Field(
        description="Added to every absolute TD error, so that no item has priority zero."
    )
    compression: Literal["none", "lz4"] = Field(
        description="How frames are kept: as they are, or compressed in chunks of rows."
    )
    samples_per_env_step: PositiveFloat | None = Field(
        description="Replay ratio: samples learned from per env step inserted; null lets both sides run free."
    )
    ratio_tolerance: PositiveFloat = Field(
        default=0.1,
        description="How far runners may lead, as a share of the samples that the warm-up's env steps give.",
    )


class Training(Section):
    """What is learned, from what batch, with which optimiser."""

    lr: PositiveFloat = Field(description="Learning rate.")
    gamma: Fraction = Field(description="Discount per env step.")
    n_step: Positive = Field(description="Env steps of reward summed before the bootstrap.")
    batch_size: Positive = Field(description="Samples in one update, over all learners.")
    learning_starts_env_steps: Count = Field(description="Env steps in replay before the first update.")
    target_update_period_updates: Positive = Field(
        description="Learner updates between two copies of the online network to the target network."
    )
    double: bool = Field(description="The online network selects the next action, the target one values it.")
    dueling: bool = Field(description="Separate value and advantage streams.")
    distributional: bool = Field(description="Learn a categorical return distribution (C51), not its mean.")
    num_atoms: Annotated[int, Field(ge=2), BeforeValidator(_integral)] = Field(
        description="Atoms of the return distribution."
    )
    v_min: float = Field(description="Return at the lowest atom.")
    v_max: float = Field(description="Return at the highest atom.")
    noisy: bool = Field(description="Factorised-Gaussian noisy layers in the heads.")
    noisy_sigma0: PositiveFloat = Field(description="Initial noise of a noisy layer, times sqrt(inputs).")
    optimizer: Literal["adam", "rmsprop_centered"] = Field(
        description="The optimiser: Adam, or RMSProp with centred second moments."
    )
    adam_epsilon: PositiveFloat = Field(description="Adam's epsilon, outside the root.")
    rmsprop_decay: Fraction = Field(description="Decay of both running means of centred RMSProp.")
    rmsprop_epsilon: PositiveFloat = Field(description="Centred RMSProp's epsilon, inside the root.")
    grad_clip_norm: PositiveFloat | None = Field(description="Largest gradient norm; null = unclipped.")
    loss: Literal["huber", "squared"] = Field(
        description="Loss of a TD error, mean over the batch: Huber (threshold 1), or half its square."
    )
    reward_clip: PositiveFloat | None = Field(
        description="Rewards are clipped to plus or minus this in the learner; null = raw rewards."
    )
    precision: Literal["f32", "bf16"] = Field(description="Number format of the forward and backward pass.")
    update_mode: Literal["eager", "compile", "cuda_graph"] = Field(
        description="How an update runs: eagerly, through torch.compile, or as a replayed CUDA graph."
    )


class RlModule(Section):
    """The network."""

    torso: Literal["nature", "mnih2013", "minatar", "conv", "mlp"] = Field(
        description="nature (3 convolutions), mnih2013 (2 small ones), minatar (1), conv (`conv_layers`), "
        "or mlp (none)."
    )
    conv_layers: Annotated[tuple[ConvLayer, ...], Field(strict=False, min_length=1)] = Field(
        description="Convolutions of a conv torso, without padding: [out channels, kernel, stride] of each."
    )
    hidden_sizes: Annotated[tuple[Positive, ...], Field(strict=False)] = Field(
        description="Widths of the hidden layers of an mlp torso."
    )
    head_hidden_size: Count = Field(
        description="Width of the hidden layer of each head (value, advantage); 0 = none."
    )
    activation: Literal["relu", "tanh", "elu", "silu", "gelu"] = Field(description="Activation function.")


class Learners(Section):
    """The learner processes."""

    num_learners: Count = Field(description="Learner processes; 0 learns inside the driver.")
    num_gpus_per_learner: Annotated[float, Field(ge=0)] = Field(description="GPUs reserved per learner.")
    device: Device = Field(
        default="auto", description="Where learners compute: cpu, cuda[:N], or auto (cuda if any)."
    )
    num_torch_threads: Positive | None = Field(
        default=None,
        description="Torch threads of a learner; null = the cores that nobody else uses, at least 1.",
    )
    prefetch_batches: Count = Field(description="Batches sampled ahead; 0 samples when needed.")


class Evaluation(Section):
    """Evaluation during and after training, in environments of its own."""

    interval_seconds: PositiveFloat | None = Field(
        default=None, description="Seconds between evaluations; null = not by time."
    )
    interval_env_steps: Positive | None = Field(
        default=None, description="Training env steps between evaluations; null = not by steps."
    )
    episodes: Positive = Field(description="Episodes of one evaluation.")
    epsilon: Fraction = Field(description="Probability of a random action while evaluating.")
    num_envs: Positive = Field(description="Environments evaluated side by side.")
    at_end: bool = Field(default=True, description="Evaluate once more when the run stops.")


class Checkpointing(Section):
    """When the complete state is written."""

    interval_seconds: PositiveFloat | None = Field(
        default=600.0, description="Seconds between checkpoints; null = not by time."
    )
    interval_env_steps: Positive | None = Field(
        default=None, description="Env steps between checkpoints; null = not by steps."
    )
    keep_last: Positive = Field(default=2, description="Checkpoints kept; older ones are deleted.")
    include_replay: bool = Field(default=True, description="Write replay and its priorities too.")
    at_end: bool = Field(default=True, description="Write a checkpoint when the run stops.")


class FaultTolerance(Section):
    """What happens when a process dies."""

    restart_failed_env_runners: bool = Field(default=True, description="Start a dead runner anew.")
    restart_failed_shards: bool = Field(default=True, description="Start a dead shard anew.")
    restart_failed_learners: bool = Field(default=True, description="Start a dead learner anew.")
    max_restarts: Count = Field(default=100, description="Restarts of one process before the run stops.")
    runner_timeout_seconds: PositiveFloat = Field(
        default=60.0, description="Seconds without an answer after which a runner counts as dead."
    )
    startup_timeout_seconds: PositiveFloat = Field(
        default=300.0, description="Seconds that runners and shards may take to start, before the run fails."
    )


class Reporting(Section):
    """How often metrics are written."""

    interval_seconds: PositiveFloat = Field(default=5.0, description="Seconds between two rows of metrics.")


class Resources(Section):
    """Limits of the machine, where they are not to be detected."""

    num_cpus: Positive | None = Field(
        default=None, description="CPU cores that may be used; null = those detected."
    )
    object_store_memory_bytes: Positive | None = Field(
        default=None, description="Size of Ray's object store, in bytes; null = Ray's own choice."
    )
    memory_limit_bytes: Positive | None = Field(
        default=None, description="Memory that the run may use, in bytes; null = that of the machine."
    )


class Debugging(Section):
    """Reproducibility and logging."""

    deterministic: bool = Field(
        default=False,
        description="Fixed amounts of work, no clocks: two equal local runs agree bit for bit.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="WARNING", description="Lowest level logged."
    )


def _plugin_mapping(value: Any) -> Any:
    """Turn `[a, b]` into `{a: {}, b: {}}`; `true` and null mean default settings, `false` switches off."""
    if isinstance(value, (list, tuple)):
        if not all(isinstance(name, str) for name in value):
            return value
        return {name: {} for name in value}
    if isinstance(value, dict):
        on = {name: settings for name, settings in value.items() if settings is not False}
        return {
            name: {} if settings in (None, True) else _switched(settings) for name, settings in on.items()
        }
    return value


def _switched(settings: Any) -> Any:
    """Turn the words `on` and `off` among a plugin's settings into true and false."""
    if not isinstance(settings, dict):
        return settings
    words = {"on": True, "off": False}
    return {
        key: words.get(value, value) if isinstance(value, str) else value for key, value in settings.items()
    }


class ExperimentSpec(Section):
    """A whole experiment with every value filled in.

    `env` and `seeds` may list several; `resolve.runs` makes one run of each pair.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="Name of the experiment; run directories start with it."
    )
    algorithm: Literal["dqn", "rainbow", "apex_dqn", "r2d2", "rllib/DQN"] = Field(
        description="Preset that fills every value that is not given."
    )
    env: Text | Annotated[tuple[Text, ...], Field(strict=False, min_length=1)] = Field(
        description="Environment id, or a list of them (one run each)."
    )
    seeds: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = Field(
        default=(0,), description="Seeds, one run each."
    )
    stop: Stop = Field(description="When a run is finished; at least one condition.")
    environment: Environment = Field(default_factory=lambda: Environment())
    env_runners: EnvRunners
    exploration: Exploration
    replay: Replay
    training: Training
    rl_module: RlModule
    learners: Learners
    evaluation: Evaluation
    checkpointing: Checkpointing = Field(default_factory=lambda: Checkpointing())
    fault_tolerance: FaultTolerance = Field(default_factory=lambda: FaultTolerance())
    reporting: Reporting = Field(default_factory=lambda: Reporting())
    resources: Resources = Field(default_factory=lambda: Resources())
    debugging: Debugging = Field(default_factory=lambda: Debugging())
    plugins: Annotated[dict[str, dict[str, Any]], BeforeValidator(_plugin_mapping)] = Field(
        default_factory=dict, description="Plugins by name with their settings; false switches one off."
    )

    @property
    def envs(self) -> tuple[str, ...]:
        """All environment ids, also when there is one."""
        return (self.env,) if isinstance(self.env, str) else self.env
