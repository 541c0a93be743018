"""Requirements for scripts: `Breakout>=120`, `median_hns>=1.0`, `my-agent:median_hns.low>=0.5`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rlx.compare.errors import CompareUsageError
from rlx.compare.over_games import STATISTICS, Aggregate, Estimate
from rlx.compare.scores import OwnRow
from rlx.reference.atari import find_game
from rlx.reference.errors import UnknownGameError, did_you_mean

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*(?P<what>[^<>=]+?)\s*(?P<compare>>=|<=|>|<)\s*(?P<limit>\S+)\s*")


@dataclass(frozen=True)
class Requirement:
    """A parsed `--require`.

    Attributes:
        text: as written.
        agent: the agent it is about; empty for all.
        name: a statistic over games, or a game or environment id.
        part: `low` or `high` end of a statistic's interval, `hns` of a game, or empty.
        comparison: `>=`, `<=`, `>` or `<`.
        limit: the number.
    """

    text: str
    agent: str
    name: str
    part: str
    comparison: str
    limit: float


@dataclass(frozen=True)
class Outcome:
    """Whether one agent meets a requirement by its score `taken`; a value that is missing does not."""

    requirement: str
    agent: str
    value: float | None
    met: bool
    taken: str
    reason: str


def parse_requirement(text: str, agents: Sequence[str], own: Sequence[OwnRow]) -> Requirement:
    """Parse a requirement and check that it is about something that is compared.

    Args:
        text: `[AGENT:]NAME[.low|.high|.hns]>=NUMBER`.
        agents: names of the agents.
        own: rows of their scores.

    Raises:
        CompareUsageError: it cannot be read, or names nothing that is compared.
    """
    match = _FORM.fullmatch(text)
    limit = _number(match["limit"]) if match else math.nan
    if match is None or not math.isfinite(limit):
        raise CompareUsageError(
            f"{text!r} cannot be read", "--require", "write 'Breakout>=120' or 'median_hns>=1.0'"
        )
    agent, what = _split_agent(match["what"], agents)
    name, part = _split_part(what)
    if name not in STATISTICS:
        name = _known_env(name, text, own)
    elif part == "hns":
        raise CompareUsageError(f"{name} is human-normalised already", "--require", f"write {name} alone")
    if name not in STATISTICS and part in ("low", "high"):
        raise CompareUsageError(
            "intervals are of statistics over games",
            "--require",
            f"{', '.join(STATISTICS)} have .low and .high",
        )
    return Requirement(text, agent, name, part, match["compare"], limit)


def check(requirement: Requirement, own: Sequence[OwnRow], aggregates: Sequence[Aggregate]) -> list[Outcome]:
    """Check a requirement for each agent that it is about."""
    agents = dict.fromkeys(row.agent for row in own)
    outcomes = []
    for agent in [requirement.agent] if requirement.agent else agents:
        for value, taken, reason in _values(requirement, agent, own, aggregates):
            met = value is not None and _OPERATORS[requirement.comparison](value, requirement.limit)
            outcomes.append(Outcome(requirement.text, agent, value, met, taken, reason))
    return outcomes


def _values(
    requirement: Requirement, agent: str, own: Sequence[OwnRow], aggregates: Sequence[Aggregate]
) -> Iterator[tuple[float | None, str, str]]:
    if requirement.name in STATISTICS:
        found = next((one for one in aggregates if one.agent == agent and not one.beside), None)
        if found is None:
            yield None, "", "no score of the 57 games"
            return
        estimate: Estimate = found.values[requirement.name]
        value = getattr(estimate, requirement.part) if requirement.part else estimate.value
        yield value, f"over {len(found.games)} games", found.reason if value is None else ""
        return
    rows = [row for row in own if row.agent == agent and requirement.name in (row.env, row.game)]
    if not rows:
        yield None, "", f"no run on {requirement.name}"
    for row in rows:
        value = row.score.hns if requirement.part == "hns" else row.score.score
        yield value, row.score.taken, "" if value is not None else row.score.reason or "no human score"


def _split_agent(text: str, agents: Sequence[str]) -> tuple[str, str]:
    # The longest name first: one agent's name may begin with another's.
    for name in sorted(agents, key=len, reverse=True):
        if text.startswith(f"{name}:"):
            return name, text[len(name) + 1 :].strip()
    return "", text


def _split_part(text: str) -> tuple[str, str]:
    name, dot, part = text.rpartition(".")
    return (name, part) if dot and part in ("low", "high", "hns") else (text, "")


def _known_env(name: str, text: str, own: Sequence[OwnRow]) -> str:
    """Return the environment or game that a name means, and is compared."""
    envs = {row.env for row in own}
    games = {row.game for row in own if row.game}
    if name in envs:
        return name
    try:
        game = find_game(name).name
    except UnknownGameError:
        hint = did_you_mean(name, (*STATISTICS, *envs, *games))
        raise CompareUsageError(
            f"{name!r} is neither a statistic nor a game or environment that is compared",
            f"--require {text!r}",
            hint or f"there are {', '.join((*STATISTICS, *sorted(games or envs)))}",
        ) from None
    if game not in games:
        raise CompareUsageError(
            f"no run on {game} is compared", f"--require {text!r}", f"there are {', '.join(sorted(envs))}"
        )
    return game


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
