"""`rlx evaluate` on a real, short run: what is played, what is recorded, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rlx.actors.player import load_policy
from rlx.cli.exit_codes import ExitCode
from rlx.cli.main import app
from rlx.experiment.build import build_engine
from rlx.runs.checkpoints import list_checkpoints
from rlx.runs.directory import RunDirectory
from rlx.runs.errors import NoCheckpointError, RunDirectoryError
from rlx.runs.evaluate import evaluate, find_checkpoint, read_records
from rlx.runs.loop import train
from rlx.runs.metrics import read_evaluations
from tests.engines import DETERMINISTIC, small_spec
from tests.runs.fake_engine import RecordingView


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, ray_started: None) -> Path:
    """A run of 3,000 steps with a checkpoint and an evaluation every 1,000."""
    path = tmp_path_factory.mktemp("runs") / "small"
    every = {"interval_env_steps": 1000, "interval_seconds": None}
    spec = small_spec(
        DETERMINISTIC,
        {
            "stop": {"env_steps": 3000},
            "checkpointing": {**every, "keep_last": 9},
            "evaluation": {**every, "at_end": False},
        },
    )
    result = train(spec, RunDirectory(path), build_engine, RecordingView(), tensorboard=False)
    assert result.state == "finished", result.reason
    return path


def test_scores_seeds_and_protocol_are_recorded(run: Path) -> None:
    told: list[int] = []
    record = evaluate(run, episodes=7, num_envs=3, epsilon=0.1, seed=5, on_episode=told.append)
    assert told == [1, 2, 3, 4, 5, 6, 7]
    assert record["protocol"] == "as-trained"
    assert record["checkpoint"] == find_checkpoint(run).path.name
    assert len(record["returns"]) == len(record["lengths"]) == record["episodes"] == 7
    assert record["returns"] == record["lengths"], "CartPole gives 1 for every step"
    assert record["return_mean"] == pytest.approx(np.mean(record["returns"]))
    assert record["return_interval"][0] <= record["return_mean"] <= record["return_interval"][1]
    assert (record["epsilon"], record["seed"]) == (0.1, 5)
    stored = json.loads(Path(record["file"]).read_text())
    assert stored["returns"] == record["returns"]
    assert stored["environment"]["id"] == "CartPole-v1"
    assert [row["file"] if "file" in row else row["returns"] for row in read_records(run)] == [
        record["returns"]
    ]
    again = evaluate(run, episodes=7, num_envs=3, epsilon=0.1, seed=5)
    assert again["returns"] == record["returns"], "the same seed plays the same episodes"
    other = evaluate(run, episodes=7, num_envs=3, epsilon=0.1, seed=6)
    assert other["returns"] != record["returns"]


def test_the_policy_is_the_checkpoint_s(run: Path) -> None:
    """Not new weights: two checkpoints differ, and the loaded values are those in the file."""
    first, last = find_checkpoint(run, "1"), find_checkpoint(run)
    assert first.env_steps < last.env_steps
    one, other = load_policy(first.path), load_policy(last.path)
    weights = [dict(module.q_network.state_dict()) for module in (one, other)]
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])
    algo = build_engine(small_spec(DETERMINISTIC), run)
    algo.restore(last.path)
    for name, value in algo.learners.local_learner.q_module.q_network.state_dict().items():
        np.testing.assert_array_equal(value, weights[1][name])
    algo.stop()


def test_a_run_by_a_relative_path(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    relative = evaluate(Path(run.name), episodes=2, num_envs=1, seed=8)
    assert relative["returns"] == evaluate(run, episodes=2, num_envs=1, seed=8)["returns"]


def test_best_is_the_policy_of_the_highest_evaluation(run: Path) -> None:
    """The network that was evaluated: playing the same episodes again gives the same returns."""
    rows = read_evaluations(run)
    highest = max(rows, key=lambda row: (row["return_mean"], row["env_steps"]))
    best = find_checkpoint(run, "best")
    assert best.path.parent == run / "best"
    assert (best.env_steps, best.info["return_mean"]) == (highest["env_steps"], highest["return_mean"])
    assert find_checkpoint(run, best.path.name).path == best.path
    again = evaluate(
        run, checkpoint="best", episodes=len(highest["returns"]), num_envs=small_envs(run), epsilon=0.0,
        seed=highest["seed"],
    )  # fmt: skip
    assert again["returns"] == highest["returns"]
    assert (again["checkpoint"], again["env_steps"]) == (best.path.name, highest["env_steps"])
    assert again["env_frames"] == highest["env_frames"]
    assert again["training_seconds"] > 0
    other = evaluate(run, checkpoint="best", episodes=5, epsilon=0.5, seed=1)
    assert other["checkpoint"] == best.path.name


def small_envs(run: Path) -> int:
    manifest = json.loads((run / "manifest.json").read_text())
    return int(manifest["spec"]["evaluation"]["num_envs"])


def test_without_a_kept_policy_best_is_a_checkpoint_of_that_step(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    rows = read_evaluations(copy)
    assert len(rows) >= 2
    for index, row in enumerate(rows):
        row["return_mean"] = 1000.0 if index == 0 else 1.0
    (copy / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    best = find_checkpoint(copy, "best")
    assert best.row_env_steps == rows[0]["env_steps"], "rated above what was kept"
    shutil.rmtree(copy / "best")
    assert find_checkpoint(copy, "best").path == best.path
    assert best.path.name != find_checkpoint(copy).path.name


def test_a_kept_policy_is_enough_to_be_played(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints")
    assert find_checkpoint(copy, "best").path.parent.name == "best"
    with pytest.raises(NoCheckpointError, match="no checkpoint; --checkpoint best is policy_"):
        find_checkpoint(copy)
    file = next(find_checkpoint(copy, "best").path.rglob("module_state.pkl"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(NoCheckpointError, match=r"damaged: .*module_state\.pkl has changed content"):
        find_checkpoint(copy, "best")


def test_the_command(run: Path) -> None:
    def call(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["evaluate", str(run), "--episodes", "3", *arguments])

    done = call("--json", "--envs", "2")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["episodes"], record["protocol"]) == (3, "as-trained")
    assert record["return_interval"][0] <= record["return_mean"] <= record["return_interval"][1]
    table = call()
    assert table.exit_code == 0
    assert "as-trained: the environment section of the run" in table.stdout
    assert len(read_records(run)) >= 2, "other numbers of environments play other episodes"
    for wrong, code in (
        (["--protocol", "noop30"], ExitCode.USAGE),
        (["--protocol", "human"], ExitCode.USAGE),
        (["--checkpoint", "99"], ExitCode.RUN),
    ):
        assert call(*wrong).exit_code == code, wrong


@pytest.mark.parametrize("checkpoint", ["last", "best", "1"])
def test_the_command_below_the_working_directory(
    run: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: str
) -> None:
    """Names and paths are relative there, as in `runs/`."""
    monkeypatch.chdir(run.parent)
    arguments = ["evaluate", run.name, "--out", ".", "--episodes", "2", "--checkpoint", checkpoint]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output


def test_checkpoints_that_cannot_be_played(run: Path, tmp_path: Path) -> None:
    with pytest.raises(NoCheckpointError, match="no checkpoint '77'; there are: checkpoint_000001"):
        find_checkpoint(run, "77")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NoCheckpointError, match="the run has no checkpoint"):
        find_checkpoint(empty)
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    there = list_checkpoints(copy / "checkpoints")
    file = there[-1].path / "learner_group/learner/rl_module/default_policy/module_state.pkl"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(NoCheckpointError, match=r"damaged: .*module_state\.pkl has changed content"):
        find_checkpoint(copy)
    (find_checkpoint(copy, "1").path / "DIGEST.json").write_text("{")
    with pytest.raises(NoCheckpointError, match=r"module_state\.pkl has changed content"):
        find_checkpoint(copy)
    (find_checkpoint(copy, "best").path / "DIGEST.json").write_text("{")
    with pytest.raises(NoCheckpointError, match=r"policy_[0-9]+: damaged, and it may be the best one"):
        find_checkpoint(copy, "best")
    (there[-1].path / "DIGEST.json").write_text("{")
    with pytest.raises(
        NoCheckpointError, match="damaged, and it is the newest one; others: checkpoint_000002"
    ):
        find_checkpoint(copy)
    (copy / "evaluations.jsonl").unlink()
    shutil.rmtree(copy / "best")
    with pytest.raises(NoCheckpointError, match="no evaluation has been made, so no checkpoint is the best"):
        find_checkpoint(copy, "best")


@pytest.mark.parametrize(
    "row", ["{}", '{"return_mean": null}', '{"return_mean": "x"}'], ids=["no score", "null", "text"]
)
def test_damaged_evaluations_are_not_ranked(run: Path, tmp_path: Path, row: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    with (copy / "evaluations.jsonl").open("a") as file:
        file.write(f"{row}\n")
    with pytest.raises(RunDirectoryError, match=r"evaluations\.jsonl: damaged: a row has no score"):
        find_checkpoint(copy, "best")
    assert find_checkpoint(copy).path.name == find_checkpoint(run).path.name


def test_a_damaged_record_is_named(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "evaluations"
    folder.mkdir()
    broken: Any = folder / "x.json"
    broken.write_text("{")
    with pytest.raises(RunDirectoryError, match=r"x\.json: not a record of an evaluation"):
        read_records(tmp_path)
