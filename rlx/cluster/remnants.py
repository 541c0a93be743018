"""What is left of a cluster whose head is gone, ended before a new start: nothing of it would work again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rlx.cluster import names
from rlx.cluster.machines import HEAD, Hosts, Instances
from rlx.cluster.on_premise import look_at_hosts, take_down_hosts
from rlx.cluster.spec import AnyCluster, AwsCluster, OnPremiseCluster


def end_remnants(
    spec: AnyCluster,
    machines: Hosts | Instances,
    *,
    home: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """End what a cluster without a living head has left: its processes on hosts, its workers on AWS.

    Call only when its Ray does not answer. Runs stay where they are.
    """
    home = home or Path.home()
    if isinstance(spec, OnPremiseCluster):
        if any(state.processes for state in look_at_hosts(spec, home)):
            say(f"{spec.name} has processes left from before, and no head that answers: they are ended")
            take_down_hosts(spec, home=home, say=say)
        return
    assert isinstance(spec, AwsCluster)
    assert isinstance(machines, Instances)
    there = [one for one in machines.all() if one.alive]
    if all(one.group != HEAD for one in there):
        # A new head may get an old address, with another key.
        folder = names.state_folder(spec.region, spec.name, home)
        (folder / "known_hosts").unlink(missing_ok=True)
    workers = [one.id for one in there if one.group != HEAD]
    if workers:
        say(f"{spec.name} has {len(workers)} workers left and no head that answers: they are ended")
        machines.aws.call("ec2", "terminate_instances", InstanceIds=workers)
