"""Draw human-normalised scores by game, ours beside the references', on a log scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlx.report.scale import Scale, decades, tick_text, value_text
from rlx.report.scene import Area, Line, Marker, Scene, Shape, Style, Text, fit

WIDTH, NAMES, VALUES, ROW, HEAD, TOP = 460.0, 158.0, 56.0, 18.0, 24.0, 10.0
#: Lower scores, and those not above the random policy, end here.
FLOOR = 0.01


@dataclass(frozen=True)
class Bar:
    """A score: whose, and human-normalised as a fraction."""

    name: str
    label: str
    hns: float


def bars_by_game(document: Mapping[str, Any]) -> dict[str, list[Bar]]:
    """Return the bars of each game, the game with our highest score first.

    An agent has a bar for each of its scores that stands beside a reference (they are read as each reference
    reads its own), and that of the first table where none does. What was measured otherwise has no bar.
    """
    found: dict[str, list[Bar]] = {}
    for row in document["scores"]:
        if row["game"] is None:
            continue
        beside = [
            other for other in document["comparisons"]
            if (other["agent"], other["env"]) == (row["agent"], row["env"])
            and other["comparable"] and other["ours"]["hns"] is not None and other["reference_hns"] is not None
        ]  # fmt: skip
        bars = _own_bars(row, beside)
        if bars:
            known = found.setdefault(row["game"], [])
            theirs = [Bar(other["reference"], other["reference"], other["reference_hns"]) for other in beside]
            # References come after all agents, once each.
            own = [
                bar for bar in known if bar.name not in {one["reference"] for one in document["references"]}
            ]
            rest = [bar for bar in known if bar not in own]
            found[row["game"]] = list(dict.fromkeys([*own, *bars, *rest, *theirs]))
    return dict(sorted(found.items(), key=lambda item: -item[1][0].hns))


def _own_bars(row: Mapping[str, Any], beside: list[Mapping[str, Any]]) -> list[Bar]:
    agent = row["agent"]
    by_value: dict[float, list[str]] = {}
    for other in beside:
        by_value.setdefault(other["ours"]["hns"], []).append(other["reference"])
    if not by_value:
        return [] if row["score"]["hns"] is None else [Bar(agent, agent, row["score"]["hns"])]
    if len(by_value) == 1:
        return [Bar(agent, agent, value) for value in by_value]
    return [Bar(agent, f"{agent}, as {names[0]}", value) for value, names in by_value.items()]


def game_bars(document: Mapping[str, Any], looks: Mapping[str, Style], key: str) -> Scene | None:
    """Draw a bar for each score, from the human's (1) to the right or to the left; None without scores.

    Args:
        document: what `rlx compare` found.
        looks: name of an agent or reference -> how it is drawn.
        key: of the scene.
    """
    games = bars_by_game(document)
    if not games:
        return None
    scale = decades([bar.hns for bars in games.values() for bar in bars], NAMES, WIDTH - VALUES, floor=FLOOR)
    bottom = TOP + sum(HEAD + ROW * len(bars) for bars in games.values()) + 4
    shapes: list[Shape] = _axis(scale, bottom)
    y = TOP
    for game, bars in games.items():
        shapes.append(Text((4, y + 16), fit(game, 13, NAMES - 8), "ink", 13, bold=True))
        y += HEAD
        for bar in bars:
            shapes += _bar(bar, looks[bar.name], scale, y, game)
            y += ROW
    words = "; ".join(
        f"{game}: {', '.join(f'{bar.label} {value_text(bar.hns)}' for bar in bars)}"
        for game, bars in games.items()
    )
    return Scene(
        key, "Human-normalised score by game, log scale",
        f"Bars begin at the human score, 1. {words}.", WIDTH, bottom + 40, tuple(shapes),
    )  # fmt: skip


def _axis(scale: Scale, bottom: float) -> list[Shape]:
    shapes: list[Shape] = []
    for value in scale.ticks:
        x = scale.place(value)
        human = value == 1.0
        shapes.append(Line(((x, TOP), (x, bottom)), "soft" if human else "grid", 1.4 if human else 1))
        shapes.append(Text((x, bottom + 15), tick_text(value), "soft", 12, "middle"))
    middle = (scale.start + scale.end) / 2
    shapes.append(Text((middle, bottom + 32), "human-normalised score (1 = human)", "ink", 12, "middle"))
    return shapes


def _bar(bar: Bar, look: Style, scale: Scale, top: float, game: str) -> list[Shape]:
    zero, end, middle = scale.place(1.0), scale.place(bar.hns), top + ROW / 2
    low, high = middle - 5, middle + 5
    tip = f"{game}, {bar.label}: {value_text(bar.hns)}"
    shapes: list[Shape] = [
        Text((NAMES - 8, middle + 4), fit(bar.label, 11.5, NAMES - 12), "ink", 11.5, "end"),
        Area(((zero, low), (end, low), (end, high), (zero, high)), look.color, 0.55, tip),
        Marker((end, middle), look.marker, look.color, 4, tip),
        Text((WIDTH - 4, middle + 4), value_text(bar.hns), "ink", 11.5, "end"),
    ]
    return shapes
