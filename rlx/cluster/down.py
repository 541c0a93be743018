"""From a cluster to nothing: end, wait, remove, and list again.

Only what belongs to this cluster is touched. Nothing is remembered between calls: a second one goes on where
the first was cut, and finds nothing to do where it was not.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlx.cluster import names
from rlx.cluster.aws import Aws, AwsError
from rlx.cluster.leftovers import Leftover, find_leftovers

Say = Callable[[str], None]
_LOOKS = 4


@dataclass
class Outcome:
    """What `down` did.

    Attributes:
        before: everything that was there.
        after: everything that is there now.
        reasons: id -> why AWS would not remove it.
    """

    cluster: str
    before: list[Leftover]
    after: list[Leftover] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def removed(self) -> list[Leftover]:
        """What was there and is not any more."""
        still = {(one.kind, one.id, one.place) for one in self.after}
        return [one for one in self.before if (one.kind, one.id, one.place) not in still]

    @property
    def standing(self) -> list[Leftover]:
        """What is left of this cluster."""
        return [one for one in self.after if one.cluster == self.cluster]

    @property
    def billing(self) -> list[Leftover]:
        """What is left of this cluster and costs money."""
        return [one for one in self.standing if one.bills]


def take_down(
    aws: Aws,
    cluster: str,
    *,
    home: Path | None = None,
    say: Say = lambda text: None,
    wait_seconds: float = 600.0,
    poll_seconds: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Remove a cluster from a region and this machine, and prove it by a listing.

    Args:
        aws: whom to ask; its region is the cluster's.
        cluster: its name.
        home: where keys and tokens are, by default the user's home.
        say: told each step.
        wait_seconds: how long to wait for instances to end, and for volumes to go.
        poll_seconds: between two looks.
        sleep: waits.
    """
    removal = _Removal(aws, cluster, home, say, wait_seconds, poll_seconds, sleep)
    outcome = Outcome(cluster, removal.listing())
    removal.end_machines(outcome.before)
    removal.remove_volumes()
    removal.remove_the_rest()
    outcome.reasons = removal.reasons
    for _ in range(_LOOKS):
        outcome.after = removal.listing()
        in_iam = [one for one in outcome.standing if one.kind in ("role", "instance profile")]
        if all(one.id in outcome.reasons for one in in_iam):
            break
        # IAM goes on naming for some seconds what it has deleted.
        sleep(poll_seconds)
    return outcome


class _Removal:
    def __init__(
        self,
        aws: Aws,
        cluster: str,
        home: Path | None,
        say: Say,
        wait_seconds: float,
        poll_seconds: float,
        sleep: Callable[[float], None],
    ) -> None:
        self.aws, self.cluster, self.home, self.say = aws, cluster, home, say
        self.wait_seconds, self.poll_seconds, self.sleep = wait_seconds, poll_seconds, sleep
        self.reasons: dict[str, str] = {}

    def listing(self) -> list[Leftover]:
        return find_leftovers(self.aws, [self.aws.region], self.cluster, home=self.home)

    def own(self, found: Iterable[Leftover], *kinds: str) -> list[Leftover]:
        """Select what may be removed: this cluster's, and nobody's data."""
        return [one for one in found if one.cluster == self.cluster and one.removable and one.kind in kinds]

    def end_machines(self, found: list[Leftover]) -> None:
        """End instances until none is there: the head may have started one a moment ago."""
        self._mark_volumes(found)
        waited = 0.0
        while True:
            if requests := [one.id for one in self.own(found, "spot request")]:
                self._each(
                    requests, "cancel_spot_instance_requests", "SpotInstanceRequestIds", "spot request"
                )
            instances = self.own(found, "instance")
            if to_end := [one.id for one in instances if one.state != "shutting-down"]:
                self._each(to_end, "terminate_instances", "InstanceIds", "instance")
            if (
                not instances
                or waited >= self.wait_seconds
                or {one.id for one in instances} <= set(self.reasons)
            ):
                return
            self.sleep(self.poll_seconds)
            waited += self.poll_seconds
            found = self.listing()

    def _mark_volumes(self, found: list[Leftover]) -> None:
        """Mark volumes that will stay, so that they are found when their instance is gone."""
        staying = [
            one.id
            for one in found
            if one.kind == "volume" and not one.removable and one.cluster == self.cluster
        ]
        if staying:
            marks = [{"Key": names.ATTACHED_TAG, "Value": self.cluster}]
            self._try(staying[0], "ec2", "create_tags", Resources=staying, Tags=marks)

    def remove_volumes(self) -> None:
        """Delete the volumes that did not go with their instances, and wait until they are gone."""
        waited = 0.0
        while volumes := self.own(self.listing(), "volume"):
            free = [
                one.id
                for one in volumes
                if one.state in ("available", "error") and one.id not in self.reasons
            ]
            for id in free:
                self.say(f"volume {id}: delete")
                self._try(id, "ec2", "delete_volume", VolumeId=id)
            stuck = {one.id for one in volumes} <= set(self.reasons)
            if stuck or waited >= self.wait_seconds:
                return
            self.sleep(self.poll_seconds if not free else 0.0)
            waited += self.poll_seconds

    def remove_the_rest(self) -> None:
        """Remove what costs nothing, but is ours: group, key, profile, role, files."""
        found = self.listing()
        for one in self.own(found, "security group"):
            self._remove_group(one)
        for one in self.own(found, "key pair"):
            self.say(f"key pair {one.id}: delete")
            self._try(one.id, "ec2", "delete_key_pair", KeyName=one.id)
        for one in self.own(found, "instance profile"):
            self._remove_profile(one.id)
        for one in self.own(found, "role"):
            self._remove_role(one.id)
        if any(one.kind == "instance" for one in found):
            return  # the key may be needed to look at it
        for one in self.own(found, "file"):
            self.say(f"{one.id}: delete")
            self._remove_file(Path(one.id))

    def _remove_group(self, group: Leftover) -> None:
        """Delete a group; the network cards of ended instances may hold it for a little longer."""
        self.say(f"security group {group.id}: delete")
        for _ in range(12):
            self.reasons.pop(group.id, None)
            self._try(group.id, "ec2", "delete_security_group", GroupId=group.id)
            if "DependencyViolation" not in self.reasons.get(group.id, ""):
                return
            self.sleep(self.poll_seconds)

    def _remove_profile(self, name: str) -> None:
        self.say(f"instance profile {name}: delete")
        profile = self._try(name, "iam", "get_instance_profile", InstanceProfileName=name)
        for role in profile.get("InstanceProfile", {}).get("Roles", ()):
            call = "remove_role_from_instance_profile"
            self._try(name, "iam", call, InstanceProfileName=name, RoleName=role["RoleName"])
        self._try(name, "iam", "delete_instance_profile", InstanceProfileName=name)

    def _remove_role(self, name: str) -> None:
        self.say(f"role {name}: delete")
        self._try(name, "iam", "delete_role_policy", RoleName=name, PolicyName=names.ROLE_POLICY)
        self._try(name, "iam", "delete_role", RoleName=name)

    def _remove_file(self, path: Path) -> None:
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            self.reasons[str(path)] = error.strerror or str(error)

    def _each(self, ids: Sequence[str], operation: str, parameter: str, kind: str) -> None:
        """Do it to all at once; one by one if AWS refuses, since a single bad one spoils them all."""
        self.say(f"{operation.replace('_', ' ')}: {', '.join(ids)}")
        try:
            self.aws.call("ec2", operation, "", **{parameter: list(ids)})
        except AwsError:
            for id in ids:
                self._try(id, "ec2", operation, **{parameter: [id]})

    def _try(self, id: str, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call, and keep the reason if it is refused; what is gone already is no reason."""
        try:
            return self.aws.call(service, operation, **parameters)
        except AwsError as error:
            if not error.not_found:
                self.reasons[id] = error.what
            return {}
