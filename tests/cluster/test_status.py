"""What a cluster is at the moment, and what it has cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rlx.cluster import prices
from rlx.cluster.aws import Aws
from rlx.cluster.errors import ClusterError
from rlx.cluster.machines import HEAD, Instances, Machine
from rlx.cluster.spec import AwsCluster
from rlx.cluster.status import cost_of, runs_on, status_of
from tests.cluster.head import Lab, lab

__all__ = ["lab"]  # fixture

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def priced(spec: AwsCluster, head: float | None, actors: float | None) -> AwsCluster:
    workers = {"actors": spec.workers["actors"].model_copy(update={"price_per_hour": actors})}
    return spec.model_copy(
        update={"head": spec.head.model_copy(update={"price_per_hour": head}), "workers": workers}
    )


def machine(group: str, state: str, hours: float, ended: float | None = None) -> Machine:
    end = None if ended is None else NOW - timedelta(hours=ended)
    return Machine("i", group, "", state, since=NOW - timedelta(hours=hours), ended=end)


def test_cost(spec: AwsCluster) -> None:
    machines = [
        machine(HEAD, "running", 10),
        machine("actors", "running", 2),
        machine("actors", "terminated", 9, ended=8.5),  # half an hour, which ended long ago
        machine("actors", "terminated", 1),  # AWS does not tell its end: until now
        machine("actors", "running", -0.1),  # this machine's clock is late
    ]
    cost = cost_of(priced(spec, 0.5, 0.2), machines, NOW)
    assert cost.so_far == pytest.approx(10 * 0.5 + (2 + 0.5 + 1) * 0.2)
    assert cost.per_hour == pytest.approx(0.5 + 2 * 0.2)


def test_a_cost_that_is_not_known_is_no_number(spec: AwsCluster) -> None:
    cost = cost_of(
        priced(spec, 0.5, None), [machine(HEAD, "running", 1), machine("actors", "running", 1)], NOW
    )
    assert (cost.so_far, cost.per_hour, cost.unpriced) == (None, None, ("actors",))
    cost = cost_of(priced(spec, 0.5, 0.1), [machine("renamed", "running", 1)], NOW)
    assert cost.unpriced == ("renamed",)
    assert cost_of(priced(spec, 0.5, None), [], NOW).so_far == 0.0


def test_prices_that_the_file_leaves_open_are_asked_from_aws(
    aws: Aws, spec: AwsCluster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(aws: Aws, region: str, name: str) -> tuple[float | None, str]:
        asked.append(name)
        return 0.5, ""

    monkeypatch.setattr(prices, "_asked", answer)
    monkeypatch.setattr(prices, "_asked_spot", lambda aws, spec, name: ({"us-east-1a": 0.2}, ""))
    found = status_of(spec, Instances(spec, aws, home), home=home)
    assert found.cost is not None
    assert (found.cost.so_far, found.cost.per_hour, found.cost.unpriced) == (0.0, 0.0, ())
    assert sorted(asked) == ["c5.xlarge", "m5.large"]
    asked.clear()
    known = priced(spec, 0.5, 0.1)
    status_of(known, Instances(known, aws, home), home=home)
    assert asked == []


def test_status(lab: Lab) -> None:
    lab.dashboard.add_job("a", "SUCCEEDED")
    lab.program(Path(str(lab.spec.environment)) / "bin/rlx", 'printf \'[{"run": "%s"}]\' "$*"')
    found = status_of(lab.spec, lab.hosts, home=lab.home)
    assert found.up
    assert found.problems == []
    assert [job.id for job in found.jobs] == ["a"]
    assert found.runs == [{"run": f"ls --json --out {lab.spec.storage}"}]  # with spaces, one word
    assert found.cost is None


def test_status_of_a_head_that_is_away(lab: Lab) -> None:
    lab.unreachable("127.0.1.1")
    found = status_of(lab.spec, lab.hosts, home=lab.home)
    assert not found.up
    assert [(row.address, row.is_in) for row in found.rows] == [("127.0.1.1", False), ("127.0.1.2", False)]
    assert "No route to host" in found.problems[0]


def test_a_node_that_is_away(lab: Lab) -> None:
    lab.dashboard.addresses = ["127.0.1.1"]
    found = status_of(lab.spec, lab.hosts, home=lab.home)
    assert [row.state for row in found.rows] == ["in", "not in"]
    assert not found.up


def test_runs_that_cannot_be_listed(lab: Lab) -> None:
    program = Path(str(lab.spec.environment)) / "bin/rlx"
    lab.program(program, "echo nonsense")
    with pytest.raises(ClusterError, match="rlx ls answers nonsense"):
        runs_on(lab.head, lab.spec)
    lab.program(program, "echo broken >&2; exit 3")
    assert "broken" in status_of(lab.spec, lab.hosts, home=lab.home).problems[0]
    Path(lab.spec.storage).rmdir()
    assert runs_on(lab.head, lab.spec) == []
