"""Options of the command line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlx.experiment.hints import known_paths
from rlx.experiment.load import load_text
from rlx.experiment.override import parse_override, parse_stop
from rlx.experiment.problems import ExperimentError

GOOD = "algorithm: dqn\nenv: a\nstop: {updates: 1}\n"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("training.lr=1e-4", {"training": {"lr": 1e-4}}),
        ("seeds=[0, 1]", {"seeds": [0, 1]}),
        ("stop={env_steps: 5}", {"stop": {"env_steps": 5}}),
        ("training.grad_clip_norm=", {"training": {"grad_clip_norm": None}}),
        ("env=ALE/Pong-v5", {"env": "ALE/Pong-v5"}),
        ("environment.env_config.a=b=c", {"environment": {"env_config": {"a": "b=c"}}}),
    ],
)
def test_values_are_yaml(text, data):
    assert parse_override(text).data == data


@pytest.mark.parametrize("text", ["", "=", "a", "=1", "a..b=1", ".a=1", "a.=1"])
def test_no_path_or_no_value(text):
    with pytest.raises(ExperimentError, match="expected PATH=VALUE"):
        parse_override(text)


def test_later_options_win():
    spec = load_text(GOOD, "f", ["training.lr=1", "training={lr: 2, gamma: 0.5}", "training.lr=3"]).spec
    assert (spec.training.lr, spec.training.gamma) == (3, 0.5)


@pytest.mark.parametrize(
    ("texts", "stop"),
    [
        (["env_steps=1000"], {"env_steps": 1000}),
        (
            ["updates=5,seconds=1e2", "return_mean=-3.5"],
            {"updates": 5, "seconds": 100.0, "return_mean": -3.5},
        ),
    ],
)
def test_stop(texts, stop):
    assert parse_stop(texts).data == {"stop": stop}


def test_stop_complains_about_each_part():
    with pytest.raises(ExperimentError) as caught:
        parse_stop(["env_steps", "updates=1", "updates=2"])
    assert [str(problem) for problem in caught.value.problems] == [
        "--stop env_steps: expected CONDITION=NUMBER; e.g. --stop env_steps=100000,seconds=600",
        "--stop updates=2: updates is given twice",
    ]
    assert parse_stop([]) is None


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(max_codepoint=0xD7FF), max_size=6)
        | st.lists(st.integers(), max_size=3),
        max_size=5,
    )
)
def test_free_values_come_through_unchanged(settings):
    overrides = [f"environment.env_config.{key}={json.dumps(value)}" for key, value in settings.items()]
    assert load_text(GOOD, "f", overrides).spec.environment.env_config == settings


@given(st.sampled_from(sorted(p for p in known_paths() if len(p) == 2)))
def test_every_field_can_be_set_to_its_own_value(path):
    spec = load_text(GOOD, "f").spec
    value = spec.model_dump(mode="json")[path[0]][path[1]]
    again = load_text(GOOD, "f", [f"{'.'.join(path)}={json.dumps(value)}"])
    assert again.spec == spec
    assert str(again.origin(".".join(path))).startswith(f"--set {'.'.join(path)}") or value == {}
