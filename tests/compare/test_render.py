"""Every format shows the numbers of the document, and text is text."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rlx.compare.comparison import compare
from rlx.compare.render import CSV_COLUMNS, to_csv, to_html
from rlx.compare.tables import Table, number, tables
from tests.compare.made import line, make_run


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """Two seeds on Breakout beside two references, one of them measured otherwise."""
    for seed, score in enumerate((120.0, 150.0)):
        manifest = make_run(tmp_path, line(50e6, 7000, score), seed=seed) / "manifest.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "name": "a & <b>"}))
    return compare(
        [str(tmp_path)], to="rllib-apex,rainbow", allow_mixed=True, require=["Breakout>=1", "Breakout>=999"]
    )


def titled(document: dict[str, Any], start: str) -> Table:
    (found,) = [table for table in tables(document) if table.title.startswith(start)]
    return found


def column(table: Table, name: str) -> list[str]:
    return [row[table.columns.index(name)] for row in table.rows]


def test_the_tables_have_the_document_s_numbers(document: dict[str, Any]) -> None:
    (row,) = titled(document, "Scores").rows
    score = document["scores"][0]["score"]
    assert row[:5] == (
        "BreakoutNoFrameskip-v4",
        "a & <b>",
        number(score["score"]),
        number(score["spread"]),
        "2",
    )
    table = titled(document, "Beside")
    found = next(row for row in document["comparisons"] if row["comparable"])
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert cells["score"] == number(found["ours"]["score"])
    assert cells["its score"] == number(found["theirs"]["score"]) == "123.00"
    assert cells["hn"] == number(found["ours"]["hns"])
    assert cells["its hn"] == number(found["reference_hns"])
    assert cells["verdict"] == found["verdict"]["word"]
    assert any("2 standard deviations" in note or "no spread is published" in note for note in table.notes)
    aggregate = titled(document, "Over games").rows[0]
    median = document["aggregates"][0]["values"]["median_hns"]
    assert aggregate[3] == f"{median['value']:.2f} [{median['low']:.2f}, {median['high']:.2f}]"


def test_what_was_measured_otherwise_stands_apart(document: dict[str, Any]) -> None:
    assert column(titled(document, "Beside"), "reference") == ["rllib-apex"]
    apart = titled(document, "NOT COMPARABLE")
    assert column(apart, "reference") == ["rainbow"]
    assert "verdict" not in apart.columns
    assert "kind of score: training, not evaluation" in apart.notes[0]


def test_hardware_and_time_are_with_equal_budgets(document: dict[str, Any]) -> None:
    table = titled(document, "At equal budgets")
    assert len(table.rows) == 2
    assert any("g3.16xlarge" in note for note in table.notes)


def test_requirements_are_told(document: dict[str, Any]) -> None:
    assert column(titled(document, "Requirements"), "outcome") == ["met", "NOT MET"]


def test_the_csv_has_the_same_numbers(document: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(document))))
    assert set(rows[0]) == set(CSV_COLUMNS)
    kinds = [row["kind"] for row in rows]
    assert kinds.count("score") == len(document["scores"])
    assert kinds.count("comparison") == len(document["comparisons"])
    assert kinds.count("equal_frames") == kinds.count("equal_seconds") == 1
    (score,) = [row for row in rows if row["kind"] == "score"]
    assert float(score["score"]) == document["scores"][0]["score"]["score"]
    mixed = next(row for row in rows if row["reference"] == "rainbow")
    assert (mixed["comparable"], mixed["verdict"], mixed["reference_spread"]) == ("False", "", "")
    medians = [row for row in rows if row["statistic"] == "median_hns"]
    assert float(medians[0]["score"]) == document["aggregates"][0]["values"]["median_hns"]["value"]
    assert medians[-1]["kind"] == "aggregate_of_reference"
    assert medians[-1]["score"] == ""


class Page(HTMLParser):
    """Collect tags, addresses and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_the_page_is_whole_escaped_and_needs_no_network(document: dict[str, Any]) -> None:
    page = Page()
    page.feed(to_html(document))
    assert page.links == []
    assert "b" not in page.tags, "a name is text, not markup"
    assert "a & <b>" in page.text
    assert page.tags.count("table") == len(tables(document))
    for table in tables(document):
        assert table.title in page.text
        for row in table.rows:
            for cell in row:
                assert cell in page.text
