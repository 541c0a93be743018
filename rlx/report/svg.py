"""Write a scene as SVG: inline in a page, whose style sheet has the colours, or as a file of its own."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from rlx.report.palette import DARK, LIGHT, css_colors
from rlx.report.scene import Area, Line, Marker, Point, Scene, Shape, Text, marker_points

#: Characters that XML 1.0 does not allow.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


def inline(scene: Scene) -> str:
    """Return an `<svg>` element with a title, a description, and no colours of its own."""
    return (
        f'<svg id="{escape(scene.key)}" viewBox="0 0 {_n(scene.width)} {_n(scene.height)}" role="img" '
        f'aria-labelledby="{escape(scene.key)}-title {escape(scene.key)}-desc">{_body(scene)}</svg>'
    )


def standalone(scene: Scene) -> str:
    """Return the text of an SVG file; it needs nothing else, and is dark where the reader's screen is."""
    width, height, key = _n(scene.width), _n(scene.height), escape(scene.key)
    dark = f"@media(prefers-color-scheme:dark){{:root{{{css_colors(DARK)}}}}}"
    css = f":root{{{css_colors(LIGHT)}}}{dark}{rules()}"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{key}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="{key}-title {key}-desc">'
        f'<style>{css}</style><rect class="paper" width="{width}" height="{height}"/>{_body(scene)}</svg>\n'
    )


def rules() -> str:
    """Return the style rules of the classes that shapes have."""
    names = list(LIGHT)
    strokes = "".join(f".s-{name}{{stroke:var(--{name})}}.f-{name}{{fill:var(--{name})}}" for name in names)
    return (
        f"svg text{{font-family:{FONT}}}.l{{fill:none;stroke-linejoin:round;stroke-linecap:round}}"
        f".paper{{fill:var(--paper)}}{strokes}"
    )


def escape(text: str) -> str:
    """Return a text as XML: marked up nowhere, without characters that XML forbids."""
    return html.escape(_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text))


def _body(scene: Scene) -> str:
    key = escape(scene.key)
    return (
        f'<title id="{key}-title">{escape(scene.title)}</title>'
        f'<desc id="{key}-desc">{escape(scene.description)}</desc>{"".join(map(_shape, scene.shapes))}'
    )


def _shape(shape: Shape) -> str:
    if isinstance(shape, Line):
        return _line(shape)
    if isinstance(shape, Area):
        opacity = f' opacity="{_n(shape.opacity)}"' if shape.opacity < 1 else ""
        return _with_tip(
            "polygon", f'class="f-{shape.color}" points="{_points(shape.points)}"{opacity}', shape.tip
        )
    if isinstance(shape, Marker):
        return _marker(shape)
    return _text(shape)


def _line(line: Line) -> str:
    dash = f' stroke-dasharray="{" ".join(map(_n, line.dash))}"' if line.dash else ""
    opacity = f' opacity="{_n(line.opacity)}"' if line.opacity < 1 else ""
    attributes = f'class="l s-{line.color}" stroke-width="{_n(line.width)}"{dash}{opacity}'
    return _with_tip("polyline", f'{attributes} points="{_points(line.points)}"', line.tip)


def _marker(marker: Marker) -> str:
    corners = marker_points(marker.shape, marker.at, marker.size)
    if corners:
        return _with_tip("polygon", f'class="f-{marker.color}" points="{_points(corners)}"', marker.tip)
    x, y = map(_n, marker.at)
    look = (
        f'class="l s-{marker.color}" stroke-width="1.6"'
        if marker.shape == "ring"
        else f'class="f-{marker.color}"'
    )
    return _with_tip("circle", f'{look} cx="{x}" cy="{y}" r="{_n(marker.size)}"', marker.tip)


def _text(text: Text) -> str:
    x, y = map(_n, text.at)
    anchor = "" if text.anchor == "start" else f' text-anchor="{text.anchor}"'
    weight = ' font-weight="600"' if text.bold else ""
    turn = f' transform="rotate(-90 {x} {y})"' if text.turned else ""
    return (
        f'<text class="f-{text.color}" x="{x}" y="{y}" font-size="{_n(text.size)}"{anchor}{weight}{turn}>'
        f"{escape(text.text)}</text>"
    )


def _with_tip(tag: str, attributes: str, tip: str) -> str:
    return f"<{tag} {attributes}><title>{escape(tip)}</title></{tag}>" if tip else f"<{tag} {attributes}/>"


def _points(points: Sequence[Point]) -> str:
    # A tenth of a unit is less than a pixel; more digits would double the page.
    return " ".join(f"{x:.1f},{y:.1f}".replace(".0", "") for x, y in points)


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
