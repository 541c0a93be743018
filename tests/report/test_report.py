"""The page is whole, escaped, alone, and has the numbers of `rlx compare`."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rlx.compare.comparison import compare
from rlx.compare.tables import tables
from rlx.report.page import embedded
from rlx.report.report import report
from rlx.runs.files import plain
from tests.compare.made import line, make_run
from tests.report.made import HOSTILE, two_games

VOID = {"meta", "br", "hr", "link", "img", "input"}


class Page(HTMLParser):
    """Collect elements, attributes and text; complains where elements do not close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.data = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.data += data
        else:
            self.text += data + "\n"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = two_games(tmp_path_factory.mktemp("runs"))
    for manifest in root.glob("*/manifest.json"):
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "name": HOSTILE}))
    return root


@pytest.fixture(scope="module")
def page(runs: Path) -> Page:
    return Page(report([str(runs)], to="rllib-apex,rainbow").html)


def test_the_embedded_numbers_are_those_of_compare(runs: Path, page: Page) -> None:
    assert json.loads(page.data) == plain(compare([str(runs)], to="rllib-apex,rainbow"))
    (script,) = page.all("script")
    assert script == {"type": "application/json", "id": "rlx-data"}


def test_embedded_json_cannot_end_its_element() -> None:
    text = embedded({"name": HOSTILE, "none": float("nan")})
    assert not re.search("[<>&]", text)
    assert json.loads(text) == {"name": HOSTILE, "none": None}


def test_every_figure_is_there_and_described(page: Page) -> None:
    keys = [attributes["id"] for attributes in page.all("svg")]
    assert len(keys) == len(set(keys))
    assert set(keys) == {
        "curves-0-frames", "curves-0-seconds", "curves-1-frames", "curves-1-seconds", "games", "profile",
        "over-median-hns", "over-mean-hns", "over-iqm-hns", "over-capped-mean-hns", "over-p5-hns",
        "over-games-above-human",
    }  # fmt: skip
    ids = {attributes.get("id") for _, attributes in page.elements}
    for attributes in page.all("svg"):
        assert attributes["role"] == "img"
        assert set(str(attributes["aria-labelledby"]).split()) <= ids
    assert len(page.all("figcaption")) == len(keys)


def test_names_are_text(page: Page) -> None:
    assert {attributes.get("class") for attributes in page.all("b")} == {"within", "below"}
    assert len(page.all("script")) == 1
    assert HOSTILE in page.text


def test_nothing_is_loaded(page: Page) -> None:
    for _, attributes in page.elements:
        assert not {"src", "srcset", "data", "poster"} & set(attributes)
        assert str(attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    (policy,) = [meta for meta in page.all("meta") if meta.get("http-equiv")]
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_links_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(link["href"])[1:] for link in page.all("a")]
    assert len(links) == 9
    assert set(links) <= set(ids)


def test_tables_verdicts_and_facts_are_there(runs: Path, page: Page) -> None:
    document = compare([str(runs)], to="rllib-apex,rainbow")
    for table in tables(document):
        assert table.title in page.text
        for text in (*table.columns, *(cell for row in table.rows for cell in row), *table.notes):
            assert text in page.text
    for row in document["comparisons"]:
        if row["verdict"]:
            assert f"has {row['ours']['score']:.2f}, it has {row['theirs']['score']:.2f}" in page.text
    for text in ("env steps/s", "replay.capacity", "capacity: 2000", "torch", "g3.16xlarge"):
        assert text in page.text


def test_phones_dark_screens_and_printers_are_provided_for(runs: Path) -> None:
    html = report([str(runs)], to="").html
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert "prefers-color-scheme:dark" in html
    assert html.index("@media print") > html.index("prefers-color-scheme:dark")


def test_a_run_outside_the_57_games_with_one_seed(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(2e5, 100, 450.0), env="CartPole-v1")
    made = report([str(run)], title="One <run>")
    page = Page(made.html)
    assert [svg["id"] for svg in page.all("svg")] == ["curves-0-frames", "curves-0-seconds"]
    assert "no run has a score on one of the 57 Atari games" in page.text
    assert "One <run>" in page.text
    assert "seeds;" not in page.text
    assert "mean of 1" not in page.text
    assert json.loads(page.data)["references"] == []


def test_no_wall_time_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path, [(1e3, float("nan"), 1.0), (2e3, float("nan"), 2.0)], env="CartPole-v1")
    assert "CartPole-v1: no wall time was recorded." in Page(report([str(run)]).html).text


def test_a_reference_measured_otherwise_is_marked(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 7000, 150.0))
    page = Page(report([str(run)], to="dopamine-dqn", allow_mixed=True).html)
    assert "dopamine-dqn (measured otherwise)" in page.text
    assert "NOT COMPARABLE" in page.text
    by_default = Page(report([str(run)]).html)
    assert "dopamine-dqn (measured otherwise)" not in by_default.text


def test_a_short_run_stands_beside_the_curves_that_were_measured_alike(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(1e6, 200, 5.0))
    made = report([str(run)])
    assert "rllib-apex" not in [row["name"] for row in made.document["references"]]
    assert "rllib-apex" in Page(made.html).text.split("Tables")[1]
