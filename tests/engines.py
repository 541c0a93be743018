"""Small experiments, and engines and learners built from them, for the tests of the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rlx.experiment.build import build_config
from rlx.experiment.resolve import from_mapping
from rlx.experiment.spec import ExperimentSpec

SMALL: dict[str, Any] = {
    "algorithm": "dqn",
    "env": "CartPole-v1",
    "stop": {"env_steps": 1_000_000},
    "env_runners": {"num_envs_per_env_runner": 2, "rollout_length_env_steps": 8},
    "replay": {"capacity": 2000, "samples_per_env_step": 2},
    "training": {
        "batch_size": 16,
        "learning_starts_env_steps": 100,
        "reward_clip": None,
        "optimizer": "adam",
        "lr": 1e-3,
        "target_update_period_updates": 20,
    },
    "rl_module": {"torso": "mlp", "hidden_sizes": [16], "head_hidden_size": 16},
    "evaluation": {"episodes": 3, "num_envs": 2},
    "reporting": {"interval_seconds": 0.3},
}
#: Everything of Ape-X in the driver's process.
APEX_LOCAL: dict[str, Any] = {
    "algorithm": "apex_dqn",
    "env_runners": {"num_env_runners": 0, "weights_pull_period_env_steps": 8},
    "replay": {"num_shards": 0},
    "learners": {"num_learners": 0, "num_gpus_per_learner": 0},
}
#: R2D2 of everything in the driver's process, with short windows and a small network.
R2D2_LOCAL: dict[str, Any] = {
    "algorithm": "r2d2",
    "env": "rlx/StatelessCartPole-v1",
    "env_runners": {"num_env_runners": 0, "weights_pull_period_env_steps": 8},
    "replay": {"num_shards": 0, "samples_per_env_step": 0.5},
    "training": {"n_step": 2},
    "learners": {"num_learners": 0, "num_gpus_per_learner": 0},
    "plugins": {"burn_in": {"burn_in": 4, "unroll": 6, "period": 3, "lstm_size": 8, "lstm_input_size": 0}},
}
RAINBOW: dict[str, Any] = {"algorithm": "rainbow", "training": {"v_min": 0, "v_max": 100}}
DETERMINISTIC: dict[str, Any] = {"debugging": {"deterministic": True}}


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Lay mappings over each other, section by section."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            inside = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if inside else value
    return result


def small_spec(*layers: Mapping[str, Any]) -> ExperimentSpec:
    """Resolve `SMALL` with these changes."""
    return from_mapping(merged(SMALL, *layers))


def small_config(*layers: Mapping[str, Any], seed: int = 0) -> Any:
    """Build the AlgorithmConfig of `small_spec`."""
    return build_config(small_spec(*layers, {"seeds": [seed]}))


def small_learner(*layers: Mapping[str, Any], seed: int = 0) -> Any:
    """Build a learner alone; its weights follow from the seed."""
    import torch

    config = small_config(*layers)
    torch.manual_seed(seed)
    return config.build_learner(spaces=config.module_spaces())


def train_until(
    algo: Any, done: Callable[[dict[str, Any]], bool], seconds: float = 90.0
) -> list[dict[str, Any]]:
    """Train until a row fulfils `done`; return all rows.

    Raises:
        AssertionError: that took too long; with the last row.
    """
    deadline = time.monotonic() + seconds
    rows: list[dict[str, Any]] = []
    while True:
        rows.append(algo.train()["rlx"])
        if done(rows[-1]):
            return rows
        assert time.monotonic() < deadline, f"not reached in {seconds} s; last row: {rows[-1]}"


def state_of(algo: Any) -> dict[str, np.ndarray]:
    """Copy every weight of a local learner, the target's too, and its optimiser's numbers."""
    learner = algo.learners.local_learner
    arrays = {name: value.numpy().copy() for name, value in learner.q_module.state_dict().items()}
    for optimizer in learner._named_optimizers.values():
        for index, state in optimizer.state_dict()["state"].items():
            arrays.update({f"optimizer/{index}/{key}": np.array(value) for key, value in state.items()})
    return arrays


def assert_same(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> None:
    """Compare arrays bit for bit."""
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
