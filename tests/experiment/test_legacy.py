"""Old RLlib files."""

import pytest

from rlx.experiment.load import load_text
from rlx.experiment.problems import ExperimentError

OLD = """\
cartpole-dqn:
    run: DQN
    env: CartPole-v1
    stop:
        env_runners/episode_return_mean: 150
        timesteps_total: 50000
        training_iteration: 9
    config:
        framework: torch
        lr: 5e-4
        model:
            fcnet_hiddens: [64]
            vf_share_layers: true
        num_atoms: 1
        replay_buffer_config: {type: MultiAgentPrioritizedReplayBuffer, capacity: 60000}
        target_network_update_freq: 500
        rollout_fragment_length: 5
        env_config: {a: {b: 1}}
        exploration_config: {epsilon_timesteps: 10000, final_epsilon: 0.02}
        seed: 3
"""


def test_common_keys_are_translated():
    spec = load_text(OLD, "old.yaml").spec
    assert (spec.name, spec.algorithm, spec.env, spec.seeds) == ("cartpole-dqn", "dqn", "CartPole-v1", (3,))
    assert spec.stop.model_dump(exclude_none=True) == {"return_mean": 150, "env_steps": 50_000}
    assert spec.training.lr == 5e-4
    assert spec.training.distributional is False
    assert spec.training.target_update_period_updates == 100  # every 500 steps, an update each 5
    assert (spec.replay.prioritized, spec.replay.capacity) == (True, 60_000)
    assert spec.rl_module.hidden_sizes == (64,)
    assert spec.environment.env_config == {"a": {"b": 1}}
    assert (spec.exploration.decay_env_steps, spec.exploration.final) == (10_000, 0.02)


def test_what_was_and_what_was_not_translated_is_listed():
    notes = load_text(OLD, "old.yaml").notes
    assert notes[0] == "old.yaml is an old RLlib file and was translated:"
    assert "  old.yaml:10:9: config.lr -> training.lr: 0.0005" in notes
    assert [note for note in notes if "NOT" in note] == [
        "  old.yaml:7:9: stop.training_iteration was NOT translated",
        "  old.yaml:13:13: config.model.vf_share_layers was NOT translated",
    ]


def test_errors_point_into_the_old_file():
    with pytest.raises(ExperimentError) as caught:
        load_text(OLD.replace("lr: 5e-4", "lr: fast"), "old.yaml")
    assert str(caught.value) == "old.yaml:10:13: training.lr: expected a number, got 'fast'"


def test_origins_and_overrides():
    experiment = load_text(OLD, "old.yaml", ["training.gamma=0.9"])
    assert str(experiment.origin("training.lr")) == "old.yaml:10:13"
    assert experiment.spec.training.gamma == 0.9


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "a: {run: PPO, env: x}\n",
            "f:1:10: a.run: 'PPO' has no counterpart; known: APEX, APEX_DQN, DQN, RAINBOW, SIMPLEQ",
        ),
        (
            "a: {run: DQN}\nb: {run: DQN}\n",
            "f:2:1: b: an old RLlib file with 2 experiments; split it into one file for each",
        ),
    ],
)
def test_what_cannot_be_translated(text, error):
    with pytest.raises(ExperimentError) as caught:
        load_text(text, "f")
    assert str(caught.value) == error


def test_apex():
    text = "p: {run: APEX, env: x, stop: {timesteps_total: 5}, config: {num_workers: 3, buffer_size: 2e5}}\n"
    spec = load_text(text, "f").spec
    assert (spec.algorithm, spec.env_runners.num_env_runners, spec.replay.capacity) == (
        "apex_dqn",
        3,
        200_000,
    )
