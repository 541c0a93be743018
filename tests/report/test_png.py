"""Pixels are where the scene has its shapes."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from rlx.report.png import dashes, to_png
from rlx.report.scene import Area, Line, Marker, Scene, Text

BLUE = (11, 98, 168)


def test_shapes_are_in_their_places() -> None:
    shapes = (
        Area(((10, 10), (30, 10), (30, 30), (10, 30)), "k0"),
        Line(((50, 20), (90, 20)), "k0", 4),
        Marker((70, 40), "circle", "k0", 5),
        Area(((10, 40), (30, 40), (30, 60), (10, 60)), "k0", 0.5),
    )
    image = Image.open(io.BytesIO(to_png(Scene("a", "", "", 100.0, 80.0, shapes), 2.0)))
    assert image.size == (200, 160)
    assert image.format == "PNG"
    assert image.getpixel((40, 40)) == BLUE
    assert image.getpixel((140, 40)) == BLUE
    assert image.getpixel((140, 80)) == BLUE
    assert image.getpixel((90, 20)) == (255, 255, 255)
    half = image.getpixel((40, 100))
    assert isinstance(half, tuple)
    assert half == pytest.approx([(255 + value) / 2 for value in BLUE], abs=2)


def test_turned_text_stands_upright() -> None:
    scene = Scene(
        "a", "", "", 100.0, 100.0, (Text((50, 50), "training return", anchor="middle", turned=True),)
    )
    image = Image.open(io.BytesIO(to_png(scene))).convert("L")
    box = image.point(lambda value: 255 * (value < 128)).getbbox()
    assert box is not None
    left, top, right, bottom = box
    assert bottom - top > 4 * (right - left)
    assert (top + bottom) / 2 == pytest.approx(100, abs=6)
    # The baseline is on the right of the letters.
    assert 100 - 24 < left < right <= 100 + 8


def test_dashes() -> None:
    assert list(dashes([(0, 0), (10, 0)], ())) == [[(0, 0), (10, 0)]]
    assert list(dashes([(0, 0), (10, 0)], (4, 2))) == [[(0, 0), (4, 0)], [(6, 0), (10, 0)]]
    around = list(dashes([(0, 0), (3, 0), (3, 4)], (5, 1)))
    assert around == [[(0, 0), (3, 0), (3, 2)], [(3, 3), (3, 4)]]
    assert list(dashes([(1, 1)], ())) == []
