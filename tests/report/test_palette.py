"""Colours are readable on light and on dark paper."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from PIL import ImageColor

from rlx.report.palette import DARK, LIGHT
from rlx.report.scene import NUM_COLORS


def luminance(color: str) -> float:
    """Return the relative luminance, as WCAG 2 defines it."""
    parts = [value / 255 for value in ImageColor.getrgb(color)[:3]]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio, as WCAG 2 defines it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_with_the_paper(colors: Mapping[str, str]) -> None:
    for name in ("ink", "soft", "good", "bad", "k0"):
        assert contrast(colors[name], colors["paper"]) >= 4.5, name
    for index in range(NUM_COLORS):
        assert contrast(colors[f"k{index}"], colors["paper"]) >= 3.0, index


def test_dark_is_dark() -> None:
    assert luminance(LIGHT["paper"]) > 0.9
    assert luminance(DARK["paper"]) < 0.02
    assert set(LIGHT) == set(DARK)
