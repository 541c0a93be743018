"""Put a comparison together: one document of plain data, from which every format is made.

Its keys are described in docs/compare.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from rlx.compare.beside import Row, default_rows, equal_budgets, rows_beside
from rlx.compare.budget import FINAL, At, parse_at
from rlx.compare.errors import CompareError, CompareUsageError
from rlx.compare.other_tools import parse_columns
from rlx.compare.over_games import aggregates, improvements, profiles
from rlx.compare.require import check, parse_requirement
from rlx.compare.scores import own_rows
from rlx.compare.subject import Agent, group
from rlx.compare.subjects import read_subjects
from rlx.reference.catalog import find_reference
from rlx.reference.reference import Reference

FORMAT = 1
#: What runs are compared with where nothing is named, as far as it was measured in the same way.
DEFAULT_REFERENCES = (
    "rllib-apex", "rllib-dqn", "dopamine-dqn", "dopamine-rainbow",
    "dqn", "rainbow", "apex_dqn", "r2d2", "agent57", "muzero",
)  # fmt: skip


class Question(TypedDict, total=False):
    """How runs are compared; `rlx compare` and `rlx report` take the same.

    Keys:
        to: names of references, with commas; None for those of `DEFAULT_REFERENCES` that fit; empty for none.
        at: `10M-steps`, `40M-frames`, `1h`, `final` or `best`; None reads each score as its reference does.
        allow_mixed: whether what was measured otherwise is shown, marked, instead of refused.
        require: `Breakout>=120` and the like.
        seed: of the bootstrap.
    """

    to: str | None
    at: str | None
    allow_mixed: bool
    require: Sequence[str]
    seed: int


def compare(
    runs: Sequence[str],
    root: Path = Path("runs"),
    *,
    columns: str | None = None,
    game: str | None = None,
    **question: Unpack[Question],
) -> dict[str, Any]:
    """Compare runs with each other and with published results.

    Args:
        runs: what `rlx.compare.subjects.read_subjects` takes.
        root: folder of run directories.
        columns: of a CSV, `steps=a,score=b`.
        game: environment id or game of results that do not say.
        question: see `Question`.

    Returns:
        The document; strict JSON after `rlx.runs.files.plain`.

    Raises:
        RlxError: a run is missing or damaged, a name unknown, or protocols are mixed.
    """
    return compare_agents(read_agents(runs, root, columns=columns, game=game), **question)


def read_agents(
    runs: Sequence[str], root: Path = Path("runs"), *, columns: str | None = None, game: str | None = None
) -> tuple[Agent, ...]:
    """Read runs and group them into agents; arguments and errors are those of `compare`."""
    return group(read_subjects(runs, root, None if columns is None else parse_columns(columns), game))


def compare_agents(
    agents: Sequence[Agent],
    *,
    to: str | None = None,
    at: str | None = None,
    allow_mixed: bool = False,
    require: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Compare runs that were read; arguments are those of `Question`, document and errors of `compare`."""
    point = None if at is None else parse_at(at)
    named = list(dict.fromkeys(find_reference(name) for name in _names(to)))
    _refuse_no_scores(agents)
    _refuse_nothing_published(agents, named)
    own = own_rows(agents, point or FINAL, allow_mixed=allow_mixed)
    requirements = [parse_requirement(text, [agent.name for agent in agents], own) for text in require]
    rows, references, notes = _beside(agents, named, to, point, allow_mixed)
    rng = np.random.default_rng(seed)
    totals = aggregates(own, rows, rng)
    return {
        "format": FORMAT,
        "at": "as each reference, else final" if point is None else point.text,
        "agents": [_agent(agent) for agent in agents],
        "references": [_reference(reference) for reference in references],
        "scores": [asdict(row) for row in own],
        "comparisons": [asdict(row) for row in rows],
        "equal_budgets": [asdict(row) for row in equal_budgets(agents, references, point)],
        "aggregates": [asdict(row) for row in totals],
        "profiles": [asdict(row) for row in profiles(own, rng)],
        "improvements": [asdict(row) for row in improvements(own, rng)],
        "requirements": [asdict(one) for item in requirements for one in check(item, own, totals)],
        "notes": notes,
    }


def met(document: Mapping[str, Any]) -> bool:
    """Return whether every requirement of a document is met."""
    return all(outcome["met"] for outcome in document["requirements"])


def _names(to: str | None) -> list[str]:
    return [name.strip() for name in (to or "").split(",") if name.strip()]


def _refuse_no_scores(agents: Sequence[Agent]) -> None:
    subjects = [subject for agent in agents for subject in agent.subjects]
    if not any(subject.series for subject in subjects):
        paths = ", ".join(str(subject.path) for subject in subjects)
        raise CompareError("no episode has ended yet, so there is no score", paths, "train longer")


def _refuse_nothing_published(agents: Sequence[Agent], named: Sequence[Reference]) -> None:
    subjects = [subject for agent in agents for subject in agent.subjects]
    if named and not any(subject.game for subject in subjects):
        envs = ", ".join(dict.fromkeys(subject.env for subject in subjects))
        raise CompareUsageError(
            "none of these is one of the 57 Atari games, and nothing else has published scores here",
            envs,
            "leave --to out to compare the runs with each other",
        )


def _beside(
    agents: Sequence[Agent], named: Sequence[Reference], to: str | None, at: At | None, allow_mixed: bool
) -> tuple[list[Row], list[Reference], list[str]]:
    if to is not None:
        return rows_beside(agents, named, at, allow_mixed=allow_mixed), list(named), []
    candidates = [find_reference(name) for name in DEFAULT_REFERENCES]
    rows, left_out = default_rows(agents, candidates, at)
    kept = [reference for reference in candidates if reference.name not in left_out]
    games = any(subject.game for agent in agents for subject in agent.subjects)
    notes = (
        [f"left out, measured otherwise or without a score: {', '.join(left_out)}; --to NAME says why"]
        if left_out and games
        else []
    )
    return rows, kept, notes


def _agent(agent: Agent) -> dict[str, Any]:
    algorithms = dict.fromkeys(subject.algorithm for subject in agent.subjects if subject.algorithm)
    return {
        "name": agent.name,
        "algorithm": ", ".join(algorithms),
        "runs": [subject.facts() for subject in agent.subjects],
    }


def _reference(reference: Reference) -> dict[str, Any]:
    """Return what a reader must know beside its scores."""
    published = reference.published
    return {
        "name": reference.name,
        "title": reference.title,
        "source": reference.source,
        "address": reference.address,
        "protocol": asdict(reference.protocol),
        "budget": asdict(reference.budget),
        "seeds": reference.seeds,
        "hardware": reference.hardware,
        "approximate": reference.approximate,
        "median_hns": reference.median_hns,
        "mean_hns": reference.mean_hns,
        "num_games": reference.aggregates.num_games,
        "published": None if published is None else asdict(published),
        "caveats": list(reference.caveats),
    }
