"""Experiment, deviations, speed and origin are those that the run recorded."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from rlx.compare.comparison import read_agents
from rlx.experiment.resolve import deviations
from rlx.experiment.spec import ExperimentSpec
from rlx.report.facts import deviation_table, experiments, provenance, throughput
from rlx.runs.metrics import RESULTS
from tests.compare.made import line, make_run


def cells(table: object, row: int = 0) -> dict[str, str]:
    return dict(zip(table.columns, table.rows[row], strict=True))  # type: ignore[attr-defined]


def change(run: Path, **values: object) -> None:
    file = run / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_throughput_is_counts_by_seconds(tmp_path: Path) -> None:
    run = make_run(tmp_path, [(4e6, 500.0, 1.0), (8e6, 1000.0, 2.0)])
    rows = (run / RESULTS).read_text().splitlines()
    last = {**json.loads(rows[-1]), "updates": 250_000, "replay_ratio": 8.01, "replay_ratio_target": 8.0}
    (run / RESULTS).write_text("\n".join([*rows[:-1], json.dumps(last)]) + "\n")
    found = cells(throughput(read_agents([str(run)])))
    assert (found["env steps/s"], found["frames/s"], found["updates/s"]) == ("2k", "8k", "250")
    assert (found["replay ratio"], found["ratio asked for"], found["time"]) == ("8.01", "8", "16.7 min")


def test_throughput_of_a_run_without_rows_and_of_another_tool(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", [])
    assert cells(throughput(read_agents([str(run)])))["frames/s"] == ""
    table = tmp_path / "x.csv"
    table.write_text("steps,score,t\n100,1,10\n400,2,20\n")
    agents = read_agents([str(table)], columns="steps=steps,score=score,seconds=t", game="CartPole-v1")
    assert cells(throughput(agents))["env steps/s"] == "20"
    (experiment,) = experiments(agents)
    assert (experiment.text, experiment.deviations) == ("", None)
    assert "another tool" in deviation_table([experiment]).notes[0]


def test_the_experiment_is_whole_with_all_seeds(tmp_path: Path) -> None:
    for seed in (0, 3):
        make_run(tmp_path, line(8e6, 1000, 2.0), seed=seed)
    (found,) = experiments(read_agents([str(tmp_path)]))
    spec = yaml.safe_load(found.text)
    assert (spec["seeds"], spec["env"], spec["replay"]["capacity"]) == (
        [0, 3],
        ["BreakoutNoFrameskip-v4"],
        2000,
    )
    manifest = json.loads(next(tmp_path.glob("*/manifest.json")).read_text())
    expected = [one.path for one in deviations(ExperimentSpec.model_validate(manifest["spec"]))]
    assert [row[1] for row in deviation_table([found]).rows] == expected
    assert ("ours", "replay.capacity", "2000", "1000000") in deviation_table([found]).rows


def test_an_experiment_of_another_version_is_shown_without_deviations(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(8e6, 1000, 2.0))
    spec = json.loads((run / "manifest.json").read_text())["spec"]
    change(run, spec={**spec, "replay": {**spec["replay"], "gone": 1}})
    (found,) = experiments(read_agents([str(run)]))
    assert "gone: 1" in found.text
    assert found.deviations is None
    assert deviation_table([found]).notes == (
        "ours: recorded by another version of rlx, so that deviations cannot be told",
    )


def test_provenance(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(8e6, 1000, 2.0), seed=7, state="stopped")
    change(run, command=["rlx", "train", "my file.yaml"], git={"commit": "a" * 40, "dirty": True})
    table = provenance(read_agents([str(run)]))
    found = cells(table)
    assert (found["seed"], found["command"]) == ("7", "rlx train 'my file.yaml'")
    assert found["commit"] == "a" * 12 + " with changes"
    assert "torch" in found["versions"]
    assert table.notes == (f"{run}: the run is not finished: stopped",)
