"""What a cluster is at the moment: its nodes, jobs, runs, and what it has cost so far."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rlx.cluster import names
from rlx.cluster.api import head_api
from rlx.cluster.errors import ClusterError
from rlx.cluster.jobs import Job, jobs_of, quoted, runs_folder
from rlx.cluster.launcher import environment_of
from rlx.cluster.machines import HEAD, Hosts, Instances, Machine, place_of
from rlx.cluster.prices import find_prices, with_prices
from rlx.cluster.spec import AnyCluster, AwsCluster
from rlx.cluster.ssh import Node
from rlx.cluster.up import Row, missing, rows_of


@dataclass(frozen=True)
class Cost:
    """What the instances that AWS still knows have cost, by the prices of the cluster file.

    Attributes:
        so_far: sum over instances of hours times price; None if a price is not known.
        per_hour: of those that run now.
        unpriced: groups without a price.
    """

    so_far: float | None
    per_hour: float | None
    unpriced: tuple[str, ...] = ()


@dataclass
class Status:
    """A cluster at one moment.

    Attributes:
        rows: its nodes, those that are missing too.
        jobs: handed in, the newest first.
        runs: rows of `rlx ls` on the head.
        cost: None for hosts.
        problems: what could not be asked, and why.
    """

    name: str
    rows: list[Row]
    wanted: dict[str, int]
    jobs: list[Job] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    cost: Cost | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def up(self) -> bool:
        """Whether every node that was asked for is in."""
        return not missing(self.wanted, self.rows)


def status_of(spec: AnyCluster, machines: Hosts | Instances, *, home: Path | None = None) -> Status:
    """Ask AWS, the head's Ray and its runs; what does not answer is named, not raised."""
    token = names.token_file(place_of(spec), spec.name, home or Path.home())
    there = machines.all()
    status = Status(spec.name, rows_of(machines.wanted, there, []), dict(machines.wanted))
    if isinstance(spec, AwsCluster):
        status.cost = cost_of(_priced(spec, machines), there)
    try:
        head = machines.head()
        with head_api(head, token) as api:
            status.rows = rows_of(machines.wanted, there, api.nodes())
            status.jobs = jobs_of(api)
        status.runs = runs_on(head, spec)
    except ClusterError as error:
        status.problems.append(str(error))
    return status


def _priced(spec: AwsCluster, machines: Hosts | Instances) -> AwsCluster:
    """Ask AWS for the prices that the file leaves open."""
    if spec.price_per_hour() is not None or not isinstance(machines, Instances):
        return spec
    return with_prices(spec, find_prices(machines.aws, spec))


def runs_on(head: Node, spec: AnyCluster) -> list[dict[str, Any]]:
    """Return the rows of `rlx ls` on the head.

    Raises:
        ClusterError: it fails there.
    """
    folder = quoted(runs_folder(spec))
    script = (
        f"[ -d {folder} ] || {{ echo '[]'; exit; }}; {environment_of(spec)}/bin/rlx ls --json --out {folder}"
    )
    try:
        found: list[dict[str, Any]] = json.loads(head.need(script) or "[]")
    except ValueError as error:
        raise ClusterError(f"rlx ls answers nonsense ({error})", head.address) from None
    return found


def cost_of(spec: AwsCluster, machines: Sequence[Machine], now: datetime | None = None) -> Cost:
    """Add up what instances have cost: hours that they ran, times the price of their group.

    AWS lists an ended one for about an hour; one whose end it does not tell counts until now. Volumes,
    addresses and traffic are not in it, and neither are instances that AWS has forgotten.
    """
    now = now or datetime.now(UTC)
    prices = {HEAD: spec.head.price_per_hour} | {
        name: group.price_per_hour for name, group in spec.workers.items()
    }
    so_far = per_hour = 0.0
    unpriced = set()
    for machine in machines:
        price = prices.get(machine.group)
        if price is None:
            unpriced.add(machine.group)
            continue
        end = now if machine.alive or machine.ended is None else machine.ended
        hours = (end - machine.since).total_seconds() / 3600 if machine.since else 0.0
        so_far += price * max(0.0, hours)
        per_hour += price if machine.alive else 0.0
    if unpriced:
        return Cost(None, None, tuple(sorted(unpriced)))
    return Cost(so_far, per_hour)
