"""`rlx compare` and `rlx references` through typer's runner: output, exit codes, files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from rlx.cli import completion
from rlx.cli.exit_codes import ExitCode
from tests.cli.commands import rlx
from tests.compare.made import add_record, line, make_run


def test_the_table_and_json_say_the_same(run: Path) -> None:
    table = rlx("compare", "ours", "--to", "rllib-apex")
    assert table.exit_code == ExitCode.OK, table.output
    document = json.loads(rlx("compare", "ours", "--to", "rllib-apex", "--format", "json").stdout)
    (row,) = document["comparisons"]
    for value in (row["ours"]["score"], row["ours"]["hns"], row["theirs"]["score"], row["reference_hns"]):
        assert f"{value:.2f}" in table.stdout
    assert row["verdict"]["word"] in table.stdout
    assert document["agents"][0]["runs"][0]["path"] == str(run)


def test_requirements_decide_the_exit_code(run: Path) -> None:
    assert rlx("compare", str(run), "--require", "Breakout>=120").exit_code == ExitCode.OK
    missed = rlx("compare", str(run), "--require", "Breakout>=120", "--require", "median_hns>=99")
    assert missed.exit_code == ExitCode.REQUIREMENT_NOT_MET
    assert "not met: median_hns>=99 (ours): it is 5.149" in missed.stderr
    as_json = rlx("compare", str(run), "--require", "median_hns>=99", "--format", "json")
    assert as_json.exit_code == ExitCode.REQUIREMENT_NOT_MET
    assert json.loads(as_json.stdout)["requirements"][0]["met"] is False


def test_csv_html_and_files(run: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(rlx("compare", str(run), "--format", "csv").stdout)))
    assert rows[0]["score"] == "150.0"
    written = rlx("compare", str(run), "--format", "html", "-o", "x/page.html")
    assert written.exit_code == 0
    assert written.stdout == ""
    assert Path("x/page.html").read_text().startswith("<!doctype html>")
    assert rlx("compare", str(run), "-o", "table.txt").exit_code == 0
    assert "150.00" in Path("table.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--to", "rainbw"], ExitCode.USAGE, "did you mean 'rainbow'"),
        (["--at", "10M"], ExitCode.USAGE, "write 10M-steps"),
        (["--require", "Braekout>=1"], ExitCode.USAGE, "did you mean 'Breakout'"),
        (["--game", "Braekout"], ExitCode.USAGE, "did you mean 'Breakout'"),
        (["--columns", "a"], ExitCode.USAGE, "names no column"),
        (["--format", "xml"], ExitCode.USAGE, "xml"),
        (["nowhere"], ExitCode.RUN, "no such run"),
        (["--to", "rainbow"], ExitCode.RUN, "--protocol noop30 --checkpoint best makes what fits"),
        (["--to", "dopamine-dqn"], ExitCode.RUN, "sticky actions: 0.0, not 0.25"),
    ],
)
def test_bad_input_has_a_message_and_a_code(
    run: Path, arguments: list[str], code: ExitCode, message: str
) -> None:
    result = rlx("compare", str(run), *arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_a_damaged_run_is_refused(run: Path) -> None:
    (run / "result.json").write_text("{\n{}\n")
    result = rlx("compare", str(run))
    assert result.exit_code == ExitCode.RUN
    assert "result.json:1: damaged" in result.stderr
    (run / "manifest.json").write_text("[")
    assert rlx("compare", str(run)).exit_code == ExitCode.RUN


def test_a_run_without_evaluations_is_no_paper_s_equal(run: Path) -> None:
    """It is refused with the command that helps, and shown apart on request, without a verdict."""
    refused = rlx("compare", str(run), "--to", "apex_dqn")
    assert (refused.exit_code, refused.stdout) == (ExitCode.RUN, "")
    assert f"rlx evaluate {run} --protocol noop30 --checkpoint best makes what fits" in refused.stderr
    shown = json.loads(
        rlx("compare", str(run), "--to", "apex_dqn", "--allow-mixed", "--format", "json").stdout
    )
    (row,) = shown["comparisons"]
    assert (row["comparable"], row["verdict"]) == (False, None)
    assert row["differences"] == ["kind of score: training, not evaluation"]
    assert [entry["of"] for entry in shown["aggregates"]] == ["ours"]


def test_a_run_that_has_no_score_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs"), [(400.0, 1.0, None)])
    for verb in ("compare", "report", "plot"):
        result = rlx(verb, "runs")
        assert (result.exit_code, result.stdout) == (ExitCode.RUN, ""), verb
        assert "no episode has ended yet" in result.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["runs"], "nothing was written"


def test_one_seed_has_no_interval(run: Path) -> None:
    result = rlx("compare", str(run), "--require", "median_hns.low>=0.1")
    assert result.exit_code == ExitCode.REQUIREMENT_NOT_MET
    said = "not met: median_hns.low>=0.1 (ours): one seed: an interval over seeds needs two or more"
    assert said in result.stderr
    document = json.loads(rlx("compare", str(run), "--format", "json").stdout)
    values = [value for row in document["aggregates"] for value in row["values"].values()]
    assert len(values) >= 6
    assert {(value["low"], value["high"]) for value in values} == {(None, None)}
    assert rlx("compare", str(run), "--require", "Breakout.low>=1").exit_code == ExitCode.USAGE


def test_runs_under_different_protocols_share_no_column(run: Path) -> None:
    make_run(Path("other"), line(50e6, 7000, 150.0), env="ALE/Breakout-v5")
    for verb in ("compare", "report"):
        refused = rlx(verb, str(run), "other")
        assert refused.exit_code == ExitCode.RUN
        assert "were measured in different ways" in refused.stderr
        assert "sticky actions: 0.0, not 0.25" in refused.stderr
    shown = rlx("compare", str(run), "other", "--allow-mixed", "--format", "json")
    assert shown.exit_code == ExitCode.OK
    assert [row["comparable"] for row in json.loads(shown.stdout)["scores"]] == [False, False]


@pytest.mark.parametrize("verb", ["compare", "report", "plot"])
@pytest.mark.parametrize(
    "file", ["manifest.json", "result.json", "evaluations.jsonl", "evaluations/noop30-1-100.json"]
)
@pytest.mark.parametrize("content", [b"{\n", b"[1]\n", b"{}\n", b"null\n", b"\xff\xfe\n"])
def test_every_damaged_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, file: str, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    run = make_run(Path("runs"), line(50e6, 7000, 150.0), evaluations=[(50e6, 9.0)])
    add_record(run, 400.0, 50e6)
    (run / file).write_bytes(content)
    result = rlx(verb, str(run))
    assert (result.exit_code, result.stdout) == (ExitCode.RUN, "")
    assert f"{run}/{file}" in result.stderr
    assert "Traceback" not in result.output


def test_the_record_of_rlx_evaluate_makes_a_paper_comparable(run: Path) -> None:
    add_record(run, 400.0, 50e6)
    result = rlx("compare", str(run), "--to", "rainbow,apex_dqn", "--format", "json")
    assert result.exit_code == ExitCode.OK, result.output
    words = {row["reference"]: row["verdict"]["word"] for row in json.loads(result.stdout)["comparisons"]}
    assert words == {"rainbow": "within", "apex_dqn": "below"}


def test_a_csv_of_another_tool(run: Path) -> None:
    Path("theirs.csv").write_text("t,s,r\n0,0,0\n20000000,9000,200\n")
    arguments = ["--columns", "steps=t,seconds=s,score=r", "--game", "Breakout", "--to", "rllib-apex"]
    result = rlx("compare", "theirs.csv", str(run), *arguments, "--format", "json")
    assert result.exit_code == ExitCode.OK, result.output
    scores = {row["agent"]: row["ours"]["score"] for row in json.loads(result.stdout)["comparisons"]}
    assert scores == {"theirs": pytest.approx(100.0), "ours": pytest.approx(120.0)}


def test_references_list_and_one() -> None:
    listed = json.loads(rlx("references", "--json").stdout)
    apex = next(entry for entry in listed if entry["name"] == "apex_dqn")
    assert apex["median_hns"] == pytest.approx(4.341, abs=0.001)
    assert apex["mean_hns"] == pytest.approx(16.95, abs=0.01)
    assert {"paper", "protocol", "games", "source", "caveats", "budget", "seeds"} <= set(apex)
    assert len(apex["games"]) == apex["num_games"] == 57
    table = rlx("references").stdout
    assert all(entry["name"] in table for entry in listed)
    one = json.loads(rlx("references", "Ape-X DQN", "--json").stdout)
    assert (one["name"], one["scores"]["Breakout"]) == ("apex_dqn", 800.9)
    shown = rlx("references", "rllib-apex").stdout
    assert "6134.00" in shown
    assert "within 2% of 10M steps: 5243.1" in shown
    unknown = rlx("references", "apexx")
    assert unknown.exit_code == ExitCode.USAGE
    assert "did you mean 'apex_dqn'" in unknown.stderr


def test_completion_goes_on_after_a_comma() -> None:
    assert completion.references("rain") == ["rainbow"]
    assert completion.references("rainbow,agent") == ["rainbow,agent57"]
