"""Errors of whole files, word for word, and where each value came from."""

import subprocess
import sys

import pytest

from rlx.experiment.load import load_experiment, load_text
from rlx.experiment.problems import ExperimentError

GOOD = "algorithm: dqn\nenv: CartPole-v1\nstop: {env_steps: 1e5}\n"


def errors(text: str, *overrides: str, **options) -> list[str]:
    with pytest.raises(ExperimentError) as caught:
        load_text(text, "a.yaml", overrides, **options)
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    return str(caught.value).splitlines()


def test_a_good_file_is_complete_and_typed():
    experiment = load_text(GOOD + "training: {lr: 1e-4, batch_size: 6.4e1}\n", "dir/my-test.yaml")
    assert experiment.spec.name == "my-test"
    assert experiment.spec.training.lr == 1e-4
    assert experiment.spec.training.batch_size == 64
    assert isinstance(experiment.spec.training.batch_size, int)
    assert experiment.spec.stop.env_steps == 100_000
    assert experiment.spec.training.gamma == 0.99


def test_every_error_at_once_with_its_place():
    text = """\
name: my name
algorithm: rainbow
env: CartPole-v1
stop: {steps: 1000}
seeds: [0, -1, x]
training:
  lr: "1e-4"
  gama: 0.9
  target_update_period: 100
  optimizer: adm
  noisy: no
  n_step: 1.5
  gamma: 1.2
replay:
  capacity: 0
env_runners:
  device: gpu
learnrs: {num_learners: 1}
rl_module: mlp
training: {}
checkpointing:
  interval: 60
"""
    assert errors(text) == [
        "a.yaml:1:7: name: expected letters, digits and . _ - only, got 'my name'",
        "a.yaml:4:8: stop.steps: unknown key; did you mean 'env_steps'?",
        "a.yaml:5:12: seeds.1: must be at least 0, got -1",
        "a.yaml:5:16: seeds.2: expected a whole number, got 'x'",
        "a.yaml:7:7: training.lr: expected a number, got '1e-4'; remove the quotes",
        "a.yaml:8:3: training.gama: unknown key; did you mean 'gamma'?",
        "a.yaml:9:3: training.target_update_period: unknown key; "
        "did you mean 'target_update_period_updates' (the unit is part of the name)?",
        "a.yaml:10:14: training.optimizer: expected one of adam, rmsprop_centered, got 'adm'; "
        "did you mean 'adam'?",
        "a.yaml:11:10: training.noisy: expected true or false, got 'no'",
        "a.yaml:12:11: training.n_step: expected a whole number, got 1.5",
        "a.yaml:13:10: training.gamma: must be at most 1, got 1.2",
        "a.yaml:15:13: replay.capacity: must be at least 1, got 0",
        "a.yaml:17:11: env_runners.device: expected auto, cpu, cuda or cuda:N, got 'gpu'",
        "a.yaml:18:1: learnrs: unknown key; did you mean 'learners'?",
        "a.yaml:19:12: rl_module: expected a mapping, got 'mlp'",
        "a.yaml:20:1: training: given twice; first in line 6",
        "a.yaml:22:3: checkpointing.interval: unknown key; "
        "did you mean 'interval_seconds' or 'interval_env_steps' (the unit is part of the name)?",
    ]


def test_errors_of_options_come_with_those_of_the_file():
    found = errors(
        GOOD + "trainin: {lr: 1}\n",
        "training.adam_epsilon=-1",
        "foo",
        "lr=2",
        "name.x=1",
        "seeds=3",
        "training.lr=[",
        stop=["steps=3", "7"],
    )
    assert found == [
        "a.yaml:4:1: trainin: unknown key; did you mean 'training'?",
        "--set foo: expected PATH=VALUE; e.g. --set training.lr=1e-4",
        "--set lr: unknown key; did you mean 'training.lr'?",
        "--set name.x: name: expected text, got {x: 1}",
        "--set seeds: expected a list, got 3",
        "--set training.adam_epsilon: must be more than 0, got -1",
        "--set training.lr: not YAML: while parsing a flow node, expected the node content, "
        "but found '<stream end>'",
        "--stop 7: expected CONDITION=NUMBER; e.g. --stop env_steps=100000,seconds=600",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "{}",
            [
                "a.yaml:1:1: algorithm: is missing; known: dqn, rainbow, apex_dqn, r2d2, rllib/DQN",
                "a.yaml:1:1: env: is missing; name an environment, e.g. env: CartPole-v1",
                "a.yaml:1:1: stop: is missing; say when to stop, e.g. stop: {env_steps: 1000000}",
            ],
        ),
        ("", ["a.yaml:1:1: expected a mapping, e.g. algorithm: dqn"]),
        ("- a\n", ["a.yaml:1:1: expected a mapping, e.g. algorithm: dqn"]),
        (
            "algorithm: rainbo\nenv: [1]\nstop: {}\n",
            [
                "a.yaml:1:12: algorithm: 'rainbo' is unknown; did you mean 'rainbow'?",
                "a.yaml:2:6: env: expected an environment id or a list of them, got [1]",
                "a.yaml:3:7: stop: no condition is given; e.g. stop: {env_steps: 1000000}",
            ],
        ),
        ("algorithm: dqn\n\tenv: x\n", ["a.yaml:2:1: a tab; YAML is indented with spaces"]),
        (GOOD + "seeds: []\n", ["a.yaml:4:8: seeds: must not be empty"]),
        (GOOD + "training: {lr: .inf}\n", ["a.yaml:4:16: training.lr: must be finite, got inf"]),
        (GOOD + "plugins: [1]\n", ["a.yaml:4:10: plugins: expected a mapping, got [1]"]),
        (
            GOOD + "plugins: {foo: 3}\n",
            ["a.yaml:4:16: plugins.foo: expected a mapping, got 3"],
        ),
    ],
)
def test_other_broken_files(text, found):
    assert errors(text) == found


def test_a_misspelled_section_does_not_cause_false_conflicts():
    # The user meant learning_starts_env_steps: 100; the preset's 50,000 must not count against the capacity.
    text = GOOD + "replay: {capacity: 1000}\ntraining: {learning_starts: 100}\n"
    assert errors(text) == [
        "a.yaml:5:12: training.learning_starts: unknown key; "
        "did you mean 'learning_starts_env_steps' (the unit is part of the name)?"
    ]


def test_conflicts_are_found_beside_other_errors():
    text = GOOD + "replay: {capacity: 1000}\nseeds: [x]\n"
    assert errors(text) == [
        "a.yaml:4:20: replay.capacity: 1000 env steps are fewer than learning_starts_env_steps, 50000",
        "a.yaml:5:9: seeds.0: expected a whole number, got 'x'",
    ]


def test_where_each_value_came_from():
    experiment = load_text(
        "algorithm: rainbow\nenv: CartPole-v1\nstop: {env_steps: 10}\ntraining:\n  lr: 1e-3\n  n_step: 5\n",
        "a.yaml",
        ["training.lr=1e-4", "plugins.foo.bar=1"],
        seeds=[3, 4],
        stop=["updates=5"],
        envs=["Acrobot-v1"],
    )
    assert {
        path: str(experiment.origin(path))
        for path in (
            "algorithm",
            "env",
            "seeds",
            "stop.updates",
            "stop.env_steps",
            "training.lr",
            "training.n_step",
            "training.adam_epsilon",
            "training.gamma",
            "plugins.foo.bar",
            "checkpointing.keep_last",
        )
    } == {
        "algorithm": "a.yaml:1:12",
        "env": "--env",
        "seeds": "--seed",
        "stop.updates": "--stop updates=5",
        "stop.env_steps": "default",
        "training.lr": "--set training.lr",
        "training.n_step": "a.yaml:6:11",
        "training.adam_epsilon": "preset rainbow",
        "training.gamma": "preset dqn",
        "plugins.foo.bar": "--set plugins.foo.bar",
        "checkpointing.keep_last": "default",
    }


def test_stop_option_replaces_and_set_merges():
    text = "algorithm: dqn\nenv: a\nstop: {env_steps: 10, return_mean: 1}\n"
    assert load_text(text, "a", stop=["seconds=3"]).spec.stop.model_dump(exclude_none=True) == {"seconds": 3}
    merged = load_text(text, "a", ["stop.seconds=3"]).spec.stop.model_dump(exclude_none=True)
    assert merged == {"env_steps": 10, "return_mean": 1, "seconds": 3}
    both = load_text(text, "a", ["stop.updates=4"], stop=["seconds=3,env_frames=7"]).spec.stop
    assert both.model_dump(exclude_none=True) == {"seconds": 3, "env_frames": 7, "updates": 4}


def test_empty_sections_and_comments_are_allowed():
    spec = load_text(GOOD + "training:\n  # lr: 1\nreplay:\n", "a").spec
    assert spec.training.lr == 2.5e-4


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ExperimentError, match=r"none\.yaml: cannot be read: No such file"):
        load_experiment(tmp_path / "none.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(ExperimentError, match=r"latin\.yaml:2:7: not UTF-8 text"):
        load_experiment(latin)


def test_nothing_heavy_is_imported():
    code = (
        "import sys, rlx.experiment.load, rlx.experiment.memory\n"
        "import rlx.experiment.schema, rlx.experiment.catalog\n"
        "heavy = {'ray', 'torch', 'gymnasium', 'numpy', 'ale_py'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_misspelled_section_is_shown_in_the_file_even_if_an_option_repeats_it():
    assert errors(GOOD + "trainin: {lr: 1}\n", "trainin.lr=2") == [
        "a.yaml:4:1: trainin: unknown key; did you mean 'training'?"
    ]
