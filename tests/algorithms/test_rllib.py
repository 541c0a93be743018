"""It is an RLlib Algorithm: checkpoints, evaluation and Tune work as with any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.rllib.algorithms.algorithm import Algorithm

from rlx.algorithms import REGISTRY, config_class
from rlx.algorithms.dqn import DQN, DQNConfig
from tests.engines import APEX_LOCAL, R2D2_LOCAL, RAINBOW, assert_same, small_config, state_of

pytestmark = pytest.mark.usefixtures("ray_started")


@pytest.mark.parametrize(
    "layers", [{}, RAINBOW, APEX_LOCAL, R2D2_LOCAL], ids=["dqn", "rainbow", "apex_dqn", "r2d2"]
)
def test_from_checkpoint(layers: dict[str, Any], tmp_path: Path) -> None:
    algo = small_config(layers).build_algo()
    while algo.train()["rlx"]["updates"] < 20:
        pass
    assert algo.save_to_path(tmp_path) == str(tmp_path)
    weights, steps, updates = state_of(algo), algo.progress.env_steps, algo.progress.updates
    inserted = algo.shards.shards[0].stats()["inserted"]
    algo.stop()
    other = Algorithm.from_checkpoint(tmp_path)
    assert type(other) is type(algo)
    assert_same(state_of(other), weights)
    assert (other.progress.env_steps, other.progress.updates) == (steps, updates)
    assert other.shards.shards[0].stats()["inserted"] == inserted
    assert other.learners.local_learner.updates == updates
    row = other.train()["rlx"]
    assert row["env_steps"] > steps
    assert row["updates"] >= updates
    assert other.train()["env_runners"]["num_env_steps_sampled_lifetime"] == other.progress.env_steps
    other.stop()


def test_module_comes_alone_from_the_checkpoint(tmp_path: Path) -> None:
    """What a deployment does: `RLModule.from_checkpoint`, then a forward pass."""
    import torch
    from ray.rllib.core.rl_module import RLModule

    algo = small_config().build_algo()
    algo.train()
    algo.save_to_path(tmp_path)
    obs = torch.randn(5, 1, 4)
    expected = algo.learners.local_learner.q_module.q_values(obs)
    algo.stop()
    module = RLModule.from_checkpoint(tmp_path / "learner_group" / "learner" / "rl_module")["default_policy"]
    found = module.forward_inference({"obs": obs})
    np.testing.assert_array_equal(found["q"].detach(), expected.detach())
    assert found["actions"].tolist() == expected.argmax(-1).tolist()


def test_recurrent_module_comes_alone_from_the_checkpoint(tmp_path: Path) -> None:
    """Its state goes in and out of every forward pass, as RLlib's stateful modules do it."""
    import torch
    from ray.rllib.core.columns import Columns
    from ray.rllib.core.rl_module import RLModule

    algo = small_config(R2D2_LOCAL).build_algo()
    algo.train()
    algo.save_to_path(tmp_path)
    network = algo.learners.local_learner.q_module.q_network
    obs = torch.randn(3, 7, 1, 2)  # [B, T, S, *frame]
    action, reward = torch.randint(-1, 2, (3, 7)), torch.randn(3, 7)
    expected, last = network(obs.transpose(0, 1), action.T, reward.T, network.initial_state(3))
    algo.stop()
    module = RLModule.from_checkpoint(tmp_path / "learner_group" / "learner" / "rl_module")["default_policy"]
    assert module.is_stateful()
    state = module.get_initial_state()["state"].expand(3, 2, 8)
    for part in (slice(0, 4), slice(4, 7)):
        found = module.forward_inference(
            {
                "obs": obs[:, part],
                "previous_action": action[:, part],
                "previous_reward": reward[:, part],
                Columns.STATE_IN: {"state": state},
            }
        )
        torch.testing.assert_close(found["q"], expected.q.transpose(0, 1)[:, part])
        assert torch.equal(found["actions"], found["q"].argmax(-1))
        state = found[Columns.STATE_OUT]["state"]
    torch.testing.assert_close(state, last.transpose(0, 1))
    start = {Columns.STATE_IN: {"state": torch.zeros(3, 2, 8)}}
    first = module.forward_inference({"obs": obs[:, :1], **start})["q"]
    assert first.shape == (3, 1, 2), "what came before may be left out"


def test_rllib_s_evaluation() -> None:
    config = small_config()
    config.evaluation(evaluation_interval=1, evaluation_num_env_runners=0, evaluation_duration=4)
    algo = config.build_algo()
    result = algo.train()
    measured = result["evaluation"]["env_runners"]
    assert 5 <= measured["episode_return_mean"] <= 500
    assert measured["num_episodes"] >= 4
    again = algo.evaluate()
    assert 5 <= again["env_runners"]["episode_return_mean"] <= 500
    algo.stop()


@pytest.mark.slow
def test_rllib_s_evaluation_in_other_processes() -> None:
    config = small_config()
    config.evaluation(evaluation_interval=1, evaluation_num_env_runners=1, evaluation_duration=4)
    algo = config.build_algo()
    result = algo.train()
    assert 5 <= result["evaluation"]["env_runners"]["episode_return_mean"] <= 500
    algo.stop()


def test_result_has_rllib_s_metrics() -> None:
    algo = small_config().build_algo()
    while not algo.progress.returns:
        result = algo.train()
    assert result["training_iteration"] >= 1
    assert result["env_runners"]["episode_return_mean"] == pytest.approx(result["rlx"]["return_mean"])
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == result["rlx"]["env_steps"]
    for name, value in result["rlx"].items():
        assert isinstance(value, (int, float, list)), name
    algo.stop()


@pytest.mark.slow
def test_tune_runs_it(tmp_path: Path) -> None:
    from ray import tune

    tuner = tune.Tuner(
        DQN,
        param_space=small_config(),
        run_config=tune.RunConfig(
            stop={"training_iteration": 1},
            storage_path=str(tmp_path),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
        ),
    )
    (result,) = tuner.fit()
    assert result.error is None
    assert result.metrics["rlx"]["env_steps"] > 0
    other = Algorithm.from_checkpoint(result.checkpoint)
    assert other.progress.env_steps == result.metrics["rlx"]["env_steps"]
    other.stop()


def test_registry() -> None:
    assert config_class("dqn") is DQNConfig
    for name in REGISTRY:
        assert config_class(name).preset == name
        assert isinstance(config_class(name)().algo_class.get_default_config(), config_class(name))
