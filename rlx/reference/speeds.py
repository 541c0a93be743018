"""Published speeds: actors, frames per second, learner rates, training times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

from rlx.reference.errors import plain
from rlx.reference.tables import cached_table

Status = Literal["confirmed", "secondary", "derived", "unverified"]


@dataclass(frozen=True)
class Throughput:
    """One published figure.

    Attributes:
        agent: as the source names it, `Ape-X DQN`.
        metric: what it counts, `env_frames_per_s_total`.
        value, unit: the figure; a unit says whether steps are agent steps or frames where the source does.
        conditions: machines, batch sizes, remarks.
        source: paper or repository.
        status: `confirmed` in the source's text, `secondary` from a summary of it, `derived` by arithmetic
            from confirmed values, or `unverified`.
    """

    agent: str
    metric: str
    value: float
    unit: str
    conditions: str
    source: str
    status: Status


@cache
def throughput(agent: str = "") -> tuple[Throughput, ...]:
    """Return the figures of one agent, or all; an agent without figures has none.

    Args:
        agent: a beginning of the agent's name, case and hyphens aside (`apex`, `RLlib`); empty for all.
    """
    return tuple(
        Throughput(
            row["agent"], row["metric"], float(row["value"]), row["unit"], row["conditions"], row["source"],
            cast(Status, row["status"]),
        )
        for row in cached_table("throughput_reference.csv")
        if plain(row["agent"]).startswith(plain(agent))
    )  # fmt: skip
