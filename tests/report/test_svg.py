"""SVG is well-formed whatever a name contains, and shapes are where the scene has them."""

from __future__ import annotations

from xml.etree import ElementTree

from rlx.report.scene import Area, Line, Marker, Scene, Text
from rlx.report.svg import escape, inline, standalone

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</text><script>alert("1")</script>&\x00\ud800'


def scene() -> Scene:
    return Scene(
        "one", HOSTILE, HOSTILE, 100.0, 50.0,
        (
            Line(((1.0, 2.0), (3.5, 4.25)), "k0", 2, (7, 3), tip=HOSTILE),
            Area(((0, 0), (1, 0), (1, 1)), "k1", 0.5),
            Marker((5.0, 6.0), "circle", "k2"), Marker((5.0, 6.0), "ring", "k2"),
            Marker((5.0, 6.0), "plus", "k2"),
            Text((7.0, 8.0), HOSTILE, turned=True, anchor="end"),
        ),
    )  # fmt: skip


def test_a_file_is_well_formed_and_says_what_it_shows() -> None:
    root = ElementTree.fromstring(standalone(scene()))
    assert (root.get("width"), root.get("role"), root.get("aria-labelledby")) == (
        "100",
        "img",
        "one-title one-desc",
    )
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == '</text><script>alert("1")</script>&��'
    assert not list(root.iter(f"{SVG}script"))
    line = root.find(f"{SVG}polyline")
    assert line is not None
    assert (line.get("points"), line.get("stroke-dasharray")) == ("1,2 3.5,4.2", "7 3")
    assert len(root.findall(f"{SVG}circle")) == 2


def test_colours_are_the_page_s_own() -> None:
    assert "#" not in inline(scene())
    assert "#0b62a8" in standalone(scene())
    assert "prefers-color-scheme:dark" in standalone(scene())


def test_escape() -> None:
    assert escape("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#x27;"
    assert escape("\x08\ufffe\t") == "��\t"
