"""Write a scene as PNG, with Pillow; the shapes are those of the SVG."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from PIL import Image, ImageColor, ImageDraw, ImageFont

from rlx.report.palette import LIGHT
from rlx.report.scene import Area, Line, Marker, Point, Scene, Shape, Text, marker_points

#: Drawn so much larger and then reduced, for smooth edges.
_OVERSAMPLE = 2


def to_png(scene: Scene, scale: float = 2.0) -> bytes:
    """Return a scene as PNG, on white.

    Args:
        scene: what is drawn.
        scale: pixels per unit of the scene.
    """
    ratio = scale * _OVERSAMPLE
    size = (math.ceil(scene.width * ratio), math.ceil(scene.height * ratio))
    canvas = _Canvas(Image.new("RGB", size, LIGHT["paper"]), ratio)
    for shape in scene.shapes:
        canvas.draw(shape)
    image = canvas.image.resize(
        (round(scene.width * scale), round(scene.height * scale)), Image.Resampling.LANCZOS
    )
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class _Canvas:
    """An image and what a unit of the scene is on it."""

    def __init__(self, image: Image.Image, ratio: float) -> None:
        self.image = image
        self.ratio = ratio

    def draw(self, shape: Shape) -> None:
        if isinstance(shape, Line):
            self._line(shape)
        elif isinstance(shape, Area):
            self._polygon(shape.points, shape.color, shape.opacity)
        elif isinstance(shape, Marker):
            self._marker(shape)
        else:
            self._text(shape)

    def _pen(self, opacity: float) -> ImageDraw.ImageDraw:
        # "RGBA" on an RGB image blends instead of replacing.
        return ImageDraw.Draw(self.image, "RGBA" if opacity < 1 else None)

    def _at(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.ratio, y * self.ratio) for x, y in points]

    def _line(self, line: Line) -> None:
        pen, color = self._pen(line.opacity), _rgba(line.color, line.opacity)
        width = max(round(line.width * self.ratio), 1)
        for piece in dashes(line.points, line.dash):
            pen.line(self._at(piece), fill=color, width=width, joint="curve")

    def _polygon(self, points: Sequence[Point], color: str, opacity: float = 1.0) -> None:
        if len(points) > 2:
            self._pen(opacity).polygon(self._at(points), fill=_rgba(color, opacity))

    def _marker(self, marker: Marker) -> None:
        corners = marker_points(marker.shape, marker.at, marker.size)
        if corners:
            self._polygon(corners, marker.color)
            return
        (x, y), size = marker.at, marker.size
        box = [value * self.ratio for value in (x - size, y - size, x + size, y + size)]
        color = _rgba(marker.color, 1.0)
        if marker.shape == "ring":
            self._pen(1.0).ellipse(box, outline=color, width=round(1.6 * self.ratio))
        else:
            self._pen(1.0).ellipse(box, fill=color)

    def _text(self, text: Text) -> None:
        font = ImageFont.load_default(text.size * self.ratio)
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[text.anchor]
        x, y = (value * self.ratio for value in text.at)
        stroke = 0.02 * text.size * self.ratio if text.bold else 0.0
        color = _rgba(text.color, 1.0)
        if not text.turned:
            self._pen(1.0).text((x, y), text.text, fill=color, font=font, anchor=anchor, stroke_width=stroke)
            return
        left, top, right, bottom = font.getbbox(text.text, anchor="ls")
        patch = Image.new("L", (math.ceil(right - left), math.ceil(bottom - top)), 0)
        ImageDraw.Draw(patch).text((-left, -top), text.text, fill=255, font=font, anchor="ls")
        turned = patch.rotate(90, expand=True)
        share = {"start": 1.0, "middle": 0.5, "end": 0.0}[text.anchor]
        corner = (round(x + top), round(y - share * turned.height))
        self.image.paste(ImageColor.getrgb(LIGHT[text.color]), corner, turned)


def dashes(points: Sequence[Point], dash: Sequence[float]) -> Iterator[list[Point]]:
    """Yield the pieces of a line that are drawn.

    Args:
        points: the line.
        dash: lengths of stroke and gap by turns; none for a whole line.
    """
    if not dash:
        if len(points) > 1:
            yield list(points)
        return
    turn, left = 0, dash[0]
    piece: list[Point] = list(points[:1])
    for start, end in pairwise(points):
        length, done = math.dist(start, end), 0.0
        while length - done > left:
            done += left
            part = done / length
            at = (start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1]))
            if turn % 2 == 0:
                yield [*piece, at]
            piece, turn = [at], turn + 1
            left = dash[turn % len(dash)]
        left -= length - done
        if turn % 2 == 0:
            piece.append(end)
    if turn % 2 == 0 and len(piece) > 1:
        yield piece


def _rgba(color: str, opacity: float) -> tuple[int, ...]:
    return (*ImageColor.getrgb(LIGHT[color])[:3], round(255 * opacity))
