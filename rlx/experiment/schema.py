"""JSON Schema of an experiment file, for completion and checks in editors.

Generated from the models, so that names, ranges and descriptions agree. What a preset fills is optional.

Source: [JSONSchema] draft 2020-12.
"""

from __future__ import annotations

import json
from typing import Any

from rlx.experiment.spec import ExperimentSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def experiment_schema() -> dict[str, Any]:
    """Return the schema of an experiment file."""
    schema = ExperimentSpec.model_json_schema()
    for model in schema["$defs"].values():
        model.pop("required", None)
        _tidy(model)
    _tidy(schema)
    schema["$defs"]["Stop"]["minProperties"] = 1
    schema["required"] = ["algorithm", "env", "stop"]
    schema["properties"]["plugins"] = _plugins(schema["properties"]["plugins"]["description"])
    for name, section in schema["properties"].items():
        if "$ref" in section:
            # `training:` with nothing below it is allowed while typing.
            described = schema["$defs"][section["$ref"].rsplit("/", 1)[1]].get("description", name)
            schema["properties"][name] = {"$ref": section["$ref"], "description": described}
    return {
        "$schema": DIALECT,
        "title": "rlx experiment",
        **{k: v for k, v in schema.items() if k != "title"},
    }


def schema_text() -> str:
    """Return the schema as the text of `experiments/schema.json`."""
    return json.dumps(experiment_schema(), indent=2) + "\n"


def _plugins(description: str) -> dict[str, Any]:
    settings = {"type": ["object", "boolean", "null"]}
    return {
        "description": description,
        "anyOf": [
            {"type": "array", "items": {"type": "string"}},
            {"type": "object", "additionalProperties": settings},
        ],
    }


def _tidy(model: dict[str, Any]) -> None:
    """Drop the titles that pydantic makes up from names, and defaults that say nothing."""
    model.pop("title", None)
    for field in model.get("properties", {}).values():
        field.pop("title", None)
        if field.get("default", 0) is None:
            field.pop("default")
