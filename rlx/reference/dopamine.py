"""References from Dopamine's baselines: the end of its learning curves, with sticky actions."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType

from rlx.reference.reference import Budget, Reference, ScoreProtocol
from rlx.reference.tables import cached_table, number

REPOSITORY = "https://github.com/google/dopamine"
LAST_POINTS = 5
"""Points of a curve, of 1M frames each, that its final score is the mean of."""

_PROTOCOL = ScoreProtocol(
    "none", None, 0.25, 108_000, "training", "final",
    "starts: the game's own; sticky actions; episodes of at most 108,000 frames; mean return of training "
    "episodes, exploration included, over the last 5M frames",
)  # fmt: skip
_AGENTS = {
    "dopamine-dqn": "DQN",
    "dopamine-c51": "C51",
    "dopamine-rainbow": "Rainbow",
    "dopamine-iqn": "IQN",
    "dopamine-dqn-jax": "DQN (Adam + MSE in JAX)",
    "dopamine-quantile-jax": "Quantile (JAX)",
}
_CAVEATS = (
    "Sticky actions: not comparable with the no-op columns of papers.",
    "Defender and Surround are missing; five other games have curves but no human score.",
    "The spread is the mean over the last 5M frames of the standard deviation over seeds.",
)


@cache
def dopamine_references() -> tuple[Reference, ...]:
    """Return one reference per agent of Dopamine's baselines."""
    return tuple(_reference(name, agent) for name, agent in _AGENTS.items())


def _reference(name: str, agent: str) -> Reference:
    rows = {row["game"]: row for row in cached_table("dopamine_final.csv") if row["agent"] == agent}
    return Reference(
        name=name,
        title=f"Dopamine {agent}",
        kind="dopamine",
        key="Dopamine",
        source="baselines/atari/data/*.json, means of the last 5 points",
        address=REPOSITORY,
        year=None,
        protocol=_PROTOCOL,
        budget=Budget(199_000_000, None, "199 points of 1M frames"),
        seeds=5,
        hardware="",
        scores=MappingProxyType({game: number(row["score_mean"]) for game, row in rows.items()}),
        spreads=MappingProxyType({game: number(row["score_std_over_seeds"]) for game, row in rows.items()}),
        caveats=_CAVEATS,
        found_in=f"{REPOSITORY} commit 5873f54 (Apache-2.0)",
        runs=(agent,),
    )
