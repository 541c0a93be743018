"""Draw what scores over games come to: statistics with their intervals, and the performance profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlx.report.chart import BELOW, ENTRY, LEFT, PLOT_HEIGHT, RIGHT, TOP, WIDTH, axes, legend
from rlx.report.looks import Looks
from rlx.report.scale import Scale, exact, linear, tick_text, value_text
from rlx.report.scene import Area, Line, Marker, Scene, Shape, Style, Text, fit

STATISTICS = {
    "median_hns": "Median",
    "mean_hns": "Mean",
    "iqm_hns": "Interquartile mean (IQM)",
    "capped_mean_hns": "Mean, each game capped at human",
    "p5_hns": "5th percentile",
    "games_above_human": "Games at or above human",
}
_NAMES, _VALUES, _ROW = 150.0, 128.0, 22.0


def interval_figures(document: Mapping[str, Any], looks: Looks, key: str) -> list[Scene]:
    """Draw one figure for each statistic: its value and 95% interval for every agent and reference."""
    if not document["aggregates"]:
        return []
    return [
        _intervals(document["aggregates"], name, title, looks, f"{key}-{name.replace('_', '-')}")
        for name, title in STATISTICS.items()
    ]


def profile_figure(document: Mapping[str, Any], looks: Looks, key: str) -> Scene | None:
    """Draw the fraction of runs x games above each threshold; None without games."""
    points = document["profiles"]
    if not points:
        return None
    thresholds = list(dict.fromkeys(point["threshold"] for point in points))
    across = exact(0.0, len(thresholds) - 1.0, LEFT + 12, WIDTH - RIGHT - 8, len(thresholds) - 1)
    upward = linear([0.0, 1.0], TOP + PLOT_HEIGHT, TOP)
    texts = [tick_text(thresholds[round(value)]) for value in across.ticks]
    shapes = axes(across, upward, "human-normalised score above", "fraction of runs x games", texts)
    agents = list(dict.fromkeys(point["agent"] for point in points))
    for agent in agents:
        own = [point for point in points if point["agent"] == agent]
        shapes += _profile(agent, own, looks.of(agent, own=True), across, upward)
    shapes += legend([(agent, looks.of(agent, own=True)) for agent in agents], TOP + PLOT_HEIGHT + BELOW)
    words = "; ".join(
        f"{agent}: " + ", ".join(
            f"{value_text(point['fraction'])} above {tick_text(point['threshold'])}"
            for point in points if point["agent"] == agent
        )
        for agent in agents
    )  # fmt: skip
    return Scene(
        key, "Performance profile", f"The thresholds are evenly spaced, not to scale. {words}.",
        WIDTH, TOP + PLOT_HEIGHT + BELOW + ENTRY * len(agents) + 4, tuple(shapes),
    )  # fmt: skip


def _profile(
    agent: str, points: Sequence[Mapping[str, Any]], look: Style, across: Scale, upward: Scale
) -> list[Shape]:
    places = [(across.place(float(i)), upward.place(p["fraction"])) for i, p in enumerate(points)]
    shapes: list[Shape] = []
    if all(point["low"] is not None for point in points):
        above = [(across.place(float(i)), upward.place(p["high"])) for i, p in enumerate(points)]
        below = [(across.place(float(i)), upward.place(p["low"])) for i, p in enumerate(points)]
        shapes.append(Area((*above, *reversed(below)), look.color, 0.16))
    shapes.append(Line(tuple(places), look.color, 2, look.dash, tip=agent))
    for place, point in zip(places, points, strict=True):
        tip = f"{agent}: {value_text(point['fraction'])} above {tick_text(point['threshold'])}"
        shapes.append(Marker(place, look.marker, look.color, tip=tip))
    return shapes


def _intervals(rows: Sequence[Mapping[str, Any]], name: str, title: str, looks: Looks, key: str) -> Scene:
    estimates = [row["values"][name] for row in rows]
    ends = [end for one in estimates for end in (one["value"], one["low"], one["high"]) if end is not None]
    scale = linear(ends, _NAMES, WIDTH - _VALUES, 3, zero=True)
    shapes: list[Shape] = []
    y = 4.0
    groups = list(dict.fromkeys((row["agent"], row["beside"]) for row in rows))
    tops: list[tuple[float, Mapping[str, Any], bool]] = []
    for agent, beside in groups:
        members = [row for row in rows if (row["agent"], row["beside"]) == (agent, beside)]
        shapes.append(Text((4, y + 14), fit(_group(agent, beside, members[0]), 11.5, WIDTH), "soft", 11.5))
        y += 20
        for index, row in enumerate(members):
            # The agent comes first; a reference may have its name.
            tops.append((y, row, index == 0))
            y += _ROW
    for value in scale.ticks:
        x = scale.place(value)
        # Under the rows only: the headings run across the whole figure.
        shapes += [Line(((x, top), (x, top + _ROW)), "grid") for top, _, _ in tops]
        shapes.append(Text((x, y + 14), tick_text(value), "soft", 12, "middle"))
    for top, row, own in tops:
        shapes += _interval(row["values"][name], row["of"], looks, own, scale, top)
    unit = "games" if name == "games_above_human" else "human-normalised score (1 = human)"
    shapes.append(Text(((scale.start + scale.end) / 2, y + 31), unit, "ink", 12, "middle"))
    words = "; ".join(f"{_of(row)}: {estimate_text(row['values'][name])}" for row in rows)
    return Scene(key, title, f"{words}.", WIDTH, y + 38, tuple(shapes))


def _interval(
    estimate: Mapping[str, Any], name: str, looks: Looks, own: bool, scale: Scale, top: float
) -> list[Shape]:
    middle, look, label = top + _ROW / 2, looks.of(name, own=own), looks.label(name, own=own)
    tip = f"{label}: {estimate_text(estimate)}"
    shapes: list[Shape] = [
        Text((_NAMES - 10, middle + 4), fit(label, 12, _NAMES - 14), "ink", 12, "end"),
        Text((WIDTH - 4, middle + 4), estimate_text(estimate), "ink", 11.5, "end"),
    ]
    if estimate["low"] is not None:
        low, high = scale.place(estimate["low"]), scale.place(estimate["high"])
        shapes.append(Line(((low, middle), (high, middle)), look.color, 2.5, tip=tip))
        shapes += [Line(((x, middle - 5), (x, middle + 5)), look.color, 1.5) for x in (low, high)]
    shapes.append(Marker((scale.place(estimate["value"]), middle), look.marker, look.color, 4.5, tip))
    return shapes


def estimate_text(estimate: Mapping[str, Any]) -> str:
    """Write a value and its interval, if there is one."""
    value = value_text(estimate["value"])
    if estimate["low"] is None:
        return value
    return f"{value} [{value_text(estimate['low'])}, {value_text(estimate['high'])}]"


def _group(agent: str, beside: str, row: Mapping[str, Any]) -> str:
    count = len(row["games"])
    games = f"{count} game{'' if count == 1 else 's'}"
    return f"{games} of {agent} that {beside} has too" if beside else f"all {games} of {agent}"


def _of(row: Mapping[str, Any]) -> str:
    return f"{row['of']} ({_group(row['agent'], row['beside'], row)})"
