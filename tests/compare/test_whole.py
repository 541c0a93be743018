"""Runs whose files were cut are refused: their last row would pass for the end of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rlx.compare.errors import CompareError
from rlx.compare.rlx_run import read_rlx_run
from rlx.runs.directory import RunDirectory
from rlx.runs.loop import train
from rlx.runs.view import NullView
from tests.compare.made import add_record, line, make_run
from tests.runs.fake_engine import FakeEngine, make_spec


def finished(path: Path, **sections: object) -> Path:
    """Return a run that the loop made: rows at 100 to 500 steps, evaluations at 200, 400 and 500."""
    spec = make_spec(evaluation={"interval_env_steps": 200, "at_end": True}, **sections)
    train(spec, RunDirectory(path), lambda spec, run: FakeEngine(), NullView(), tensorboard=False)
    return path


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("cut", "end"),
    [
        (lambda rows: "".join(rows[:-1]), "400"),
        (lambda rows: "".join(rows)[:-9], "400"),
        (lambda rows: "".join(rows[:2]), "200"),
    ],
    ids=["a row", "a part of a row", "three rows"],
)
def test_a_history_that_ends_early(tmp_path: Path, cut: Callable[[list[str]], str], end: str) -> None:
    run = finished(tmp_path / "run")
    assert read_rlx_run(run).env_frames == 2000.0
    file = run / "result.json"
    file.write_text(cut(lines(file)))
    with pytest.raises(
        CompareError, match=f"result.json: damaged: it ends at {end} env steps and the run at 500"
    ):
        read_rlx_run(run)


@pytest.mark.parametrize("take_away", [Path.unlink, lambda file: file.write_text("")])
def test_a_run_that_was_evaluated_has_rows(tmp_path: Path, take_away: Callable[[Path], object]) -> None:
    run = finished(tmp_path / "run")
    take_away(run / "result.json")
    with pytest.raises(CompareError, match="it has no row, and the run has been evaluated"):
        read_rlx_run(run)
    played = make_run(tmp_path, line(4000, 10, 5))
    add_record(played, 9.0, 4000.0)
    take_away(played / "result.json")
    with pytest.raises(CompareError, match="it has no row, and the run has been evaluated"):
        read_rlx_run(played)


def test_an_evaluation_that_the_rows_have_is_missing(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    file = run / "evaluations.jsonl"
    whole = file.read_text()
    for kept in (whole[:-5], "".join(lines(file)[1:]), ""):
        file.write_text(kept)
        with pytest.raises(CompareError, match=r"evaluations\.jsonl: damaged: the evaluation of iteration"):
            read_rlx_run(run)
    file.unlink()
    with pytest.raises(CompareError, match="iteration 2 is missing"):
        read_rlx_run(run)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [("result.json", "env_frames", None), ("evaluations.jsonl", "env_frames", None),
     ("evaluations.jsonl", "return_mean", None), ("evaluations.jsonl", "return_mean", float("nan"))],
)  # fmt: skip
def test_a_row_without_its_count_or_score(tmp_path: Path, file: str, key: str, value: object) -> None:
    run = finished(tmp_path / "run")
    rows = [json.loads(row) for row in lines(run / file)]
    rows[1][key] = value
    (run / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(CompareError, match=f"{file}:2: damaged: no {key} in this row"):
        read_rlx_run(run)


def test_what_is_no_damage(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    again = make_spec(evaluation={"interval_env_steps": 200, "at_end": True})
    train(
        again,
        RunDirectory(run),
        lambda spec, run: FakeEngine(),
        NullView(),
        if_exists="resume",
        tensorboard=False,
    )
    assert read_rlx_run(run).env_frames == 2000.0, "a session that had nothing to do"
    engine = FakeEngine()
    engine.hooks[4] = lambda: 1 / 0
    broken = tmp_path / "broken"
    train(make_spec(), RunDirectory(broken), lambda spec, run: engine, NullView(), tensorboard=False)
    with (broken / "result.json").open("a") as file:
        file.write('{"env_st')
    assert read_rlx_run(broken).notes == ("the run is not finished: failed",)
