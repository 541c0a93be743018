"""The page in a real browser: no error, every figure, no scrolling sideways, light and dark."""

from __future__ import annotations

import html
import io
import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageColor

from rlx.report.palette import DARK, LIGHT
from rlx.report.report import report
from tests.report.made import two_games

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--enable-logging=stderr",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")


def browse(folder: Path, file: Path, *options: str) -> tuple[str, list[str]]:
    """Open a file in a fresh browser; its output, and what the console said."""
    command: Sequence[str] = (str(CHROMIUM), *FLAGS, f"--user-data-dir={folder}", *options, file.as_uri())
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    runs = two_games(folder / "runs", "a-name-that-is-rather-long-for-a-telephone")
    page = folder / "report.html"
    page.write_text(report([str(runs)], to="rllib-apex,rainbow").html)
    return page


def test_no_console_errors_and_every_figure(file: Path, tmp_path: Path) -> None:
    dom, console = browse(tmp_path, file, "--dump-dom")
    assert console == []
    assert len(re.findall(r"<svg ", dom)) == 12
    assert len(re.findall(r"<polyline ", dom)) > 50
    data = re.search(r'<script type="application/json" id="rlx-data">(.*?)</script>', dom, re.DOTALL)
    assert data is not None
    assert len(json.loads(data[1])["comparisons"]) == 4


def test_console_errors_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<script>console.error("here")</script>')
    assert len(browse(tmp_path / "profile", page, "--dump-dom")[1]) == 1


def test_the_page_does_not_scroll_sideways(file: Path, tmp_path: Path) -> None:
    """The narrowest window of Chromium is 500 wide; a frame can be a phone."""
    frames = "".join(
        f'<iframe id="w{width}" style="width:{width}px;border:0" srcdoc="{html.escape(file.read_text())}">'
        "</iframe>"
        for width in (320, 375, 1200)
    )
    script = """
    addEventListener("load", () => {
      const found = {};
      for (const frame of document.querySelectorAll("iframe")) {
        const page = frame.contentDocument, box = page.querySelector(".wide");
        found[frame.id] = {
          page: page.documentElement.scrollWidth, table: box.scrollWidth > box.clientWidth,
          figure: page.querySelector("svg").getBoundingClientRect().width,
        };
      }
      document.body.innerHTML = "<pre id=found>" + JSON.stringify(found) + "</pre>";
    });
    """
    page = tmp_path / "frames.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{frames}<script>{script}</script></body>")
    dom, _ = browse(tmp_path / "profile", page, "--dump-dom")
    text = re.search(r'<pre id="found">(.*?)</pre>', dom)
    assert text is not None
    found = json.loads(text[1])
    assert {key: value["page"] for key, value in found.items()} == {"w320": 320, "w375": 375, "w1200": 1200}
    assert found["w375"]["table"], "a wide table scrolls in a box of its own"
    assert 330 < found["w375"]["figure"] < 375
    assert 500 < found["w1200"]["figure"] < 610


@pytest.mark.parametrize(("scheme", "colors"), [(1, LIGHT), (0, DARK)], ids=["light", "dark"])
def test_light_and_dark(file: Path, tmp_path: Path, scheme: int, colors: dict[str, str]) -> None:
    shot = tmp_path / "shot.png"
    browse(
        tmp_path / "profile", file, f"--blink-settings=preferredColorScheme={scheme}",
        "--window-size=500,1600", f"--screenshot={shot}",
    )  # fmt: skip
    image = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB")
    assert image.size == (500, 1600)
    seen = {color for _, color in image.getcolors(1 << 20) or []}
    assert image.getpixel((2, 2)) == ImageColor.getrgb(colors["paper"])
    for name in ("ink", "k0", "k1"):
        assert ImageColor.getrgb(colors[name]) in seen
