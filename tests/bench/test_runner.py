import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlx.bench import runner
from rlx.bench.figure import Context, Figure, Row, row
from rlx.bench.live import line
from rlx.errors import RlxError

#: The floors that the benchmarks promise; a change of one is a change of the promise.
FLOORS = {
    "seconds_to_first_env_step": 1.0,
    "runner_env_steps_per_second": 0.9,
    "learner_updates_per_second_batch_32": 0.85,
    "learner_updates_per_second_batch_512": 0.85,
    "learner_sequences_per_second_batch_4": 0.85,
    "replay_sequences_lz4_sample_64": None,
    "replay_sample_update_512": 8.0,
    "shard_ingest_env_steps_per_second": 1.0,
    "agent_env_steps_per_second_pong": 2.0,
    "remote_runner_env_steps_per_second": 5.0,
}


def _figure(name: str, value: float, *more: str) -> Figure:
    def measure(context: Context):
        print("noise of a library")
        yield row(name, value, "x", limit=1.0, floor=1.0)
        for other in more:
            yield row(other, value, "x")

    return Figure(name, measure, 1.0, more_names=more)


def _broken(context: Context):
    raise ValueError("it broke")
    yield


def test_the_figures_and_their_floors() -> None:
    figures = runner.all_figures()
    assert {f.name: f.floor for f in figures if f.device == "cpu"} == FLOORS
    names = [name for figure in figures for name in figure.names]
    assert len(set(names)) == len(names)
    assert "replay_bytes_per_step" in names


def test_only_selects_by_the_beginning_of_any_row_of_a_figure() -> None:
    figures = [_figure("alpha", 1.0, "extra_row"), _figure("alpine", 1.0), _figure("beta", 1.0)]
    assert [f.name for f in runner.chosen(figures, ["al"], "cpu")] == ["alpha", "alpine"]
    assert [f.name for f in runner.chosen(figures, ["extra"], "cpu")] == ["alpha"]
    assert len(runner.chosen(figures, None, "cpu")) == 3


def test_an_unknown_name_or_device_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(RlxError, match="alpha"):
        runner.chosen([_figure("alpha", 1.0)], ["beta"], "cpu")
    with pytest.raises(RlxError, match="known: cpu, cuda"):
        runner.chosen([_figure("alpha", 1.0)], None, "tpu")


def test_a_failing_figure_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    figures = (Figure("broken", _broken, 3.0), _figure("fine", 2.0))
    monkeypatch.setattr(runner, "all_figures", lambda: figures)
    rows = runner.measure(None, "cpu", True)
    assert [r["name"] for r in rows] == ["broken", "fine"]
    assert [r["ok"] for r in rows] == [False, True]
    assert rows[0]["value"] is None
    said = capfd.readouterr()
    assert "it broke" in said.err
    assert "fine: 2 x; limit 1, ratio 2, at least 1: ok" in said.err
    assert "noise of a library" not in said.out + said.err


def test_rows_have_the_promised_keys() -> None:
    assert [f.name for f in dataclasses.fields(Row)] == [
        "name",
        "value",
        "unit",
        "limit",
        "ratio",
        "floor",
        "ok",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_a_clear_error() -> None:
    with pytest.raises(RlxError, match="no CUDA device"):
        runner.measure(None, "cuda", True)


def test_lines() -> None:
    assert line(row("a", 1.0, "x", limit=2.0, floor=1.0)) == "a: 1 x; limit 2, ratio 0.5, at least 1: BELOW"
    assert line(row("a", 1234.5, "x")) == "a: 1,234 x"
    assert line(Row("a", None, "")) == "a: not measured"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_command(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    command = [sys.executable, "-m", "rlx.cli.main", "bench", "--quick", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode in (0, 5), done.stderr
    rows = json.loads(file.read_text())
    assert {r["name"] for r in rows} >= set(FLOORS)
    assert all(r["value"] is not None for r in rows), done.stderr
    assert "WARNING" not in done.stderr
