"""What is left of a cluster whose head is gone, ended before a new start: nothing of it would work again.

A head that does not answer is not gone: this machine's network may be down, its address may have changed, its
token may be another one. Only who was on the head, or AWS, knows that no Ray runs there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rlx.cluster import names
from rlx.cluster.api import head_api
from rlx.cluster.errors import ClusterError
from rlx.cluster.launcher import find_script
from rlx.cluster.machines import HEAD, Hosts, Instances, place_of
from rlx.cluster.on_premise import look_at_hosts, take_down_hosts
from rlx.cluster.spec import AnyCluster, AwsCluster, OnPremiseCluster

_DOWN = "rlx cluster down ends it"
#: A head that is pending for less is that of another start.
_STARTING = timedelta(minutes=10)


def refuse_living(spec: AnyCluster, machines: Hosts | Instances, *, home: Path | None = None) -> None:
    """Return only if it is certain that no Ray of this cluster runs on a head.

    That is: AWS lists no head, or one that is pending for longer than a start takes; or the head was asked
    by ssh, and has no GCS.

    Raises:
        ClusterError: it is up, or starting, or nobody can tell.
    """
    where = f"cluster {spec.name}"
    if isinstance(machines, Instances):
        heads = [one for one in machines.all() if one.alive and one.group == HEAD]
        pending = [one for one in heads if one.state == "pending"]
        if any(one.since is None or datetime.now(UTC) - one.since < _STARTING for one in pending):
            raise ClusterError("is starting: its head was launched a moment ago", where, f"wait, or {_DOWN}")
        if pending == heads:
            return
    token = names.token_file(place_of(spec), spec.name, home or Path.home())
    try:
        with head_api(machines.head(), token) as api:
            api.nodes()
    except ClusterError as error:
        silence = str(error)
    else:
        message = "is up already; a second start would restart its Ray and end its jobs"
        raise ClusterError(message, where, f"rlx cluster status shows it; {_DOWN}")
    # The name of Ray's control store: without it nothing of the cluster works.
    script = (
        f"{find_script(spec.name)}; for p in $(ours); do grep -qsx gcs_server /proc/$p/comm && echo lives; "
        "done; echo asked"
    )
    try:
        answer = machines.head().need(script, timeout_seconds=30).split()
    except ClusterError as error:
        hint = f"it may well train: try again, or mend the way to it; {_DOWN}"
        raise ClusterError(f"its head cannot be asked whether Ray runs there: {error}", where, hint) from None
    if "asked" not in answer or "lives" in answer:
        raise ClusterError(f"Ray runs on its head, but does not answer here ({silence})", where, _DOWN)


def end_remnants(
    spec: AnyCluster,
    machines: Hosts | Instances,
    *,
    home: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """End what a cluster without a living head has left: its processes on hosts, its workers on AWS.

    Runs stay where they are.

    Raises:
        ClusterError: its head lives, or may live.
    """
    home = home or Path.home()
    refuse_living(spec, machines, home=home)
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
