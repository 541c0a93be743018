"""Put a report together: the document of `rlx compare`, its figures and tables, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from rlx.compare.comparison import Question, compare_agents, read_agents
from rlx.compare.subject import Agent
from rlx.reference.catalog import find_reference
from rlx.report.bars import game_bars
from rlx.report.chart import learning_curves
from rlx.report.curves import Panel, panels, references_to_draw
from rlx.report.facts import deviation_table, experiments, provenance, throughput
from rlx.report.looks import Looks, looks_of
from rlx.report.over_games import interval_figures, profile_figure
from rlx.report.page import Part, page
from rlx.report.scene import Scene


@dataclass(frozen=True)
class Report:
    """A page, and the document from which it was made."""

    html: str
    document: dict[str, Any]


def report(
    runs: Sequence[str],
    root: Path = Path("runs"),
    *,
    title: str = "",
    columns: str | None = None,
    game: str | None = None,
    **question: Unpack[Question],
) -> Report:
    """Make the page of `rlx report`.

    Args:
        title: heading of the page; empty for the names of the agents.
        runs, root, columns, game, question: those of `rlx.compare.comparison.compare`.

    Raises:
        RlxError: a run is missing or damaged, a name unknown, or protocols are mixed.
    """
    agents = read_agents(runs, root, columns=columns, game=game)
    document = compare_agents(agents, **question)
    names = [agent.name for agent in agents]
    parts = _parts(agents, document, question.get("to"))
    return Report(page(title or ", ".join(names), document, parts, experiments(agents)), document)


def curve_scenes(shown: Sequence[Panel], looks: Looks) -> list[Scene | str]:
    """Return a scene for each panel, or a sentence where nothing was recorded."""
    found: list[Scene | str] = []
    for index, panel in enumerate(shown):
        scene = learning_curves(panel, looks, f"curves-{index // 2}-{panel.axis}")
        if scene is None:
            missing = "learning curve" if panel.axis == "frames" else "wall time"
            found.append(f"{panel.env}: no {missing} was recorded.")
        else:
            found.append(scene)
    return found


def _parts(agents: Sequence[Agent], document: Mapping[str, Any], to: str | None) -> list[Part]:
    compared = [find_reference(row["name"]) for row in document["references"]]
    others = [one for one in references_to_draw(to) if one not in compared]
    # What compare shows may be marked; what it left out is drawn only where it was measured alike.
    shown = [
        Panel(
            marked.env, marked.axis,
            tuple(dict.fromkeys((*marked.curves, *(c for c in alike.curves if not c.own)))),
        )
        for marked, alike in zip(
            panels(agents, compared, allow_mixed=True), panels(agents, others), strict=True
        )
    ]  # fmt: skip
    looks = looks_of([agent.name for agent in agents], [one.name for one in (*compared, *others)])
    bars, profile = game_bars(document, looks, "games"), profile_figure(document, looks, "profile")
    found = experiments(agents)
    return [
        Part("Learning curves", curve_scenes(shown, looks), (_curve_words(agents), *_hardware(shown))),
        Part("Scores by game", [bars or _NO_GAMES]),
        Part("Over games", interval_figures(document, looks, "over") or [_NO_GAMES], _reasons(document)),
        Part("Performance profile", [profile or _NO_GAMES]),
        Part("Throughput", [], tables=(throughput(agents),)),
        Part("Deviations from the paper", [], tables=(deviation_table(found),)),
        Part("Provenance", [], tables=(provenance(agents),)),
    ]


_NO_GAMES = "There is no human-normalised score: no run has a score on one of the 57 Atari games."


def _curve_words(agents: Sequence[Agent]) -> str:
    several = any(len(runs) > 1 for agent in agents for runs in agent.runs.values())
    band = " Thick: mean over seeds; thin: each seed; band: one standard deviation." if several else ""
    return (
        "Training return, exploration included: for runs of rlx the mean of the last 100 episodes."
        f"{band} Solid: these runs; dashed: published. An axis ends a quarter beyond the longest run."
    )


def _hardware(shown: Sequence[Panel]) -> list[str]:
    """Say what wall times were measured on, and what was measured otherwise."""
    found = []
    for panel in shown:
        for curve in panel.curves:
            if panel.axis == "seconds":
                found.append(f"{curve.name}: on {curve.hardware or 'hardware that was not recorded'}")
            if curve.differences:
                found.append(f"{panel.env}, {curve.name}: measured otherwise: {'; '.join(curve.differences)}")
    return list(dict.fromkeys(found))


def _reasons(document: Mapping[str, Any]) -> tuple[str, ...]:
    words = [
        f"{row['of']}: no intervals: {row['reason']}"
        for row in document["aggregates"]
        if row["reason"] and row["of"] == row["agent"]
    ]
    if not document["aggregates"]:
        return ()
    return tuple(dict.fromkeys(("Bars: 95% stratified bootstrap over seeds.", *words)))
