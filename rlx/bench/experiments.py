"""The experiments that are measured, as plain data on the presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlx.experiment.resolve import from_mapping
from rlx.experiment.spec import ExperimentSpec
from rlx.runs.provenance import cpu_cores

PONG = "ALE/Pong-v5"
#: Replay of every figure that has one: the 100,000 Atari steps of the floors.
REPLAY_ENV_STEPS = 100_000


def experiment(values: Mapping[str, Any]) -> ExperimentSpec:
    """Resolve a measured experiment: it never ends by itself, evaluates or writes."""
    return from_mapping({"env": PONG, "stop": {"env_steps": 10**12}, **values})


def acting(num_envs: int) -> ExperimentSpec:
    """16 environments and the plain Nature network: the least that can hide a runner's own work."""
    return experiment(
        {
            "algorithm": "dqn",
            "env_runners": {"num_envs_per_env_runner": num_envs},
            "exploration": {"kind": "constant", "epsilon": 0.1},
        }
    )


def learning(batch_size: int, *, update_mode: str = "eager", precision: str = "f32") -> ExperimentSpec:
    """Ape-X's learner (double, dueling, 3 steps, prioritised) in the driver."""
    return experiment(
        {
            "algorithm": "apex_dqn",
            "env_runners": {"num_env_runners": 1, "num_envs_per_env_runner": 16},
            "replay": {"capacity": REPLAY_ENV_STEPS, "num_shards": 0},
            "training": {
                "batch_size": batch_size,
                "learning_starts_env_steps": batch_size,
                "target_update_period_updates": 2500,
                "update_mode": update_mode,
                "precision": precision,
            },
            "learners": {"num_learners": 0, "num_gpus_per_learner": 0.0, "num_torch_threads": 1},
        }
    )


def sequence_learning(
    batch_size: int, *, update_mode: str = "eager", precision: str = "f32"
) -> ExperimentSpec:
    """R2D2's learner in the driver.

    Windows of 40 + 80 + 5 rows, LSTM of 512 units, the paper's sizes but the batch.
    """
    return experiment(
        {
            "algorithm": "r2d2",
            "env_runners": {"num_env_runners": 1, "num_envs_per_env_runner": 16},
            # Made-up frames are noise, which no compression makes smaller.
            "replay": {"capacity": 40_000, "num_shards": 0, "compression": "none"},
            "training": {
                "batch_size": batch_size,
                "learning_starts_env_steps": batch_size,
                "update_mode": update_mode,
                "precision": precision,
            },
            "learners": {"num_learners": 0, "num_gpus_per_learner": 0.0, "num_torch_threads": 1},
        }
    )


def agent(algorithm: str, *, quick: bool) -> ExperimentSpec:
    """A whole agent in one process: one environment, batch 32, one update per 4 env steps.

    The rest is RLlib's default DQN (double, dueling, prioritised, 1 step, Adam), with the Nature network.
    Torch has a thread for every core, which is its own default and that of both sides in one process.
    """
    return experiment(
        {
            "algorithm": algorithm,
            **_shared(quick, torch_threads=cpu_cores()),
            "env_runners": {"num_envs_per_env_runner": 1, "rollout_length_env_steps": 4},
            "replay": _replay(samples_per_env_step=8.0),
        }
    )


def remote_runner(algorithm: str, *, quick: bool) -> ExperimentSpec:
    """One runner process of 16 environments, learner and replay in the driver; one update for 64 env steps.

    A request is 4 steps of each environment. RLlib's DQN waits for it, updates once, sends weights, asks
    again; ours collects and updates side by side, as many updates for a step as RLlib does, and sends weights
    as often as `pong-apex` does.
    """
    theirs = algorithm == "rllib/DQN"
    ours = {} if theirs else {"max_requests_in_flight": 4}
    # RLlib's own rhythm already is one batch of 32 for each request.
    ratio = None if theirs else 32 / (4 * 16)
    replay = _replay(samples_per_env_step=ratio)
    if not theirs:
        replay["ratio_tolerance"] = 1.0  # the two may drift apart by the 1,000 steps before learning starts
    return experiment(
        {
            "algorithm": algorithm,
            **_shared(quick, torch_threads=1),
            "env_runners": {
                "num_env_runners": 1,
                "num_envs_per_env_runner": 16,
                "rollout_length_env_steps": 4,
                "weights_pull_period_env_steps": 20,
                **ours,
            },
            "replay": replay,
        }
    )


def _replay(samples_per_env_step: float | None) -> dict[str, Any]:
    return {
        "capacity": 30_000,
        "num_shards": 0,
        "prioritized": True,
        "priority_exponent": 0.6,
        "initial_priority": "max",
        "samples_per_env_step": samples_per_env_step,
    }


def _shared(quick: bool, torch_threads: int) -> dict[str, Any]:
    """What both sides of a comparison with RLlib have in common; torch's threads are the whole process's."""
    return {
        "exploration": {"kind": "constant", "epsilon": 0.1},
        "training": {
            "lr": 1e-4,
            "n_step": 1,
            "batch_size": 32,
            "learning_starts_env_steps": 64 if quick else 1000,
            "target_update_period_updates": 500,
            "double": True,
            "dueling": True,
            "optimizer": "adam",
            "adam_epsilon": 1e-8,
            "grad_clip_norm": 40.0,
            "loss": "huber",
        },
        "learners": {
            "num_learners": 0,
            "num_gpus_per_learner": 0.0,
            "num_torch_threads": torch_threads,
            "device": "cpu",
        },
        "reporting": {"interval_seconds": 0.2 if quick else 1.0},
    }
