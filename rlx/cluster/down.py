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
from rlx.cluster.account import check_account, recorded_account, whose_account
from rlx.cluster.aws import PERMANENT, Aws, AwsError
from rlx.cluster.errors import ClusterError
from rlx.cluster.leftovers import Leftover, find_leftovers, volumes_by_id

Say = Callable[[str], None]
_LOOKS = 4


@dataclass
class Outcome:
    """What `down` did.

    Attributes:
        before: everything that was there.
        after: everything that is there now.
        reasons: id -> why AWS would not remove it.
        account: where it was.
    """

    cluster: str
    before: list[Leftover]
    after: list[Leftover] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    account: str = ""

    @property
    def removed(self) -> list[Leftover]:
        """What was there and is not any more."""
        still = {(one.kind, one.id, one.place) for one in self.after}
        return [one for one in self.before if (one.kind, one.id, one.place) not in still]

    @property
    def standing(self) -> list[Leftover]:
        """What is left of this cluster, as far as rlx made it."""
        return [one for one in self.after if one.cluster == self.cluster and one.ours]

    @property
    def not_ours(self) -> list[Leftover]:
        """What Ray's launcher made, without rlx, for a cluster of this name: it stays."""
        return [one for one in self.after if one.cluster == self.cluster and not one.ours]

    @property
    def unexplained(self) -> dict[str, str]:
        """Reasons of what is not in the last listing."""
        listed = {one.id for one in self.after}
        return {id: why for id, why in self.reasons.items() if id not in listed}

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

    Raises:
        ClusterError: the cluster is in another account, or, by what this machine keeps, in another region.
    """
    account = check_account(aws, cluster, home=home)
    removal = _Removal(aws, cluster, home, say, wait_seconds, poll_seconds, sleep)
    outcome = Outcome(cluster, removal.listing(), account=account)
    check_region(aws.region, cluster, outcome.before, home=home)
    removal.end_machines(outcome.before)
    removal.remove_volumes()
    removal.remove_the_rest()
    outcome.reasons = removal.reasons
    for _ in range(_LOOKS):
        outcome.after = removal.listing_with_volumes()
        in_iam = [one for one in outcome.standing if one.kind in ("role", "instance profile")]
        if all(one.id in outcome.reasons for one in in_iam):
            break
        # IAM goes on naming for some seconds what it has deleted.
        sleep(poll_seconds)
    return outcome


def check_region(region: str, cluster: str, found: list[Leftover], *, home: Path | None = None) -> None:
    """Refuse to say that nothing is left, if this machine knows the cluster in other regions only.

    Raises:
        ClusterError: with those regions.
    """
    others = names.other_places(region, cluster, home or Path.home())
    if others and not any(one.cluster == cluster and one.ours for one in found):
        hint = f"name the region: rlx cluster down --name {cluster} --region {others[0]}"
        message = f"nothing of {cluster} is here; by ~/.rlx/clusters it is in {', '.join(others)}"
        raise ClusterError(message, f"AWS {region}", hint)


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
        self.permanent: set[str] = set()
        self.marked: set[str] = set()
        self.volumes: set[str] = set()
        self.lost: set[str] = set()
        self.in_aws = False

    def listing(self) -> list[Leftover]:
        found = find_leftovers(self.aws, [self.aws.region], self.cluster, home=self.home)
        ours = [one for one in found if one.cluster == self.cluster and one.ours]
        self.volumes |= {one.id for one in ours if one.kind == "volume"}
        self.in_aws |= any(one.kind != "file" for one in ours)
        return found

    def listing_with_volumes(self) -> list[Leftover]:
        """List, and look every volume up that was ever seen: one without a tag is found by its id alone."""
        found = self.listing()
        unlisted = self.volumes - {one.id for one in found}
        lost = list(volumes_by_id(self.aws, self.aws.region, self.cluster, unlisted))
        self.lost = {one.id for one in lost}
        return found + lost

    def own(self, found: Iterable[Leftover], *kinds: str) -> list[Leftover]:
        """Select what may be removed: this cluster's, and nobody's data."""
        return [one for one in found if one.cluster == self.cluster and one.removable and one.kind in kinds]

    def end_machines(self, found: list[Leftover]) -> None:
        """End instances until none is there: the head may have started one a moment ago."""
        waited = 0.0
        while True:
            unmarked = self._mark_volumes(found)
            if requests := [one.id for one in self.own(found, "spot request")]:
                self._each(
                    requests, "cancel_spot_instance_requests", "SpotInstanceRequestIds", "spot request"
                )
            instances = self.own(found, "instance")
            for one in instances:
                if volumes := [id for id, holder in unmarked.items() if holder == one.id]:
                    why = f"not ended: its volume {volumes[0]} would stay and could not be marked"
                    self.reasons[one.id] = why
            held = set(unmarked.values())
            if to_end := [one.id for one in instances if one.state != "shutting-down" and one.id not in held]:
                self._each(to_end, "terminate_instances", "InstanceIds", "instance")
            if (
                not instances
                or waited >= self.wait_seconds
                or {one.id for one in instances} <= self.permanent
            ):
                return
            self.sleep(self.poll_seconds)
            waited += self.poll_seconds
            found = self.listing()

    def _mark_volumes(self, found: list[Leftover]) -> dict[str, str]:
        """Mark volumes that will stay, so that they are found when their instance is gone.

        Returns:
            those that could not be marked, and their instances.
        """
        unmarked: dict[str, str] = {}
        for one in found:
            if one.kind != "volume" or one.removable or one.cluster != self.cluster or not one.ours:
                continue
            if one.id not in self.marked:
                marks = [{"Key": names.ATTACHED_TAG, "Value": self.cluster}]
                self._forget([one.id])
                self._try(one.id, "ec2", "create_tags", Resources=[one.id], Tags=marks)
                if one.id in self.reasons:
                    unmarked[one.id] = one.holder
                    if one.id in self.permanent:
                        self.permanent.add(one.holder)
                else:
                    self.marked.add(one.id)
        return unmarked

    def remove_volumes(self) -> None:
        """Delete the volumes that did not go with their instances, and wait until they are gone."""
        waited, looks = 0.0, 0
        while True:
            found = self.listing_with_volumes()
            volumes = self.own(found, "volume")
            # One without a tag that goes with its instance is on its way for a moment longer.
            going = [
                one for one in found if one.id in self.lost and (one.state != "available" or looks < _LOOKS)
            ]
            looks += 1
            if not volumes and not going:
                return
            free = [
                one.id
                for one in volumes
                if one.state in ("available", "error") and one.id not in self.permanent
            ]
            for id in free:
                self.say(f"volume {id}: delete")
                self._forget([id])
                self._try(id, "ec2", "delete_volume", VolumeId=id)
            # Volumes of instances that were not ended stay with them.
            stuck = bool(self.own(found, "instance")) or (
                not going and {one.id for one in volumes} <= self.permanent
            )
            if stuck or waited >= self.wait_seconds:
                return
            self.sleep(0.0 if free and not set(free) & set(self.reasons) else self.poll_seconds)
            waited += self.poll_seconds

    def remove_the_rest(self) -> None:
        """Remove what costs nothing, but is ours: group, key, profile, role, files.

        All of it is needed by a cluster that still runs, and to look at one that cannot be ended.
        """
        found = self.listing()
        if any(one.kind == "instance" and one.ours and one.cluster == self.cluster for one in found):
            self.say("instances are still there: their group, key, role and files stay too")
            return
        for one in self.own(found, "security group"):
            self._remove_group(one)
        for one in self.own(found, "key pair"):
            self.say(f"key pair {one.id}: delete")
            self._try(one.id, "ec2", "delete_key_pair", KeyName=one.id)
        for one in self.own(found, "instance profile"):
            self._remove_profile(one.id)
        for one in self.own(found, "role"):
            self._remove_role(one.id)
        self._remove_files()

    def _remove_files(self) -> None:
        """Delete the files, the private key among them, once nothing in AWS can need them."""
        found = self.listing_with_volumes()
        home = self.home or Path.home()
        for one in found:
            # IAM goes on naming for some seconds what it has deleted.
            gone = one.kind in ("role", "instance profile") and one.id not in self.reasons
            if one.ours and one.cluster == self.cluster and one.kind != "file" and not gone:
                return
        folder = names.state_folder(self.aws.region, self.cluster, home)
        known = self.in_aws or bool(recorded_account(self.aws.region, self.cluster, home))
        for one in self.own(found, "file"):
            if Path(one.id) == folder and not known:
                self.reasons[one.id] = (
                    f"it does not say which account its cluster is in, and {whose_account(self.aws)} "
                    "has nothing of it; delete the folder yourself if the cluster is gone"
                )
                continue
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
        self._forget(ids)
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
                if error.code in PERMANENT:
                    self.permanent.add(id)
            return {}

    def _forget(self, ids: Iterable[str]) -> None:
        """Forget why something was refused before it is tried again."""
        for id in ids:
            self.reasons.pop(id, None)
            self.permanent.discard(id)
