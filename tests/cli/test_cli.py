"""The command line through typer's runner: output, exit codes, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rlx.cli import completion
from rlx.cli.exit_codes import ExitCode
from rlx.cli.main import app
from rlx.runs import launch
from tests.runs.fake_engine import FakeEngine

YAML = """\
name: tiny
algorithm: dqn
env: CartPole-v1
stop: {env_steps: 500}
replay: {capacity: 2000}
training: {learning_starts_env_steps: 100}
rl_module: {torso: mlp, hidden_sizes: [64]}
checkpointing: {interval_env_steps: 200, interval_seconds: null}
evaluation: {at_end: false}
debugging: {deterministic: true}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an experiment; engines are fake."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(YAML)
    monkeypatch.setattr(
        launch.launch, "__kwdefaults__", {**launch.launch.__kwdefaults__, "engine_factory": fake}
    )
    monkeypatch.setattr(
        launch.resume, "__kwdefaults__", {**launch.resume.__kwdefaults__, "engine_factory": fake}
    )
    return tmp_path


def fake(spec: Any, run_dir: Path) -> FakeEngine:
    print("noise of a library")
    engine = FakeEngine()
    if spec.seeds[0] == 13:
        engine.hooks[3] = lambda: 1 / 0
    return engine


def rlx(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_what_cannot_be_built_is_refused_before_anything_starts(folder: Path) -> None:
    text = YAML.replace("torso: mlp", "torso: nature") + "plugins: {no_such_plugin: {}}\n"
    (folder / "tiny.yaml").write_text(text)
    result = rlx("train", "tiny.yaml", "--dry-run")
    assert result.exit_code == ExitCode.USAGE, result.output
    assert "tiny.yaml:7" in result.output
    assert "'nature' needs images" in result.output
    assert "no_such_plugin" in result.output
    assert not (folder / "runs").exists()


def test_train_then_ls_then_show(folder: Path) -> None:
    result = rlx("train", "tiny.yaml")
    assert result.exit_code == ExitCode.OK, result.output
    assert "env_steps=500" in result.stdout
    assert "finished" in result.stdout
    assert "noise of a library" not in result.output
    run = folder / "runs" / "tiny-CartPole-v1-seed0"
    assert "noise of a library" in (run / "train.log").read_text()
    assert "saved checkpoint_000001" in (run / "train.log").read_text()
    assert list(run.glob("events.out.tfevents.*"))

    (listed,) = json.loads(rlx("ls", "--json").stdout)
    assert (listed["run"], listed["state"], listed["env_steps"]) == (run.name, "finished", 500)
    shown = json.loads(rlx("show", run.name, "--json").stdout)
    assert shown["state"] == "finished"
    assert (shown["env_steps"], shown["env_frames"], shown["updates"]) == (500, 2000, 50)
    assert shown["return_mean"] == 50.0
    assert [entry["env_steps"] for entry in shown["checkpoints"]] == [400, 500]
    assert shown["manifest"]["protocol"]["environment"]["max_episode_frames"] == 500
    assert run.name in rlx("ls").stdout
    assert "checkpoint_000003" in rlx("show", str(run)).stdout


def test_show_names_the_best_policy(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(YAML.replace("at_end: false", "at_end: true, episodes: 3"))
    assert rlx("train", "tiny.yaml").exit_code == ExitCode.OK
    best = json.loads(rlx("show", "tiny", "--json").stdout)["best"]
    assert (best["name"], best["env_steps"], best["return_mean"]) == ("policy_000001", 500, 501.0)
    assert "policy_000001  500 env steps" in rlx("show", "tiny").stdout
    assert "best, 501.00" in rlx("show", "tiny").stdout
    assert (
        rlx("train", "tiny.yaml", "--if-exists", "overwrite", "--set", "evaluation.at_end=false").exit_code
        == 0
    )
    assert json.loads(rlx("show", "tiny", "--json").stdout)["best"] is None


def test_json_of_train_is_the_only_thing_on_stdout(folder: Path) -> None:
    (entry,) = json.loads(rlx("train", "tiny.yaml", "--json").stdout)
    assert (entry["state"], entry["env_steps"], entry["checkpoint"]) == ("finished", 500, "checkpoint_000003")


def test_seeds_and_environments_make_one_run_each(folder: Path) -> None:
    result = rlx(
        "train", "tiny.yaml", "--seed", "1", "--seed", "2", "--stop", "env_steps=200", "--name", "many"
    )
    assert result.exit_code == 0, result.output
    listed = json.loads(rlx("ls", "--json").stdout)
    assert {run["run"] for run in listed} == {"many-CartPole-v1-seed1", "many-CartPole-v1-seed2"}
    assert {run["env_steps"] for run in listed} == {200}


def test_a_failed_run_does_not_stop_the_next_and_has_its_exit_code(folder: Path) -> None:
    result = rlx("train", "tiny.yaml", "--seed", "13", "--seed", "2")
    assert result.exit_code == ExitCode.TRAINING_FAILED
    assert "training failed: ZeroDivisionError" in result.stderr
    assert "last good checkpoint is checkpoint_000001" in result.stderr
    assert "Traceback" not in result.output
    log = folder / "runs" / "tiny-CartPole-v1-seed13" / "train.log"
    assert "ZeroDivisionError" in log.read_text()
    states = {run["run"]: run["state"] for run in json.loads(rlx("ls", "--json").stdout)}
    assert states == {"tiny-CartPole-v1-seed13": "failed", "tiny-CartPole-v1-seed2": "finished"}
    assert "Traceback" in rlx("train", "tiny.yaml", "--seed", "13", "--name", "x", "--debug").stderr


def test_if_exists(folder: Path) -> None:
    assert rlx("train", "tiny.yaml").exit_code == 0
    again = rlx("train", "tiny.yaml")
    assert again.exit_code == ExitCode.RUN
    assert "a run is already here (finished)" in again.stderr
    assert "--if-exists" in again.stderr
    longer = rlx("train", "tiny.yaml", "--if-exists", "resume", "--stop", "env_steps=700")
    assert longer.exit_code == 0, longer.output
    assert json.loads(rlx("ls", "--json").stdout)[0]["env_steps"] == 700
    assert rlx("train", "tiny.yaml", "--if-exists", "overwrite").exit_code == 0
    assert json.loads(rlx("ls", "--json").stdout)[0]["env_steps"] == 500


def test_nothing_starts_if_one_of_several_runs_exists(folder: Path) -> None:
    rlx("train", "tiny.yaml", "--seed", "2")
    assert rlx("train", "tiny.yaml", "--seed", "1", "--seed", "2").exit_code == ExitCode.RUN
    assert len(json.loads(rlx("ls", "--json").stdout)) == 1


def test_resume(folder: Path) -> None:
    rlx("train", "tiny.yaml")
    result = rlx("resume", "tiny", "--stop", "env_steps=800")
    assert result.exit_code == 0, result.output
    shown = json.loads(rlx("show", "tiny", "--json").stdout)
    assert (shown["env_steps"], shown["sessions"]) == (800, 2)
    assert shown["manifest"]["spec_changes"][0]["changes"] == {"stop.env_steps": [500, 800]}
    missing = rlx("resume", "tinny-CartPole-v1-seed0")
    assert missing.exit_code == ExitCode.RUN
    assert "did you mean tiny-CartPole-v1-seed0" in missing.stderr


def test_dry_run_starts_nothing(folder: Path) -> None:
    result = rlx("train", "tiny.yaml", "--dry-run", "--set", "training.lr=1e-4")
    assert result.exit_code == 0, result.output
    assert not (folder / "runs").exists()
    for part in ("lr: 0.0001", "# --set training.lr", "memory", "replay", "cores", "differs from the paper"):
        assert part in result.stdout
    plan = json.loads(rlx("train", "tiny.yaml", "--dry-run", "--json").stdout)
    assert plan["spec"]["replay"]["capacity"] == 2000
    assert plan["runs"][0]["memory_bytes"]["total"] > 0
    assert {entry["path"] for entry in plan["deviations"]} >= {"replay.capacity"}


def test_errors_of_an_experiment_are_all_there_with_places(folder: Path) -> None:
    (folder / "bad.yaml").write_text(YAML.replace("capacity", "capactiy").replace("dqn", "dqm"))
    result = rlx("train", "bad.yaml")
    assert result.exit_code == ExitCode.USAGE
    assert "bad.yaml:2:12" in result.stderr
    assert "capactiy" in result.stderr
    assert "Traceback" not in result.output
    assert rlx("train", "nowhere.yaml").exit_code == ExitCode.USAGE
    unknown = rlx("train", "tiny.yaml", "--env", "CartPole-v7")
    assert unknown.exit_code == ExitCode.USAGE
    assert "CartPole-v1" in unknown.stderr


def test_memory_that_is_not_there_is_refused_with_the_number(folder: Path) -> None:
    result = rlx("train", "tiny.yaml", "--set", "resources.memory_limit_bytes=1000000")
    assert result.exit_code == ExitCode.USAGE
    assert "1.0 MB" in result.stderr


def test_show_of_an_experiment_and_of_nothing(folder: Path) -> None:
    shown = rlx("show", "tiny.yaml")
    assert "capacity: 2000" in shown.stdout
    assert "tiny.yaml:5" in shown.stdout
    assert json.loads(rlx("show", "tiny.yaml", "--json").stdout)["spec"]["name"] == "tiny"
    neither = rlx("show", "nothing")
    assert neither.exit_code == ExitCode.RUN
    assert "neither a run" in neither.stderr


def test_algorithms_and_schema(folder: Path) -> None:
    assert {entry["name"] for entry in json.loads(rlx("algorithms", "--json").stdout)} >= {
        "dqn",
        "rainbow",
        "apex_dqn",
    }
    assert "training.lr" in rlx("algorithms", "apex_dqn").stdout
    unknown = rlx("algorithms", "apex")
    assert unknown.exit_code == ExitCode.USAGE
    assert "apex_dqn" in unknown.stderr
    assert rlx("schema", "-o", "x/schema.json").exit_code == 0
    assert json.loads((folder / "x" / "schema.json").read_text()) == json.loads(rlx("schema").stdout)


def test_bench_prints_writes_and_judges(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rlx.bench

    row = {"name": "a", "value": 2.0, "unit": "x", "limit": None, "ratio": 2.0, "floor": 1.0, "ok": True}
    calls = []

    def run(**options: Any) -> list[dict[str, Any]]:
        calls.append(options)
        return [row, {**row, "name": "b", "ok": None}]

    monkeypatch.setattr(rlx.bench, "run", run, raising=False)
    assert rlx_bench("--json", "b.json", "--only", "a", "--quick").exit_code == ExitCode.OK
    assert json.loads((folder / "b.json").read_text())[0] == row
    assert calls == [{"only": ["a"], "device": "cpu", "quick": True}]
    row["ok"] = False
    assert rlx_bench().exit_code == ExitCode.BELOW_FLOOR


def rlx_bench(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


def test_usage_errors_and_version(folder: Path) -> None:
    assert rlx("train").exit_code == ExitCode.USAGE
    assert rlx("train", "tiny.yaml", "--nonsense").exit_code == ExitCode.USAGE
    assert rlx("--version").stdout.startswith("rlx 0.")


def test_an_internal_error_has_no_traceback_unless_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlx.runs.summary.list_runs", lambda root: 1 / 0)
    result = rlx("ls")
    assert result.exit_code == ExitCode.INTERNAL
    assert "Traceback" not in result.output
    assert "--debug" in result.stderr
    assert "Traceback" in rlx("ls", "--debug").stderr


def test_completion(folder: Path) -> None:
    rlx("train", "tiny.yaml")
    assert completion.experiments("ti") == ["tiny.yaml"]
    assert completion.runs("ti") == ["tiny-CartPole-v1-seed0"]
    assert completion.runs("runs/") == ["runs/tiny-CartPole-v1-seed0"]
    assert completion.algorithms("r") == ["r2d2", "rainbow", "rllib/DQN"]
    assert "ALE/Pong-v5" in completion.environments("ALE/P")
    assert completion.settings("training.l") == [
        "training.learning_starts_env_steps=",
        "training.loss=",
        "training.lr=",
    ]
    assert completion.stop_conditions("env") == ["env_frames=", "env_steps="]
