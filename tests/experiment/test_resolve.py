"""Runs, deviations, and switching plugins."""

import pytest

from rlx.experiment.load import load_text
from rlx.experiment.problems import ExperimentError
from rlx.experiment.resolve import deviations, from_mapping, from_recorded, runs
from rlx.experiment.spec import ExperimentSpec

BASE = {"algorithm": "dqn", "env": "CartPole-v1", "stop": {"env_frames": 50_000_000}}


def test_one_run_for_each_environment_and_seed():
    spec = from_mapping({**BASE, "name": "x", "env": ["ALE/Pong-v5", "ALE/Qbert-v5"], "seeds": [0, 7]})
    found = runs(spec)
    assert [run.name for run in found] == [
        "x-ALE-Pong-v5-seed0",
        "x-ALE-Pong-v5-seed7",
        "x-ALE-Qbert-v5-seed0",
        "x-ALE-Qbert-v5-seed7",
    ]
    assert (found[3].env, found[3].seed) == ("ALE/Qbert-v5", 7)
    assert (found[3].spec.env, found[3].spec.seeds) == ("ALE/Qbert-v5", (7,))
    assert found[3].spec.training == spec.training


def test_no_deviation_without_a_change():
    assert deviations(from_mapping(BASE)) == []


def test_deviations_name_the_paper_and_ours():
    spec = from_mapping(
        {**BASE, "stop": {"updates": 5}, "training": {"lr": 1e-3, "double": True, "adam_epsilon": 1.0}}
    )
    assert deviations(spec) == [
        ("stop.env_frames", 50_000_000, None),
        ("training.lr", 2.5e-4, 1e-3),
        ("training.double", False, True),
    ]


@pytest.mark.parametrize("env", ["ALE/Pong-v5", "PongNoFrameskip-v4"])
def test_the_protocol_counts_on_atari_only(env):
    spec = from_mapping({**BASE, "env": env})
    found = {path: (paper, ours) for path, paper, ours in deviations(spec)}
    assert found["environment.sticky_action_probability"] == (0.0, None)
    assert not deviations(from_mapping(BASE))


def test_a_spec_survives_json():
    spec = from_mapping({**BASE, "plugins": {"count": {"scale": 0.1}}, "env": ["a", "b"]})
    assert ExperimentSpec.model_validate_json(spec.model_dump_json()) == spec
    assert ExperimentSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_a_spec_cannot_be_changed():
    spec = from_mapping(BASE)
    with pytest.raises(Exception, match="frozen"):
        spec.training.lr = 1.0


@pytest.mark.parametrize(
    ("given", "override", "result"),
    [
        ("[a, b]", (), {"a": {}, "b": {}}),
        ("{a: {x: 1}, b: , c: true, d: false}", (), {"a": {"x": 1}, "b": {}, "c": {}}),
        ("{a: {x: 1, y: 2}}", ("plugins.a.x=5",), {"a": {"x": 5, "y": 2}}),
        ("[a, b]", ("plugins.b=false",), {"a": {}}),
        ("[a, b]", ("plugins=[c]",), {"c": {}}),
        ("[a, b]", ("plugins=[]",), {}),
        ("[a]", ("plugins.b={x: [1, 2]}",), {"a": {}, "b": {"x": [1, 2]}}),
    ],
)
def test_plugins(given, override, result):
    text = f"algorithm: dqn\nenv: a\nstop: {{updates: 1}}\nplugins: {given}\n"
    assert load_text(text, "f", override).spec.plugins == result


def test_from_mapping_complains_like_a_file():
    with pytest.raises(ExperimentError, match=r"training\.gama: unknown key; did you mean 'gamma'"):
        from_mapping({**BASE, "training": {"gama": 1}})


def test_a_spec_that_an_older_version_recorded_is_read():
    spec = from_mapping(
        {"algorithm": "r2d2", "env": "x", "stop": {"updates": 1}, "plugins": {"burn_in": False}}
    )
    recorded = spec.model_dump()
    assert from_recorded(recorded) == spec
    del recorded["replay"]["compression"]
    del recorded["rl_module"]["conv_layers"]
    assert from_recorded(recorded) == spec, "what it did not have is the preset's; the plugin stays off"
    recorded["replay"]["capacity_of_old"] = 3
    with pytest.raises(ValueError, match="capacity_of_old"):
        from_recorded(recorded)
