"""A drawing as plain shapes, from which SVG and PNG are made alike. x grows to the right, y downwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Point = tuple[float, float]
#: `ink` is text, `soft` quiet text, `grid` lines behind, `k0` to `k7` series.
Color = str
Anchor = Literal["start", "middle", "end"]

#: Series that can be told apart; further ones begin again.
NUM_COLORS = 8
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (7, 3),
    (2, 2.5),
    (9, 3, 2, 3),
    (4, 4),
    (12, 3),
    (1, 4),
    (5, 2, 1, 2),
)
MARKERS = ("circle", "square", "triangle", "diamond", "plus", "down", "cross", "ring")


@dataclass(frozen=True)
class Line:
    """A line through points; `tip` is what it is, shown where a pointer rests."""

    points: tuple[Point, ...]
    color: Color
    width: float = 1.0
    dash: tuple[float, ...] = ()
    opacity: float = 1.0
    tip: str = ""


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: tuple[Point, ...]
    color: Color
    opacity: float = 1.0
    tip: str = ""


@dataclass(frozen=True)
class Marker:
    """One of `MARKERS` at a point."""

    at: Point
    shape: str
    color: Color
    size: float = 3.5
    tip: str = ""


@dataclass(frozen=True)
class Text:
    """A line of text; `y` is its baseline. `turned` reads upwards."""

    at: Point
    text: str
    color: Color = "ink"
    size: float = 12.0
    anchor: Anchor = "start"
    bold: bool = False
    turned: bool = False


Shape = Line | Area | Marker | Text


@dataclass(frozen=True)
class Style:
    """How a series looks: differs by more than its hue."""

    color: Color
    dash: tuple[float, ...]
    marker: str


@dataclass(frozen=True)
class Scene:
    """A figure.

    Attributes:
        key: unique on a page; letters, digits and hyphens.
        title: what it shows.
        description: what is read off it, for those who do not see it.
    """

    key: str
    title: str
    description: str
    width: float
    height: float
    shapes: tuple[Shape, ...] = field(default=())


def style(index: int, *, solid: bool = False) -> Style:
    """Return the look of the series with this index; `solid` lines are our own."""
    dash = () if solid else DASHES[1 + index % (len(DASHES) - 1)]
    # One further in each round, so that a colour comes back with another marker.
    marker = MARKERS[(index + index // NUM_COLORS) % len(MARKERS)]
    return Style(f"k{index % NUM_COLORS}", dash, marker)


def fit(text: str, size: float, width: float) -> str:
    """Return as much of a text as fits into a width, with an ellipsis where it was cut."""
    # About the width of a letter; on the safe side for most fonts.
    most = max(int(width / (0.56 * size)), 2)
    return text if len(text) <= most else text[: most - 1] + "…"


def moved(shape: Shape, right: float, down: float) -> Shape:
    """Return a shape elsewhere."""
    if isinstance(shape, (Marker, Text)):
        return replace(shape, at=(shape.at[0] + right, shape.at[1] + down))
    return replace(shape, points=tuple((x + right, y + down) for x, y in shape.points))


def grid_of(scenes: Sequence[Scene], columns: int, *, key: str, title: str, gap: float = 16.0) -> Scene:
    """Put scenes into one, row by row, under their titles."""
    shapes: list[Shape] = []
    top = gap
    head = 20.0
    columns = max(1, min(columns, len(scenes)))
    width = max(scene.width for scene in scenes) if scenes else 0.0
    for start in range(0, len(scenes), columns):
        row = scenes[start : start + columns]
        for index, scene in enumerate(row):
            left = gap + index * (width + gap)
            shapes.append(Text((left, top + 12), fit(scene.title, 13, width), size=13, bold=True))
            shapes += [moved(shape, left, top + head) for shape in scene.shapes]
        top += head + max(scene.height for scene in row) + gap
    description = " ".join(f"{scene.title}: {scene.description}" for scene in scenes)
    return Scene(key, title, description, gap + columns * (width + gap), top, tuple(shapes))


def marker_points(shape: str, at: Point, size: float) -> tuple[Point, ...]:
    """Return the corners of a marker; circle and ring have none."""
    x, y = at
    s = size
    corners: dict[str, tuple[Point, ...]] = {
        "square": ((-s, -s), (s, -s), (s, s), (-s, s)),
        "triangle": ((0, -s * 1.2), (s * 1.1, s * 0.8), (-s * 1.1, s * 0.8)),
        "down": ((0, s * 1.2), (s * 1.1, -s * 0.8), (-s * 1.1, -s * 0.8)),
        "diamond": ((0, -s * 1.35), (s * 1.35, 0), (0, s * 1.35), (-s * 1.35, 0)),
        "plus": _plus(s),
        "cross": tuple(((a - b) * 0.7071, (a + b) * 0.7071) for a, b in _plus(s)),
    }
    return tuple((x + dx, y + dy) for dx, dy in corners.get(shape, ()))


def _plus(size: float) -> tuple[Point, ...]:
    s, t = 1.35 * size, 0.4 * size
    return (
        (-t, -s), (t, -s), (t, -t), (s, -t), (s, t), (t, t),
        (t, s), (-t, s), (-t, t), (-s, t), (-s, -t), (-t, -t),
    )  # fmt: skip
