"""Draw learning curves: axes, bands, lines, markers and a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlx.compare.budget import Array, duration, quantity
from rlx.report.curves import Curve, Panel, thin
from rlx.report.looks import Looks
from rlx.report.scale import Scale, exact, linear, tick_text, time_unit, value_text
from rlx.report.scene import Area, Line, Marker, Point, Scene, Shape, Style, Text, fit

WIDTH, PLOT_HEIGHT = 460.0, 230.0
LEFT, RIGHT, TOP, BELOW, ENTRY = 56.0, 16.0, 12.0, 42.0, 17.0
#: How much longer than the runs the axis may be for a reference that goes on.
_BEYOND = 1.25
_MARKERS = 6


def learning_curves(panel: Panel, looks: Looks, key: str) -> Scene | None:
    """Draw a panel; None if it has no curve.

    The axis ends a quarter beyond the longest run, because some references are a hundred times longer.

    Args:
        panel: curves on one environment.
        looks: how agents and references are drawn.
        key: of the scene.
    """
    if not panel.curves:
        return None

    def look(curve: Curve) -> Style:
        return looks.of(curve.name, own=curve.own)

    unit, size = _unit(panel)
    across = _across(panel, size)
    visible = [_visible(curve, across.high * size) for curve in panel.curves]
    shown = [(curve, part) for curve, part in zip(panel.curves, visible, strict=True) if len(part[0])]
    upward = linear(_heights(panel.curves, across.high * size), TOP + PLOT_HEIGHT, TOP)
    shapes = axes(across, upward, unit, "training return")
    for curve, (x, mean, spread) in shown:
        shapes += _band(x / size, mean, spread, look(curve), across, upward)
    for curve, (x, mean, _) in shown:
        shapes += _seed_lines(curve, size, look(curve), across, upward)
        shapes += _mean_line(curve, x / size, mean, look(curve), across, upward, panel.axis)
    entries = [
        (_legend(curve, looks, bool(len(part[0]))), look(curve))
        for curve, part in zip(panel.curves, visible, strict=True)
    ]
    shapes += legend(entries, TOP + PLOT_HEIGHT + BELOW)
    against = "frames" if panel.axis == "frames" else "wall time"
    return Scene(
        key, f"{panel.env}: training return against {against}", _describe(panel, looks),
        WIDTH, TOP + PLOT_HEIGHT + BELOW + ENTRY * len(entries) + 4, tuple(shapes),
    )  # fmt: skip


def axes(
    across: Scale, upward: Scale, x_title: str, y_title: str, x_texts: Sequence[str] = ()
) -> list[Shape]:
    """Draw both axes with ticks, grid lines and titles.

    Args:
        across, upward: their scales.
        x_title, y_title: what they are, with the unit.
        x_texts: instead of the numbers of the ticks.
    """
    left, right, bottom, top = across.start, across.end, upward.start, upward.end
    shapes: list[Shape] = []
    for value in upward.ticks:
        y = upward.place(value)
        shapes.append(Line(((left, y), (right, y)), "grid"))
        shapes.append(Text((left - 6, y + 4), tick_text(value), "soft", 12, "end"))
    for index, value in enumerate(across.ticks):
        x = across.place(value)
        shapes.append(Line(((x, bottom), (x, bottom + 4)), "accent"))
        text = x_texts[index] if x_texts else tick_text(value)
        shapes.append(Text((x, bottom + 17), text, "soft", 12, "middle"))
    shapes.append(Line(((left, bottom), (right, bottom)), "accent"))
    shapes.append(Text(((left + right) / 2, bottom + 34), x_title, "ink", 12, "middle"))
    shapes.append(Text((13, (top + bottom) / 2), y_title, "ink", 12, "middle", turned=True))
    return shapes


def legend(entries: Sequence[tuple[str, Style]], top: float) -> list[Shape]:
    """Draw one line for each entry: a piece of its line, its marker, its name."""
    shapes: list[Shape] = []
    for index, (label, look) in enumerate(entries):
        y = top + ENTRY * index + 9
        shapes.append(Line(((LEFT, y), (LEFT + 34, y)), look.color, 2, look.dash))
        shapes.append(Marker((LEFT + 17, y), look.marker, look.color))
        shapes.append(Text((LEFT + 42, y + 4), fit(label, 12, WIDTH - LEFT - 46), "ink", 12))
    return shapes


def clipped(x: Array, y: Array, end: float) -> tuple[Array, Array]:
    """Cut a curve at `end`; where it crosses, the point there is interpolated. `[n]` to `[m]`."""
    inside = x <= end
    if inside.all() or not inside.any():
        return x[inside], y[inside]
    return np.append(x[inside], end), np.append(y[inside], np.interp(end, x, y))


def _unit(panel: Panel) -> tuple[str, float]:
    """Return the title of the horizontal axis, and how much of its quantity is 1 on it."""
    if panel.axis == "frames":
        return "environment frames", 1.0
    name, size = time_unit(_longest(panel))
    return f"wall time ({name})", size


def _longest(panel: Panel) -> float:
    own = [float(track.x[-1]) for curve in panel.curves if curve.own for track in (curve.mean, *curve.seeds)]
    every = max(float(curve.mean.x[-1]) for curve in panel.curves)
    return min(every, _BEYOND * max(own)) if own and every > max(own) else max(own, default=every)


def _across(panel: Panel, size: float) -> Scale:
    return exact(0.0, _longest(panel) / size, LEFT, WIDTH - RIGHT)


def _visible(curve: Curve, end: float) -> tuple[Array, Array, Array | None]:
    x, mean = clipped(curve.mean.x, curve.mean.y, end)
    spread = None if curve.spread is None else clipped(curve.mean.x, curve.spread, end)[1]
    return x, mean, spread


def _heights(curves: Sequence[Curve], end: float) -> list[float]:
    found: list[float] = []
    for curve in curves:
        _, mean, spread = _visible(curve, end)
        wide = np.zeros_like(mean) if spread is None else spread
        found += [*(mean - wide), *(mean + wide)]
        for track in curve.seeds:
            found += [*clipped(track.x, track.y, end)[1]]
    return [value for value in map(float, found) if np.isfinite(value)]


def _path(x: Array, y: Array, across: Scale, upward: Scale, columns: int = 240) -> tuple[Point, ...]:
    kept = np.isfinite(y)
    xs, ys = thin(x[kept], y[kept], columns)
    return tuple((across.place(float(a)), upward.place(float(b))) for a, b in zip(xs, ys, strict=True))


def _band(
    x: Array, mean: Array, spread: Array | None, look: Style, across: Scale, upward: Scale
) -> list[Shape]:
    if spread is None or len(x) < 2:
        return []
    above = _path(x, mean + spread, across, upward)
    below = _path(x, mean - spread, across, upward)
    return [Area((*above, *reversed(below)), look.color, 0.16)]


def _seed_lines(curve: Curve, size: float, look: Style, across: Scale, upward: Scale) -> list[Shape]:
    shapes: list[Shape] = []
    for track in curve.seeds:
        x, y = clipped(track.x, track.y, across.high * size)
        # Coarser than the mean: they are many and stand behind it.
        points = _path(x / size, y, across, upward, 80)
        shapes.append(Line(points, look.color, 1, opacity=0.45, tip=f"{curve.name}, {track.label}"))
    return shapes


def _mean_line(
    curve: Curve, x: Array, mean: Array, look: Style, across: Scale, upward: Scale, axis: str
) -> list[Shape]:
    shapes: list[Shape] = [Line(_path(x, mean, across, upward), look.color, 2, look.dash, tip=curve.name)]
    for index in sorted({round(part * (len(x) - 1) / _MARKERS) for part in range(1, _MARKERS + 1)}):
        at = (across.place(float(x[index])), upward.place(float(mean[index])))
        shapes.append(
            Marker(at, look.marker, look.color, tip=f"{curve.name}: {value_text(float(mean[index]))}")
        )
    return shapes


def _legend(curve: Curve, looks: Looks, visible: bool) -> str:
    seeds = f", mean of {len(curve.seeds)} seeds" if curve.seeds and curve.spread is not None else ""
    apart = " (measured otherwise)" if curve.differences else ""
    beyond = "" if visible else " (begins beyond the axis)"
    return f"{looks.label(curve.name, own=curve.own)}{seeds}{apart}{beyond}"


def _describe(panel: Panel, looks: Looks) -> str:
    reach = quantity if panel.axis == "frames" else duration
    unit = " frames" if panel.axis == "frames" else ""
    parts = []
    for curve in panel.curves:
        frames_or_time, score = float(curve.mean.x[-1]), float(curve.mean.y[-1])
        who = _legend(curve, looks, True)
        parts.append(f"{who}: {value_text(score)} at {reach(frames_or_time)}{unit}")
    return "Last point of each curve. " + "; ".join(parts) + "."
