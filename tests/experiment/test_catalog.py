"""Shipped experiments: found by name, complete, and on the machines that their headers name."""

from pathlib import Path

import pytest

from rlx.experiment.catalog import find_experiment, header_comment, shipped_experiments
from rlx.experiment.check import cpus_needed, machine_problems
from rlx.experiment.load import load_experiment
from rlx.experiment.memory import EnvShape, estimate
from rlx.experiment.problems import ExperimentError

NAMES = [
    "atari-apex",
    "atari-dqn",
    "atari-rainbow",
    "cartpole-apex",
    "cartpole-dqn",
    "cartpole-rainbow",
    "minatar-breakout-apex",
    "minatar-breakout-rainbow",
    "pong-apex",
]
SHIPPED = shipped_experiments()


def test_all_are_shipped():
    assert set(NAMES) <= {item.name for item in SHIPPED}


@pytest.mark.parametrize("item", SHIPPED, ids=lambda item: item.name)
def test_each_loads_under_its_own_name_with_a_header(item):
    experiment = load_experiment(item.path)
    assert experiment.spec.name == item.name
    first, second = item.path.read_text().splitlines()[:2]
    assert first == "# yaml-language-server: $schema=./schema.json"
    assert second.startswith("# ")
    assert "yaml-language-server" not in item.header
    assert len(experiment.runs()) == len(experiment.spec.envs)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("atari")])
def test_two_cores_are_enough_for_the_small_ones(name):
    experiment = load_experiment(find_experiment(name))
    assert cpus_needed(experiment.spec) <= 2
    assert machine_problems(experiment.spec, experiment.origin, num_cpus=2, has_cuda=False) == []


@pytest.mark.parametrize("name", ["atari-dqn", "atari-rainbow", "atari-apex"])
def test_the_atari_ones_are_the_paper(name):
    found = load_experiment(find_experiment(name)).deviations()
    assert found == []


def test_atari_apex_has_the_four_reference_games():
    envs = load_experiment(find_experiment("atari-apex")).spec.envs
    assert envs == ("ALE/BeamRider-v5", "ALE/Breakout-v5", "ALE/Qbert-v5", "ALE/SpaceInvaders-v5")


def test_pong_needs_what_its_header_says():
    spec = load_experiment(find_experiment("pong-apex")).spec
    size = spec.environment.frame_size
    assert 2e9 < estimate(spec, EnvShape((size, size), 1, 4, 6)).total < 3.2e9


def test_found_by_name_path_and_shipped_path(tmp_path, monkeypatch):
    shipped = {item.name: item.path for item in SHIPPED}["cartpole-apex"]
    monkeypatch.chdir(tmp_path)
    assert find_experiment("cartpole-apex") == shipped
    assert find_experiment("cartpole-apex.yaml") == shipped
    assert find_experiment("experiments/cartpole-apex.yaml") == shipped
    own = Path("experiments/cartpole-apex.yaml")
    own.parent.mkdir()
    own.write_text("algorithm: dqn\n")
    assert find_experiment("experiments/cartpole-apex.yaml") == own


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("cartpole-apx", "cartpole-apx: no such file or shipped experiment; did you mean 'cartpole-apex'"),
        ("elsewhere/cartpole-apex.yaml", "did you mean 'cartpole-apex'"),
        ("qqq", "qqq: no such file or shipped experiment; shipped: atari-apex, "),
        (".", ".: is a directory, not an experiment"),
    ],
)
def test_not_found(name, error):
    with pytest.raises(ExperimentError) as caught:
        find_experiment(name)
    assert error in str(caught.value)


def test_header_comment():
    text = "# yaml-language-server: $schema=x\n# One.\n#   Two.\nname: a\n# three\n"
    assert header_comment(text) == "One.\nTwo."
    assert header_comment("name: a\n") == ""
