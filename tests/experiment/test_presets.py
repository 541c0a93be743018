"""Presets: the published numbers, converted by hand here, and what counts as published."""

import pytest

from rlx.experiment.presets import PRESETS, Paper, lineage, paper_values, preset_values
from rlx.experiment.resolve import from_mapping
from rlx.experiment.spec import ALGORITHMS


def values(algorithm: str) -> dict[str, object]:
    return {".".join(path): value for path, (value, _) in preset_values(algorithm).items()}


def test_every_algorithm_has_a_preset():
    assert tuple(PRESETS) == ALGORITHMS


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_preset_fills_everything(algorithm):
    from_mapping({"algorithm": algorithm, "env": "CartPole-v1", "stop": {"updates": 1}})


def test_dqn():
    dqn = values("dqn")
    assert dqn["replay.samples_per_env_step"] == 8  # 32 samples each 4 env steps
    assert dqn["training.target_update_period_updates"] == 2_500  # 40k frames = 10k env steps
    assert dqn["exploration.decay_env_steps"] == 1_000_000  # 4M frames
    assert dqn["training.learning_starts_env_steps"] == 50_000
    assert dqn["training.rmsprop_epsilon"] == pytest.approx(9.765625e-6)  # 0.01 / 1024
    assert (dqn["training.lr"], dqn["training.loss"]) == (2.5e-4, "huber")
    assert dqn["evaluation.epsilon"] == 0.05


def test_rainbow():
    rainbow = values("rainbow")
    assert rainbow["training.lr"] == 6.25e-5
    assert rainbow["training.adam_epsilon"] == 1.5e-4
    assert rainbow["training.target_update_period_updates"] == 2_000  # 32k frames = 8,000 env steps
    assert rainbow["training.learning_starts_env_steps"] == 20_000  # 80k frames
    assert rainbow["exploration.decay_env_steps"] == 62_500  # 250k frames
    assert rainbow["replay.importance_anneal_env_steps"] == 50_000_000  # 200M frames
    assert rainbow["replay.priority_exponent"] == 0.5
    parts = ("double", "dueling", "distributional", "noisy")
    assert all(rainbow[f"training.{part}"] is True for part in parts)
    assert rainbow["replay.prioritized"] is True
    assert rainbow["training.n_step"] == 3


def test_apex():
    apex = values("apex_dqn")
    assert apex["env_runners.num_env_runners"] == 360
    assert apex["env_runners.weights_pull_period_env_steps"] == 100  # 400 frames
    assert (apex["exploration.kind"], apex["exploration.epsilon"], apex["exploration.alpha"]) == (
        "ladder",
        0.4,
        7,
    )
    assert (apex["replay.capacity"], apex["training.batch_size"]) == (2_000_000, 512)
    assert apex["replay.importance_exponent"] == apex["replay.importance_exponent_final"] == 0.4
    assert apex["replay.initial_priority"] == "td_error"
    assert (apex["training.rmsprop_epsilon"], apex["training.grad_clip_norm"]) == (1.5e-7, 40)
    assert apex["training.optimizer"] == "rmsprop_centered"
    assert (apex["training.distributional"], apex["training.noisy"]) == (False, False)


def test_presets_show_only_what_they_add():
    for preset in PRESETS.values():
        if preset.parent is None:
            continue
        inherited = preset_values(preset.parent.name)
        known_repeats = 0
        for path, (value, giver) in preset_values(preset.name).items():
            if giver == preset.name and path in inherited and inherited[path][0] == value:
                # Repeated on purpose only to cite the paper of this algorithm.
                section, key = path
                known_repeats += 1
                assert isinstance(preset.values[section][key], Paper), path
        assert known_repeats <= 11


def test_every_published_value_has_a_source():
    for algorithm in ALGORITHMS:
        for path, value in paper_values(algorithm).items():
            assert value.source.startswith("["), path


def test_a_value_of_ours_hides_the_parents_paper_unless_it_replaces_it():
    assert ("evaluation", "epsilon") in paper_values("dqn")
    assert ("evaluation", "epsilon") not in paper_values("apex_dqn")
    assert paper_values("rllib/DQN")[("training", "optimizer")].value == "rmsprop_centered"


def test_lineage():
    assert [preset.name for preset in lineage("rainbow")] == ["dqn", "rainbow"]
