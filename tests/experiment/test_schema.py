"""The JSON Schema: in step with the models and with what the loader takes."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from rlx.experiment.document import parse_yaml
from rlx.experiment.hints import known_paths
from rlx.experiment.schema import experiment_schema, schema_text
from rlx.experiment.spec import ALGORITHMS

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
GOOD = {"algorithm": "dqn", "env": "a", "stop": {"updates": 1}}


def accepts(data) -> bool:
    return bool(jsonschema.Draft202012Validator(experiment_schema()).is_valid(data))


def test_the_shipped_file_is_in_step():
    # To remake it: rlx schema > experiments/schema.json
    assert (EXPERIMENTS / "schema.json").read_text() == schema_text()


def test_is_a_valid_schema():
    jsonschema.Draft202012Validator.check_schema(experiment_schema())
    assert experiment_schema()["properties"]["algorithm"]["enum"] == list(ALGORITHMS)


def test_every_field_is_described():
    schema = experiment_schema()
    for path in known_paths():
        field = schema["properties"][path[0]]
        if len(path) == 2:
            field = schema["$defs"][field["$ref"].rsplit("/", 1)[1]]["properties"][path[1]]
        description = field["description"]
        assert description.endswith("."), path
        assert len(description) > 10, path


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"training": {"lr": 1e-4}}, True),
        ({"training": {"grad_clip_norm": None}}, True),
        ({"replay": {"samples_per_env_step": None, "capacity": 1e5}}, True),
        ({"env": ["a", "b"], "seeds": [0, 1], "plugins": ["a"]}, True),
        ({"plugins": {"a": {"x": 1}, "b": False, "c": None}}, True),
        ({"training": {"lr": None}}, False),
        ({"training": {"lr": 0}}, False),
        ({"training": {"lr": "1e-4"}}, False),
        ({"training": {"n_step": 0}}, False),
        ({"training": {"gama": 1}}, False),
        ({"training": {"num_atoms": 1}}, False),
        ({"trainin": {}}, False),
        ({"algorithm": "x"}, False),
        ({"stop": {}}, False),
        ({"seeds": []}, False),
        ({"seeds": [-1]}, False),
        ({"env": 3}, False),
        ({"learners": {"device": "gpu"}}, False),
    ],
)
def test_takes_what_the_loader_takes(change, good):
    from rlx.experiment.problems import ExperimentError
    from rlx.experiment.resolve import from_mapping

    data = {**GOOD, **change}
    assert accepts(data) is good
    if good:
        from_mapping(data)
    else:
        with pytest.raises(ExperimentError):
            from_mapping(data)


@pytest.mark.parametrize("key", sorted(GOOD))
def test_three_keys_are_needed(key):
    assert not accepts({k: v for k, v in GOOD.items() if k != key})


@pytest.mark.parametrize("file", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_experiments_fit_the_schema(file):
    assert accepts(parse_yaml(file.read_text(), file.name).data)
    assert json.dumps(yaml.safe_load(file.read_text()))
