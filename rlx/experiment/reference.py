"""The reference of all settings, in Markdown, made from the models and the presets.

`python -m rlx.experiment.reference docs/experiments.md` writes it between the marks in that file; without a
file it is printed. `tests/test_docs.py` compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlx.experiment.layers import SECTIONS
from rlx.experiment.presets import PRESETS, preset_values
from rlx.experiment.schema import experiment_schema
from rlx.experiment.spec import ExperimentSpec
from rlx.experiment.validate import as_yaml

BEGIN = "<!-- reference: begin. Made by: python -m rlx.experiment.reference docs/experiments.md -->"
END = "<!-- reference: end -->"

# Ending of a name -> unit of its value; and the units of numbers whose names do not say it.
_ENDINGS = {
    "_env_steps": "env steps",
    "_env_step": "samples per env step",
    "_updates": "updates",
    "_env_frames": "frames",
    "_seconds": "seconds",
    "_bytes": "bytes",
}
_UNITS = {
    "env_steps": "env steps",
    "env_frames": "frames",
    "updates": "updates",
    "seconds": "seconds",
    "return_mean": "raw return",
    "evaluation_return_mean": "raw return",
    "noop_max": "frames",
    "max_episode_frames": "frames",
    "frame_skip": "frames per env step",
    "frame_stack": "frames",
    "frame_size": "pixels",
    "num_env_runners": "processes",
    "num_envs_per_env_runner": "environments",
    "num_cpus_per_env_runner": "cores",
    "max_requests_in_flight": "requests",
    "capacity": "env steps",
    "num_shards": "processes",
    "n_step": "env steps",
    "batch_size": "samples",
    "num_atoms": "atoms",
    "v_min": "return",
    "v_max": "return",
    "reward_clip": "reward",
    "conv_layers": "channels, pixels, pixels",
    "hidden_sizes": "units",
    "head_hidden_size": "units",
    "num_learners": "processes",
    "num_gpus_per_learner": "GPUs",
    "num_torch_threads": "threads",
    "prefetch_batches": "batches",
    "episodes": "episodes",
    "num_envs": "environments",
    "keep_last": "checkpoints",
    "max_restarts": "restarts",
    "num_cpus": "cores",
}


def reference() -> str:
    """Return one table for the top of an experiment file and one for each section."""
    schema = experiment_schema()
    top = {key: field for key, field in schema["properties"].items() if key not in SECTIONS}
    parts = ["### top level\n", _table((), top, set(schema["required"]))]
    for section in SECTIONS:
        model = schema["$defs"][schema["properties"][section]["$ref"].rsplit("/", 1)[1]]
        parts += [
            f"\n### `{section}`\n",
            f"{model['description']}\n",
            _table((section,), model["properties"]),
        ]
    return "\n".join(parts) + "\n"


def write_reference(text: str) -> str:
    """Return a document with what stands between its marks replaced.

    Raises:
        ValueError: a mark is missing.
    """
    return write_between(text, BEGIN, END, reference())


def write_between(text: str, begin: str, end: str, inside: str) -> str:
    """Return a document with what stands between two marks replaced; the marks stay.

    Raises:
        ValueError: a mark is missing.
    """
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"expected the lines {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{inside}\n{end}{after}"


def unit(name: str) -> str:
    """Return the unit of a setting, empty if it has none."""
    if name in _UNITS:
        return _UNITS[name]
    return next((unit for ending, unit in _ENDINGS.items() if name.endswith(ending)), "")


def _table(at: tuple[str, ...], fields: Mapping[str, Any], required: set[str] | None = None) -> str:
    lines = ["| key | takes | unit | default | meaning |", "|---|---|---|---|---|"]
    for name, field in fields.items():
        default = "required" if required and name in required else _default((*at, name))
        takes = _takes(field) if name != "plugins" else "list, or mapping of settings"
        cells = (f"`{name}`", takes, unit(name) or "-", default, field["description"])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _takes(field: Mapping[str, Any]) -> str:
    """Word the type and range of a JSON Schema."""
    if "anyOf" in field:
        return " or ".join(_takes(choice) for choice in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = str(field["type"])
    if kind == "array" and "prefixItems" in field:
        kinds = list(dict.fromkeys(_takes(item) for item in field["prefixItems"]))
        return f"list of {len(field['prefixItems'])}: {', '.join(kinds)}"
    if kind == "array":
        return f"list of: {_takes(field['items'])}"
    if kind == "object":
        return "mapping"
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f"{kind} in [{low}, {high}]"
    bounds = [f">= {low}"] if low is not None else []
    bounds += [f"> {field['exclusiveMinimum']}"] if "exclusiveMinimum" in field else []
    return " ".join([kind, *bounds])


def _default(path: tuple[str, ...]) -> str:
    """Word the value that a setting has when nobody gives it: DQN's, then those of presets that differ."""
    if path == ("name",):
        return "the file's name"
    otherwise = (_model_default(path), "")
    values = {name: preset_values(name).get(path, otherwise)[0] for name in PRESETS}
    others = [f"{name} {_value(value)}" for name, value in values.items() if value != values["dqn"]]
    return "; ".join([_value(values["dqn"]), *others])


def _model_default(path: tuple[str, ...]) -> Any:
    model: Any = ExperimentSpec
    for key in path[:-1]:
        model = model.model_fields[key].annotation
    field = model.model_fields[path[-1]]
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return f"`{value}`"
    return f"`{as_yaml(list(value) if isinstance(value, tuple) else value)}`"


def main() -> None:
    """Print the reference, or write it into the file named on the command line."""
    if len(sys.argv) == 1:
        print(reference(), end="")
        return
    file = Path(sys.argv[1])
    file.write_text(write_reference(file.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
