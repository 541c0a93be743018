"""What an algorithm means: presets that fill every value an experiment does not give.

A preset is data and shows only what it adds to its parent. A value wrapped in `paper` is the published one
and carries its source; `Instead` knowingly differs from it; any other value is ours (the paper has no such
setting, or our sources do not state it).
Published frame counts are converted to env steps at 4 frames a step and to updates at one update per 4 env
steps, as those systems ran.

Source: [DQN2015], [Rainbow], [ApeX] as listed with each value; [DQNZoo] where the paper leaves a value open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]

FRAMES_PER_STEP = 4
STEPS_PER_UPDATE = 4


@dataclass(frozen=True)
class Paper:
    """A published value and where it stands."""

    value: Any
    source: str


@dataclass(frozen=True)
class Instead:
    """A value that knowingly differs from the published one of a parent preset."""

    value: Any


def paper(value: Any, source: str) -> Paper:
    """Mark a value as published."""
    return Paper(value, source)


@dataclass(frozen=True)
class Preset:
    """One algorithm: its name, what it builds on, and what it adds."""

    name: str
    title: str
    parent: Preset | None
    values: Mapping[str, Any]


# The published protocol and length of training. They are compared with an experiment, but not filled in:
# an environment id keeps its own meaning, and every experiment says itself when it stops.
PUBLISHED_PROTOCOL: Mapping[str, Any] = {
    "noop_max": paper(30, "[DQN2015] Methods, evaluation procedure; [DQNZoo]"),
    "sticky_action_probability": paper(0.0, "[DQN2015] Methods (deterministic emulator)"),
    "life_loss_terminates": paper(True, "[DQN2015] Methods, training details"),
    "max_episode_frames": paper(108_000, "[DQNZoo] (30 minutes)"),
    "full_action_space": paper(False, "[DQN2015] Methods (the legal actions of the game)"),
    "frame_skip": paper(4, "[DQN2015] Methods, training details"),
    "frame_stack": paper(4, "[DQN2015] Methods, preprocessing"),
    "frame_size": paper(84, "[DQN2015] Methods, preprocessing"),
    "grayscale": paper(True, "[DQN2015] Methods, preprocessing"),
}
# What a system has otherwise than those before it.
PUBLISHED_PROTOCOL_OF: Mapping[str, Mapping[str, Any]] = {
    "r2d2": {"life_loss_terminates": paper(False, "[R2D2] section 2.3 (no life-loss signal)")},
}
# An empty mapping: our sources do not say how long.
PUBLISHED_STOP: Mapping[str, Mapping[str, Any]] = {
    "dqn": {"env_frames": paper(50_000_000, "[DQN2015] Methods, training details (200M in later work)")},
    "rainbow": {"env_frames": paper(200_000_000, "[Rainbow] section 4")},
    "apex_dqn": {"env_frames": paper(22_800_000_000, "[ApeX] table 1")},
    "r2d2": {},
}

DQN = Preset(
    "dqn",
    "Deep Q-network (Mnih et al. 2015)",
    None,
    {
        "env_runners": {
            "num_env_runners": paper(0, "[DQN2015] Methods (acting and learning alternate)"),
            "num_envs_per_env_runner": paper(1, "[DQN2015] algorithm 1"),
            "rollout_length_env_steps": paper(4, "[DQN2015] Extended Data Table 1 (update frequency)"),
            "weights_pull_period_env_steps": paper(4, "[DQN2015] algorithm 1 (acts with the newest weights)"),
        },
        "exploration": {
            "kind": paper("linear", "[DQN2015] Methods, training details"),
            # The ladder's values, so that `kind: ladder` alone switches it on.
            "epsilon": 0.4,
            "alpha": 7.0,
            "initial": paper(1.0, "[DQN2015] Extended Data Table 1"),
            "final": paper(0.1, "[DQN2015] Extended Data Table 1"),
            # 4M frames; the paper's "1M frames" counts agent steps, see [DQNZoo].
            "decay_env_steps": paper(
                4_000_000 // FRAMES_PER_STEP, "[DQN2015] Extended Data Table 1; [DQNZoo]"
            ),
        },
        "replay": {
            "capacity": paper(1_000_000, "[DQN2015] Extended Data Table 1"),
            "num_shards": 0,
            "compression": "none",
            "prioritized": paper(False, "[DQN2015] algorithm 1"),
            # Proportional prioritisation, for `prioritized: true`. [PER] table 3.
            "priority_exponent": 0.6,
            "importance_exponent": 0.4,
            "importance_exponent_final": 1.0,
            "importance_anneal_env_steps": 200_000_000 // FRAMES_PER_STEP,
            "initial_priority": "max",
            "priority_epsilon": 1e-6,
            "samples_per_env_step": paper(
                32 / STEPS_PER_UPDATE, "[DQN2015] Extended Data Table 1 (32 per 4 steps)"
            ),
        },
        "training": {
            "lr": paper(2.5e-4, "[DQN2015] Extended Data Table 1"),
            "gamma": paper(0.99, "[DQN2015] Extended Data Table 1"),
            "n_step": paper(1, "[DQN2015] algorithm 1"),
            "batch_size": paper(32, "[DQN2015] Extended Data Table 1"),
            "learning_starts_env_steps": paper(50_000, "[DQN2015] Extended Data Table 1"),
            # 40k frames = 10,000 env steps, in updates. The paper's table says 10,000 updates, see [DQNZoo].
            "target_update_period_updates": paper(
                40_000 // FRAMES_PER_STEP // STEPS_PER_UPDATE, "[DQN2015] Extended Data Table 1; [DQNZoo]"
            ),
            "double": paper(False, "[DQN2015] algorithm 1"),
            "dueling": paper(False, "[DQN2015] Methods, model architecture"),
            "distributional": paper(False, "[DQN2015] algorithm 1"),
            # For when they are switched on: [C51] section 5, [NoisyNets] section 3.2.
            "num_atoms": 51,
            "v_min": -10.0,
            "v_max": 10.0,
            "noisy": paper(False, "[DQN2015] algorithm 1"),
            "noisy_sigma0": 0.5,
            "optimizer": paper("rmsprop_centered", "[DQN2015] Methods, training details"),
            "adam_epsilon": 1.5e-4,
            "rmsprop_decay": paper(0.95, "[DQN2015] Extended Data Table 1"),
            # The paper sums the loss over the 32 samples, with epsilon 0.01. We take the mean: gradients
            # shrink by 32, their squares by 32 ** 2, and with them epsilon, so that the step is the same.
            "rmsprop_epsilon": paper(
                0.01 / 32**2, "[DQN2015] Extended Data Table 1, for a mean loss; [DQNZoo]"
            ),
            "grad_clip_norm": paper(None, "[DQN2015] Methods, training details"),
            "loss": paper("huber", "[DQN2015] Methods, training details (error clipped to [-1, 1])"),
            "reward_clip": paper(1.0, "[DQN2015] Methods, training details"),
            "precision": "f32",
            "update_mode": "eager",
        },
        "rl_module": {
            "torso": paper("nature", "[DQN2015] Methods, model architecture"),
            # Ours, for frames of about 42x42: finer strides than the paper's, which suit 84x84.
            "conv_layers": [[16, 4, 2], [32, 4, 2], [32, 3, 2]],
            "hidden_sizes": [256, 256],
            "head_hidden_size": paper(512, "[DQN2015] Methods, model architecture"),
            "activation": paper("relu", "[DQN2015] Methods, model architecture"),
        },
        "learners": {"num_learners": 0, "num_gpus_per_learner": 0.0, "prefetch_batches": 0},
        "evaluation": {
            "interval_env_steps": paper(1_000_000 // FRAMES_PER_STEP, "[DQNZoo] (1M frames)"),
            "episodes": paper(30, "[DQN2015] Methods, evaluation procedure"),
            "epsilon": paper(0.05, "[DQN2015] Methods, evaluation procedure"),
            "num_envs": 8,
        },
    },
)

RAINBOW = Preset(
    "rainbow",
    "Rainbow (Hessel et al. 2018): six additions to DQN, each a switch",
    DQN,
    {
        "exploration": {
            "kind": paper("none", "[Rainbow] table 1 (epsilon 0 with noisy nets)"),
            # For the ablation `noisy: false` with `kind: linear`: 250k frames.
            "final": paper(0.01, "[Rainbow] section 4"),
            "decay_env_steps": paper(250_000 // FRAMES_PER_STEP, "[Rainbow] section 4"),
        },
        "replay": {
            "prioritized": paper(True, "[Rainbow] section 3"),
            "priority_exponent": paper(0.5, "[Rainbow] table 1"),
            "importance_exponent": paper(0.4, "[Rainbow] table 1"),
            "importance_exponent_final": paper(1.0, "[Rainbow] table 1"),
            "importance_anneal_env_steps": paper(
                200_000_000 // FRAMES_PER_STEP, "[Rainbow] table 1 (over training)"
            ),
            "initial_priority": paper("max", "[Rainbow] section 3"),
        },
        "training": {
            "lr": paper(2.5e-4 / 4, "[Rainbow] table 1"),
            "n_step": paper(3, "[Rainbow] table 1"),
            "learning_starts_env_steps": paper(80_000 // FRAMES_PER_STEP, "[Rainbow] table 1 (80k frames)"),
            "target_update_period_updates": paper(
                32_000 // FRAMES_PER_STEP // STEPS_PER_UPDATE, "[Rainbow] table 1 (32k frames)"
            ),
            "double": paper(True, "[Rainbow] section 3"),
            "dueling": paper(True, "[Rainbow] section 3"),
            "distributional": paper(True, "[Rainbow] section 3"),
            "num_atoms": paper(51, "[Rainbow] table 1"),
            "v_min": paper(-10.0, "[Rainbow] table 1"),
            "v_max": paper(10.0, "[Rainbow] table 1"),
            "noisy": paper(True, "[Rainbow] section 3"),
            "noisy_sigma0": paper(0.5, "[Rainbow] table 1"),
            "optimizer": paper("adam", "[Rainbow] table 1"),
            "adam_epsilon": paper(1.5e-4, "[Rainbow] table 1"),
            "grad_clip_norm": paper(10.0, "[DQNZoo]"),
        },
        "evaluation": {"epsilon": paper(0.0, "[DQNZoo]")},
    },
)

APEX_DQN = Preset(
    "apex_dqn",
    "Ape-X DQN (Horgan et al. 2018): many actors, one prioritised memory, one learner",
    DQN,
    {
        "env_runners": {
            "num_env_runners": paper(360, "[ApeX] section 4.1"),
            "rollout_length_env_steps": paper(50, "[ApeX] appendix D (one source)"),
            # 400 frames of the actor's one environment.
            "weights_pull_period_env_steps": paper(400 // FRAMES_PER_STEP, "[ApeX] section 4.1"),
            "max_requests_in_flight": 2,
        },
        "exploration": {
            "kind": paper("ladder", "[ApeX] section 4.1"),
            "epsilon": paper(0.4, "[ApeX] section 4.1"),
            "alpha": paper(7.0, "[ApeX] section 4.1"),
        },
        "replay": {
            "capacity": paper(2_000_000, "[ApeX] section 4.1 (a soft limit there)"),
            "num_shards": 1,
            "prioritized": paper(True, "[ApeX] section 3"),
            "priority_exponent": paper(0.6, "[ApeX] section 4.1"),
            "importance_exponent": paper(0.4, "[ApeX] section 4.1"),
            "importance_exponent_final": paper(0.4, "[ApeX] section 4.1 (constant)"),
            "initial_priority": paper("td_error", "[ApeX] section 3"),
            # The paper's learner runs free. What its machines made of that is 1.3 replays of each step;
            # holding to it makes a result independent of the speed of the machine. `null` runs free.
            "samples_per_env_step": paper(1.3, "[R2D2] section 2.3 (measured; Ape-X itself runs free)"),
        },
        "training": {
            "lr": paper(2.5e-4 / 4, "[ApeX] appendix D"),
            "n_step": paper(3, "[ApeX] section 4.1"),
            "batch_size": paper(512, "[ApeX] section 4.1"),
            "learning_starts_env_steps": paper(50_000, "[ApeX] section 4.1"),
            "target_update_period_updates": paper(2_500, "[ApeX] appendix D"),
            "double": paper(True, "[ApeX] section 3.1"),
            "dueling": paper(True, "[ApeX] section 3.1"),
            "rmsprop_epsilon": paper(1.5e-7, "[ApeX] appendix D"),
            "grad_clip_norm": paper(40.0, "[ApeX] appendix D"),
            "loss": paper("squared", "[ApeX] section 3.1"),
        },
        "learners": {
            "num_learners": paper(1, "[ApeX] section 4.1"),
            "num_gpus_per_learner": paper(1.0, "[ApeX] section 4.1"),
            "prefetch_batches": 4,
        },
        # The protocol of the paper's evaluation is not in our sources; these are greedy, as Rainbow's.
        "evaluation": {"epsilon": 0.0},
    },
)

R2D2 = Preset(
    "r2d2",
    "R2D2 (Kapturowski et al. 2019): Ape-X with a recurrent network, stored state and burn-in",
    APEX_DQN,
    {
        "env_runners": {
            "num_env_runners": paper(256, "[R2D2] section 2.3"),
            # 400 env steps, not frames as in Ape-X.
            "weights_pull_period_env_steps": paper(400, "[R2D2] section 2.3"),
        },
        "replay": {
            # Env steps; 1e5 overlapping sequences.
            "capacity": paper(4_000_000, "[R2D2] table of hyper-parameters"),
            "compression": "lz4",
            "priority_exponent": paper(0.9, "[R2D2] table of hyper-parameters"),
            "importance_exponent": paper(0.6, "[R2D2] table of hyper-parameters"),
            "importance_exponent_final": paper(0.6, "[R2D2] table of hyper-parameters (constant)"),
            # Each env step is replayed 0.8 times in sequences of 80 learned steps.
            "samples_per_env_step": paper(0.8 / 80, "[R2D2] section 2.3 (replay ratio 0.8)"),
        },
        "training": {
            "lr": paper(1e-4, "[R2D2] table of hyper-parameters"),
            "gamma": paper(0.997, "[R2D2] section 2.3"),
            "n_step": paper(5, "[R2D2] section 2.3"),
            "batch_size": paper(64, "[R2D2] section 2.3 (sequences)"),
            "target_update_period_updates": paper(2_500, "[R2D2] table of hyper-parameters"),
            "optimizer": paper("adam", "[R2D2] table of hyper-parameters"),
            "adam_epsilon": paper(1e-3, "[R2D2] table of hyper-parameters"),
            "grad_clip_norm": paper(40.0, "[SEED] (Ape-X's; [R2D2] lets missing values follow Ape-X)"),
            "reward_clip": paper(None, "[R2D2] section 2.3 (rescaling instead)"),
        },
        "plugins": {
            "burn_in": {
                "state": paper("stored", "[R2D2] section 3 (stored state and burn-in)"),
                "burn_in": paper(40, "[R2D2] section 2.3 (l = 40)"),
                "unroll": paper(80, "[R2D2] section 2.3 (m = 80)"),
                "period": paper(40, "[R2D2] section 2.3 (neighbours overlap by 40)"),
                "rescale": paper(True, "[R2D2] section 2.3"),
                "priority_eta": paper(0.9, "[R2D2] section 2.3"),
                "lstm_size": paper(512, "[R2D2] appendix (LSTM of 512 units)"),
                "lstm_input_size": paper(512, "[SEED] (a layer of 512 units before the LSTM)"),
            }
        },
    },
)

RLLIB_DQN = Preset(
    "rllib/DQN",
    "RLlib's own DQN, for comparison: the sections mean the same where RLlib has the setting",
    DQN,
    {
        # RLlib's DQN has no centred RMSProp.
        "training": {"optimizer": Instead("adam"), "adam_epsilon": 1e-8},
    },
)

PRESETS: Mapping[str, Preset] = {p.name: p for p in (DQN, RAINBOW, APEX_DQN, R2D2, RLLIB_DQN)}


def lineage(algorithm: str) -> tuple[Preset, ...]:
    """List the presets an algorithm is made of, the oldest first.

    Raises:
        KeyError: unknown algorithm.
    """
    found: list[Preset] = []
    preset: Preset | None = PRESETS[algorithm]
    while preset is not None:
        found.append(preset)
        preset = preset.parent
    return tuple(reversed(found))


def _leaves(values: Mapping[str, Any], at: Path = ()) -> Iterator[tuple[Path, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*at, key))
        else:
            yield (*at, key), value


def preset_values(algorithm: str) -> dict[Path, tuple[Any, str]]:
    """Return `path -> (value, name of the preset that gives it)`, later presets over earlier ones."""
    found: dict[Path, tuple[Any, str]] = {}
    for preset in lineage(algorithm):
        for path, value in _leaves(preset.values):
            found[path] = (value.value if isinstance(value, (Paper, Instead)) else value, preset.name)
    return found


def paper_values(algorithm: str, *, atari: bool = True) -> dict[Path, Paper]:
    """Return `path -> published value with its source` of an algorithm.

    Args:
        algorithm: name of a preset.
        atari: include the protocol of the Atari environments.
    """
    found: dict[Path, Paper] = {}
    for preset in lineage(algorithm):
        for path, value in _leaves(preset.values):
            if isinstance(value, Paper):
                found[path] = value
            elif not isinstance(value, Instead):
                # A preset with a value of its own has no published one: its parent's is another system's.
                found.pop(path, None)
        if preset.name in PUBLISHED_STOP:
            found = {path: value for path, value in found.items() if path[0] != "stop"}
            found.update({("stop", key): value for key, value in PUBLISHED_STOP[preset.name].items()})
    if atari:
        protocol = {**PUBLISHED_PROTOCOL, **PUBLISHED_PROTOCOL_OF.get(algorithm, {})}
        found.update({("environment", key): value for key, value in protocol.items()})
    return found
