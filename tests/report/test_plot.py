"""`rlx plot` writes what was asked for, or says why it cannot."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from rlx.compare.errors import CompareError, CompareUsageError, MixedProtocolsError
from rlx.report.plot import picture_format, plot
from tests.compare.made import line, make_run
from tests.report.made import two_games

SVG = "{http://www.w3.org/2000/svg}"


def test_the_format_is_the_ending_s() -> None:
    assert picture_format(Path("a/b.PNG")) == "png"
    assert picture_format(Path("curves.svg")) == "svg"
    for name in ("curves.jpg", "curves", "curves.pdf"):
        with pytest.raises(CompareUsageError, match="png or svg"):
            picture_format(Path(name))


def test_both_formats_show_all_environments(tmp_path: Path) -> None:
    two_games(tmp_path)
    content, notes = plot([str(tmp_path)], "svg", to="rllib-apex")
    assert notes == []
    root = ElementTree.fromstring(content)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    for env in ("BreakoutNoFrameskip-v4", "PongNoFrameskip-v4"):
        assert f"{env}: training return against frames" in texts
        assert f"{env}: training return against wall time" in texts
    assert texts.count("ours, mean of 2 seeds") == 4
    # RLlib ran Ape-X on Breakout and not on Pong.
    assert texts.count("rllib-apex") == 2
    picture, _ = plot([str(tmp_path)], "png", to="rllib-apex")
    image = Image.open(io.BytesIO(picture))
    assert image.format == "PNG"
    assert image.size == (round(2 * float(root.get("width") or 0)), round(2 * float(root.get("height") or 0)))


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path, [(1e6, float("nan"), 1.0), (5e6, float("nan"), 3.0)])
    _, notes = plot([str(run)], "svg", to="rainbow")
    assert notes == [
        "rainbow has no learning curve here",
        "BreakoutNoFrameskip-v4: no wall time was recorded.",
    ]


def test_other_protocols_are_refused_unless_allowed(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(50e6, 7000, 150.0))
    with pytest.raises(MixedProtocolsError, match="dopamine-dqn"):
        plot([str(run)], "svg", to="dopamine-dqn")
    content, _ = plot([str(run)], "svg", to="dopamine-dqn", allow_mixed=True)
    assert b"dopamine-dqn (measured otherwise)" in content
    assert b"dopamine-dqn" not in plot([str(run)], "svg")[0]
    assert b"rllib-apex" in plot([str(run)], "svg")[0]
    assert b"rllib-apex" not in plot([str(run)], "svg", to="")[0]


def test_no_curve_is_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path, [(1e6, 1.0, None)])
    with pytest.raises(CompareError, match="no learning curve"):
        plot([str(run)], "png")
