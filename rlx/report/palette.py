"""Colours by name, for light and dark: texts have a contrast of 4.5:1 with the paper, series of 3:1."""

from __future__ import annotations

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff", "ink": "#1b1f24", "soft": "#59636e", "grid": "#d9dee3", "accent": "#8c95a0",
    "good": "#0a6b2d", "bad": "#b3261e",
    "k0": "#0b62a8", "k1": "#c24a00", "k2": "#00795a", "k3": "#a3368f",
    "k4": "#6d4bc3", "k5": "#8a6500", "k6": "#b3243c", "k7": "#4a5560",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "paper": "#14181d", "ink": "#e8ebef", "soft": "#a3adb8", "grid": "#333a42", "accent": "#76808b",
    "good": "#5fd38a", "bad": "#ff8a80",
    "k0": "#6cb6ff", "k1": "#ff9e5e", "k2": "#4fd1a5", "k3": "#f08bdc",
    "k4": "#b9a2ff", "k5": "#e3bd4a", "k6": "#ff8a98", "k7": "#b6c2cf",
}  # fmt: skip


def css_colors(colors: Mapping[str, str]) -> str:
    """Return the colours as CSS variables."""
    return "".join(f"--{name}:{value};" for name, value in colors.items())
