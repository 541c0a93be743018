"""The documents say what is true: paths exist, commands parse, tables are those of the code, examples run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.main import get_command

from rlx.algorithms import REGISTRY
from rlx.cli.exit_codes import ExitCode
from rlx.cli.main import app
from rlx.envs.ids import env_family
from rlx.experiment.catalog import find_experiment, shipped_experiments
from rlx.experiment.load import load_experiment, load_text
from rlx.experiment.presets import PRESETS
from rlx.experiment.problems import ExperimentError
from rlx.experiment.reference import reference, unit, write_reference
from rlx.experiment.schema import experiment_schema
from rlx.runs.metrics import COLUMNS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
IDS = [str(path.relative_to(ROOT)) for path in DOCS]

LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
PATH = re.compile(r"`((?:rlx|docs|tests|experiments|benchmarks|cluster|\.ci)/[\w./-]*|[A-Z]+\.md|Makefile)`")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

ENVIRONMENT = re.compile(r"rlx/\w+-v\d+")  # looks like a path


def fences(path: Path, language: str) -> list[str]:
    """Return the blocks of a language in a document."""
    return [body for found, body in FENCE.findall(path.read_text()) if found == language]


def commands(path: Path) -> list[str]:
    """Return every `rlx ...` that a document tells to type, without what follows a pipe."""
    lines = [line for block in fences(path, "console") for line in block.splitlines()]
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    parts = [part.strip() for line in typed for part in re.split(r"&&|\|", line)]
    return [part for part in parts if part.startswith("rlx ")]


def test_something_is_looked_at() -> None:
    assert {"README.md", "docs/runs.md", "docs/design/0001-contracts.md"} <= set(IDS)
    assert len(commands(README)) > 8
    assert PATH.findall("see `rlx/errors.py` and `README.md`") == ["rlx/errors.py", "README.md"]


@pytest.mark.parametrize("path", DOCS, ids=IDS)
def test_links_and_paths_exist(path: Path) -> None:
    text = path.read_text()
    missing = {link for link in LINK.findall(text) if not (path.parent / link).exists()}
    named = {name for name in PATH.findall(text) if not ENVIRONMENT.fullmatch(name)}
    missing |= {name for name in named if not (ROOT / name).exists()}
    assert not missing


@pytest.mark.parametrize("path", DOCS, ids=IDS)
def test_commands_parse(path: Path) -> None:
    root = get_command(app)
    for line in commands(path):
        arguments = shlex.split(line, comments=True)[1:]
        if arguments[0].startswith("--"):
            assert any(arguments[0] in parameter.opts for parameter in root.params), line
            continue
        assert isinstance(root, typer.core.TyperGroup)
        verb = root.commands[arguments[0]]
        while isinstance(verb, typer.core.TyperGroup):
            arguments = arguments[1:]
            verb = verb.commands[arguments[0]]
        context = verb.make_context(arguments[0], list(arguments[1:]), resilient_parsing=False)
        given = context.params.get("experiment")
        if given and given != "wrong.yaml":
            load_experiment(
                find_experiment(given), context.params["settings"] or (), stop=context.params["stop"] or ()
            )


def test_the_two_set_up_lines_are_ci_s_too() -> None:
    readme, ci = README.read_text(), (ROOT / ".ci/run").read_text()
    for line in (
        "pip install -e .",
        "rlx train experiments/cartpole-apex.yaml",
        "pip install -e '.[dev]'",
        "pytest",
    ):
        assert line in readme
        assert line in ci


def test_exit_codes() -> None:
    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README.read_text(), re.MULTILINE))
    assert {int(code) for code in table} == {code.value for code in ExitCode}


@pytest.mark.parametrize("algorithm", [*REGISTRY, *set(PRESETS) - set(REGISTRY)])
def test_every_algorithm_has_what_it_should(algorithm: str) -> None:
    assert algorithm in PRESETS
    assert f"| `{algorithm}` |" in README.read_text()
    assert f"(`{algorithm}`)" in (ROOT / "docs/deviations.md").read_text()
    if algorithm in REGISTRY:
        shipped = [load_experiment(item.path).spec.algorithm for item in shipped_experiments()]
        assert algorithm in shipped
        module = ROOT / (REGISTRY[algorithm][0].replace(".", "/") + ".py")
        cited = re.search(r"Source: \[([\w-]+)\]", module.read_text())
        assert cited is not None  # whether the key is known is tested in test_references.py


def test_every_shipped_experiment_is_in_the_readme_and_in_the_docs() -> None:
    for text in (README.read_text(), (ROOT / "docs/experiments.md").read_text()):
        assert [item.name for item in shipped_experiments() if f"`{item.name}`" not in text] == []


def test_reference_of_settings_is_in_step() -> None:
    # To remake it: make reference
    text = (ROOT / "docs/experiments.md").read_text()
    assert reference() in text
    assert write_reference(text) == text
    with pytest.raises(ValueError, match="expected the lines"):
        write_reference("no marks")


def test_every_whole_number_has_a_unit() -> None:
    for model in experiment_schema()["$defs"].values():
        for name, field in model["properties"].items():
            kinds = {choice.get("type") for choice in field.get("anyOf", [field])}
            assert "integer" not in kinds or unit(name), name


def test_every_column_of_metrics_is_described() -> None:
    described = set(re.findall(r"[a-z_]+", (ROOT / "docs/runs.md").read_text()))
    assert set(COLUMNS) <= described


@pytest.mark.parametrize("path", [README, ROOT / "docs/experiments.md"], ids=["README", "experiments"])
def test_experiments_in_documents_load(path: Path) -> None:
    good = [text for text in fences(path, "yaml") if text != wrong_experiment()]
    assert good
    for text in good:
        load_text(text, "example.yaml")


def wrong_experiment() -> str:
    return next(text for text in fences(ROOT / "docs/experiments.md", "yaml") if "prioritised" in text)


def test_the_example_of_errors_is_what_is_printed() -> None:
    with pytest.raises(ExperimentError) as caught:
        load_text(wrong_experiment(), "wrong.yaml")
    printed = "\n".join(str(problem) for problem in caught.value.problems)
    assert len(caught.value.problems) > 2
    assert printed in (ROOT / "docs/experiments.md").read_text()


def test_the_protocol_table_of_environments() -> None:
    from rlx.envs import EnvError, resolve_env

    row = re.compile(
        r"^\| `([^`]+)` \| (none|[\d.]+) \| ([^|]+) \| ([\d,]+) frames \| ([^|]+) \|", re.MULTILINE
    )
    rows = row.findall((ROOT / "docs/environments.md").read_text())
    assert len(rows) == 7
    for env_id, sticky, skip, cap, noops in rows:
        spec = resolve_env(env_id)
        assert spec.sticky_action_probability == (0.0 if sticky == "none" else float(sticky)), env_id
        assert str(spec.frame_skip) == skip.partition(",")[0], env_id
        assert spec.max_episode_frames == int(cap.replace(",", "")), env_id
        assert noops == ("none" if spec.noop_max == 0 else f"0 to {spec.noop_max} frames"), env_id
        assert spec.frame_stack == (4 if env_family(env_id) == "atari" else 1), env_id
    with pytest.raises(EnvError, match="frame_skip"):
        resolve_env("Pong-v4")


def test_the_plugin_in_architecture_works() -> None:
    from rlx.plugins import PluginContext, StepView, make_plugin
    from rlx.plugins.registry import _PLUGINS

    (source,) = fences(ROOT / "docs/architecture.md", "python")
    try:
        exec(compile(source, "architecture.md", "exec"), {"__name__": "documented_plugin"})
        plugin = make_plugin("count_bonus", {"scale": 0.5})
    finally:
        _PLUGINS.pop("count_bonus", None)
    context = PluginContext(2, 2, (3,), "float32", 1, 0.99)
    runner, learner = plugin.runner(context, None), plugin.learner(context, None)
    assert runner is not None
    assert learner is not None
    columns = runner.on_step(step_of(StepView, np.zeros((2, 1, 3), np.float32)))
    assert columns.keys() == plugin.columns(context).keys()
    np.testing.assert_allclose(columns["bonus"], [2**-0.5, 2**-0.5])
    batch = learner.transform_batch({"reward": np.ones(1), "count_bonus/bonus": np.ones(1)})
    assert batch["reward"] == 1.5


def step_of(view: type, observation: np.ndarray) -> object:
    """Make the view of a step that has only observations."""
    lanes = np.zeros(len(observation))
    names = ("action", "reward", "next_frame", "terminated", "truncated", "over", "acted", "first")
    return view(observation=observation, **dict.fromkeys(names, lanes))


@pytest.mark.parametrize("path", DOCS, ids=IDS)
def test_no_figure_is_left_open(path: Path) -> None:
    assert not re.findall(r"@[A-Z]+@", path.read_text())
