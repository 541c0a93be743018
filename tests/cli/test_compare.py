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
from tests.compare.made import add_record


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
