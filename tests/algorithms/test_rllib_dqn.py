import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.dqn.dqn import calculate_rr_weights
from ray.rllib.algorithms.dqn.dqn_learner import QF_PREDS
from ray.rllib.core.columns import Columns

from rlx.actors.player import load_policy, play_episodes
from rlx.algorithms import rllib_dqn
from rlx.algorithms.dqn import DQNConfig as EngineConfig
from rlx.algorithms.rllib_engine import RllibEngine
from rlx.algorithms.rllib_env import RllibVectorEnv
from rlx.envs.spec import resolve_env
from rlx.errors import EvaluationAbandonedError, RlxError
from rlx.experiment.resolve import from_mapping
from rlx.experiment.spec import Environment
from rlx.networks.q_network import QNetwork


def make_spec(algorithm: str = "rllib/DQN", **sections):
    return from_mapping(
        {
            "algorithm": algorithm,
            "env": "CartPole-v1",
            "stop": {"env_steps": 1000},
            "rl_module": {"torso": "mlp", "hidden_sizes": [32], "head_hidden_size": 16},
            **sections,
        }
    )


# The environment.


def test_whole_games_are_counted_with_raw_rewards_and_rewards_are_clipped() -> None:
    spec = resolve_env("CartPole-v1", Environment())
    env = RllibVectorEnv(spec, 2, seed=0, reward_clip=0.25)
    env.reset(seed=3)
    lengths: list[int] = [0, 0]
    ended: list[tuple[float, int]] = []
    over = np.zeros(2, bool)
    for _ in range(60):
        observation, rewards, terminated, truncated, _ = env.step([1, 1])
        assert (rewards[~over] == 0.25).all()
        assert (rewards[over] == 0.0).all()  # the step that resets
        for lane in range(2):
            lengths[lane] += not over[lane]
            if terminated[lane] or truncated[lane]:
                ended.append((float(lengths[lane]), lengths[lane]))
                lengths[lane] = 0
        over = terminated | truncated
        assert observation.shape == env.observation_space.shape
    assert len(ended) > 4
    assert env.take_finished() == ended
    assert env.take_finished() == []
    assert env.first_step_at is not None


def test_observations_are_arrays_of_their_own() -> None:
    env = RllibVectorEnv(resolve_env("CartPole-v1", Environment()), 1, seed=0, reward_clip=None)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    for _ in range(4):
        env.step([0])
    np.testing.assert_array_equal(first, kept)


def test_frames_are_stacked_as_in_the_engine() -> None:
    spec = resolve_env("CartPole-v1", Environment(frame_stack=3))
    env = RllibVectorEnv(spec, 1, seed=0, reward_clip=None)
    first, _ = env.reset(seed=0)
    assert first.shape == (1, 3, 4)
    assert not first[0, :2].any()
    second, *_ = env.step([0])
    np.testing.assert_array_equal(second[0, 1], first[0, 2])


# The config.


@pytest.mark.parametrize(
    ("runners", "envs", "rollout", "ratio", "calls_and_updates"),
    [
        (0, 1, 4, 8.0, [1, 1]),  # one update of 32 per 4 env steps
        (0, 1, 1, 8.0, [4, 1]),
        (0, 8, 4, 8.0, [1, 8]),
        (1, 16, 4, 0.5, [1, 1]),  # one update per 64 env steps
        (1, 16, 4, 8.0, [1, 16]),
        (2, 16, 4, 0.25, [1, 1]),
        (0, 4, 4, None, [1, 1]),
    ],
)
def test_the_replay_ratio_is_kept(runners, envs, rollout, ratio, calls_and_updates) -> None:
    config = rllib_dqn.build_rllib_config(
        make_spec(
            env_runners={
                "num_env_runners": runners,
                "num_envs_per_env_runner": envs,
                "rollout_length_env_steps": rollout,
            },
            replay={"samples_per_env_step": ratio},
            training={"batch_size": 32},
        )
    )
    assert calculate_rr_weights(config) == calls_and_updates


def test_values_reach_rllib_in_its_units() -> None:
    spec = make_spec(
        training={
            "target_update_period_updates": 100,
            "batch_size": 32,
            "learning_starts_env_steps": 500,
            "n_step": 3,
            "grad_clip_norm": None,
            "loss": "squared",
            "gamma": 0.9,
        },
        replay={"prioritized": True, "priority_exponent": 0.5, "samples_per_env_step": 8},
        exploration={"initial": 1.0, "final": 0.1, "decay_env_steps": 1000},
    )
    config = rllib_dqn.build_rllib_config(spec)
    assert config.target_network_update_freq == 400
    assert config.num_steps_sampled_before_learning_starts == 500
    assert config.grad_clip is None
    assert config.td_error_loss_fn == "mse"
    assert (config.n_step, config.gamma) == (3, 0.9)
    assert config.replay_buffer_config["type"] == "PrioritizedEpisodeReplayBuffer"
    assert config.replay_buffer_config["alpha"] == 0.5
    settings = config.rl_module_spec.model_config
    assert settings["epsilon"] == [(0, 1.0), (500, 1.0), (1500, 0.1)]
    assert config.replay_buffer_config["capacity"] == spec.replay.capacity


def test_noisy_networks_are_refused() -> None:
    with pytest.raises(RlxError, match="noisy"):
        rllib_dqn.build_rllib_config(make_spec(training={"noisy": True}))


# The network.


@pytest.mark.parametrize(
    "switches", [{}, {"dueling": True}, {"distributional": True, "num_atoms": 11, "dueling": True}]
)
def test_the_network_is_the_engines(switches) -> None:
    spec = make_spec(training={**switches, "double": True})
    config = rllib_dqn.build_rllib_config(spec)
    module = _module(config)
    ours = EngineConfig().from_experiment(make_spec("dqn", training={**switches, "double": True}))
    assert (
        sum(p.numel() for p in module.q_network.parameters())
        == QNetwork(ours.network_config()).num_parameters()
    )
    module.make_target_networks()
    batch = {Columns.OBS: torch.randn(5, 1, 4), Columns.NEXT_OBS: torch.randn(5, 1, 4)}
    output = module._forward_train(batch)
    torch.testing.assert_close(output[QF_PREDS], module.q_network(batch[Columns.OBS]).q)
    actions = module._forward_exploration({Columns.OBS: batch[Columns.OBS]}, t=0)[Columns.ACTIONS]
    assert actions.shape == (5,)


def test_rllibs_own_network_is_of_the_same_size() -> None:
    """RLlib pads convolutions by default, which makes the Nature network 8.0M parameters instead of 3.3M."""
    spec = from_mapping(
        {
            "algorithm": "rllib/DQN",
            "env": "ALE/Pong-v5",
            "stop": {"env_steps": 1000},
            "training": {"dueling": True},
            "exploration": {"kind": "constant", "epsilon": 0.25},
        }
    )
    config = rllib_dqn.build_rllib_config(spec, "rllib")
    module = config.get_rl_module_spec(
        spaces={"default_policy": (config.observation_space, config.action_space)}, inference_only=True
    ).build()
    ours = QNetwork(EngineConfig().from_experiment(spec).network_config())
    assert sum(p.numel() for p in module.parameters()) == ours.num_parameters() == 3_293_863
    assert module.epsilon_schedule.get_current_value() == 0.25
    assert module.uses_dueling
    env = RllibVectorEnv(resolve_env("ALE/Pong-v5", spec.environment), 1, 0, None, normalized=True)
    frames, _ = env.reset(seed=0)
    assert frames in env.observation_space
    assert module.forward_inference({Columns.OBS: torch.from_numpy(frames)})[Columns.ACTIONS].shape == (1,)


def test_images_are_scaled_as_by_rllibs_atari_wrapper() -> None:
    spec = resolve_env("ALE/Pong-v5", Environment())
    plain, scaled = (RllibVectorEnv(spec, 2, 0, None, normalized=flag) for flag in (False, True))
    plain.reset(seed=0)
    scaled.reset(seed=0)
    for _ in range(6):
        a, *_ = plain.step([2, 3])
        b, *_ = scaled.step([2, 3])
    assert b.dtype == np.float32
    assert b.flags.c_contiguous
    np.testing.assert_array_equal(b, np.moveaxis(a, 1, -1).astype(np.float32) / 128.0 - 1.0)


def test_rllibs_own_network_needs_convolutions() -> None:
    with pytest.raises(RlxError, match="convolutions"):
        rllib_dqn.build_rllib_config(make_spec(), "rllib")


def _module(config):
    spec = config.rl_module_spec
    return spec.module_class(
        observation_space=config.observation_space,
        action_space=config.action_space,
        inference_only=False,
        model_config=spec.model_config,
    )


# The whole.


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_trains_and_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        spec = make_spec(
            env_runners={"num_envs_per_env_runner": 4, "rollout_length_env_steps": 4},
            replay={"capacity": 5000, "prioritized": True, "samples_per_env_step": 4},
            training={
                "batch_size": 32,
                "learning_starts_env_steps": 100,
                "target_update_period_updates": 20,
                "double": True,
            },
            reporting={"interval_seconds": 0.3},
        )
        engine = rllib_dqn.build_rllib_engine(spec, tmp_path)
        rows = [engine.train()]
        while rows[-1]["updates"] < 30:
            rows.append(engine.train())
        _check_rows(rows)
        with pytest.raises(EvaluationAbandonedError):
            engine.evaluate_policy(4, 0.0, 1, abandon=lambda: True)
        played = engine.evaluate_policy(4, 0.0, 1)
        _check_kept_policy(engine, tmp_path / "best", played)
        job = engine.begin_checkpoint(tmp_path / "checkpoint")
        assert job.done()
        assert job.info["env_steps"] == rows[-1]["env_steps"]
        assert engine.first_env_step_at is not None
        with pytest.raises(RuntimeError, match="fresh"):
            engine.restore(tmp_path / "checkpoint")
        engine.stop()
        _check_resumed(
            rllib_dqn.build_rllib_engine(spec, tmp_path), tmp_path / "checkpoint", played, rows[-1]
        )
    finally:
        ray.shutdown()


def _check_kept_policy(engine: RllibEngine, folder: Path, played) -> None:
    engine.save_policy(folder)
    envs = engine.spec.evaluation.num_envs
    kept = play_episodes(load_policy(folder), engine.env_spec, episodes=4, num_envs=envs, epsilon=0.0, seed=1)
    assert kept.returns.tolist() == played["returns"]


def _check_rows(rows) -> None:
    last = rows[-1]
    assert last["samples"] == 32 * last["updates"]
    assert last["replay_env_steps"] == last["env_steps"]
    assert last["replay_ratio"] == pytest.approx(4.0, rel=0.4)
    assert {"loss", "q_mean", "td_error_mean", "return_mean"} <= last.keys()
    assert last["episodes"] >= 1
    for before, after in itertools.pairwise(rows):
        assert after["env_steps"] > before["env_steps"]


def _check_resumed(engine: RllibEngine, checkpoint: Path, played, last) -> None:
    engine.restore(checkpoint)
    again = engine.evaluate_policy(4, 0.0, 1)
    assert (again["returns"], again["lengths"]) == (played["returns"], played["lengths"])
    row = engine.train()
    assert row["env_steps"] > last["env_steps"]
    assert any("does not checkpoint its replay" in event for event in row["events"])
    while row["updates"] == last["updates"]:
        assert row["replay_env_steps"] <= row["env_steps"] - last["env_steps"]
        row = engine.train()
    assert row["replay_env_steps"] >= 100
    engine.stop()
