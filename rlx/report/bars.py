"""Draw human-normalised scores by game, ours beside the references', on a log scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlx.report.looks import Looks
from rlx.report.scale import Scale, decades, tick_text, value_text
from rlx.report.scene import Area, Line, Marker, Scene, Shape, Text, fit

WIDTH, NAMES, VALUES, ROW, HEAD, TOP = 460.0, 182.0, 56.0, 18.0, 24.0, 10.0
#: Lower scores, and those not above the random policy, end here.
FLOOR = 0.01


@dataclass(frozen=True)
class Bar:
    """A score: whose (an agent's if `own`, else a reference's), and human-normalised as a fraction."""

    name: str
    own: bool
    label: str
    hns: float


def bars_by_game(document: Mapping[str, Any]) -> dict[str, list[Bar]]:
    """Return the bars of each game, agents before references, the game with our highest score first.

    An agent has a bar for each of its scores that stands beside a reference (they are read as each reference
    reads its own), and that of the first table where none does. What was measured otherwise has no bar.
    """
    found: dict[str, list[Bar]] = {}
    for row in document["scores"]:
        if row["game"] is None:
            continue
        beside = [other for other in document["comparisons"] if _stands_beside(row, other)]
        theirs = [
            Bar(other["reference"], False, other["reference"], other["reference_hns"]) for other in beside
        ]
        found.setdefault(row["game"], []).extend([*_own_bars(row, beside), *theirs])
    ordered = {game: sorted(dict.fromkeys(bars), key=lambda bar: not bar.own) for game, bars in found.items()}
    return dict(sorted(((g, bars) for g, bars in ordered.items() if bars), key=lambda item: -item[1][0].hns))


def _stands_beside(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    both = other["ours"]["hns"] is not None and other["reference_hns"] is not None
    return both and other["comparable"] and (other["agent"], other["env"]) == (row["agent"], row["env"])


def _own_bars(row: Mapping[str, Any], beside: Sequence[Mapping[str, Any]]) -> list[Bar]:
    agent = row["agent"]
    by_value: dict[float, str] = {}
    for other in beside:
        by_value.setdefault(other["ours"]["hns"], other["reference"])
    if not by_value:
        return [] if row["score"]["hns"] is None else [Bar(agent, True, agent, row["score"]["hns"])]
    if len(by_value) == 1:
        return [Bar(agent, True, agent, value) for value in by_value]
    return [Bar(agent, True, f"{agent}, as {name}", value) for value, name in by_value.items()]


def game_bars(document: Mapping[str, Any], looks: Looks, key: str) -> Scene | None:
    """Draw a bar for each score, from the human's (1) to the right or to the left; None without scores.

    Args:
        document: what `rlx compare` found.
        looks: how agents and references are drawn.
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
            shapes += _bar(bar, looks, scale, y, game)
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


def _bar(bar: Bar, looks: Looks, scale: Scale, top: float, game: str) -> list[Shape]:
    look = looks.of(bar.name, own=bar.own)
    label = bar.label if bar.own else looks.label(bar.name, own=False)
    zero, end, middle = scale.place(1.0), scale.place(bar.hns), top + ROW / 2
    low, high = middle - 5, middle + 5
    tip = f"{game}, {label}: {value_text(bar.hns)}"
    shapes: list[Shape] = [
        Text((NAMES - 8, middle + 4), fit(label, 11.5, NAMES - 12), "ink", 11.5, "end"),
        Area(((zero, low), (end, low), (end, high), (zero, high)), look.color, 0.55, tip),
        Marker((end, middle), look.marker, look.color, 4, tip),
        Text((WIDTH - 4, middle + 4), value_text(bar.hns), "ink", 11.5, "end"),
    ]
    return shapes
