"""What is there of a cluster, or of all clusters: in AWS by tag and by name, and on this machine.

Asks, and changes nothing. A listing is the proof that nothing is left, so it looks at every state in which
something exists, at volumes whose instance is gone, and at the names that Ray's launcher makes where no tag
can be.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rlx.cluster import names
from rlx.cluster.aws import Aws, AwsError
from rlx.cluster.errors import ClusterError

#: In this order things can be removed.
KINDS = (
    "spot request",
    "instance",
    "volume",
    "security group",
    "key pair",
    "instance profile",
    "role",
    "file",
)
_EVERYWHERE = "all regions"
_HERE = "this machine"
_SHARED = "shared by all of Ray's clusters of this account; rlx never removes it"
NOT_OURS = "Ray's, not made by rlx, which leaves it"
UNTAGGED_VOLUME = "not tagged by rlx or Ray, so it may hold somebody's data and stays"
_RAY_KEY = re.compile(r"^ray-autoscaler(_\d+)?_[a-z]{2}(-[a-z]+)+-\d(\.pem)?$")
_ALIVE = ["pending", "running", "shutting-down", "stopping", "stopped"]


@dataclass(frozen=True)
class Leftover:
    """One thing that exists.

    Attributes:
        kind: one of `KINDS`.
        id: what AWS calls it; a path for files.
        place: region, all regions, or this machine.
        cluster: the cluster that it belongs to; empty if it is not one cluster's own.
        state: as AWS says it.
        bills: whether it costs money as it is.
        note: what costs, or why it is not removed.
        removable: whether `down` may remove it.
        ours: whether rlx made it, or it belongs to such a thing; Ray's launcher may have one of this name.
        holder: the instance that a volume hangs at.
    """

    kind: str
    id: str
    place: str
    cluster: str
    state: str = ""
    bills: bool = False
    note: str = ""
    removable: bool = True
    ours: bool = True
    holder: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return asdict(self)


def find_leftovers(
    aws: Aws,
    regions: Sequence[str],
    cluster: str | None = None,
    *,
    home: Path | None = None,
    unseen: dict[str, str] | None = None,
) -> list[Leftover]:
    """List what exists, of one cluster or of all.

    Args:
        aws: whom to ask.
        regions: where to look; IAM and this machine are looked at once.
        cluster: a name, or None for all clusters that rlx or Ray's launcher made.
        home: where keys and tokens are, by default the user's home.
        unseen: if given, filled with the places that AWS would not list, and why, instead of raising.

    Raises:
        ClusterError: AWS would not list something, and there is no `unseen`.
    """
    found: list[Leftover] = []
    steps: list[tuple[str, Callable[[], Iterator[Leftover]]]] = []
    for region in regions:
        for list_some in (_machines, _security_groups, _key_pairs):
            steps.append((region, partial(list_some, aws, region, cluster)))
    steps.append(("IAM", partial(_profiles_and_roles, aws, regions, cluster)))
    for place, step in steps:
        try:
            found += step()
        except ClusterError as error:
            if unseen is None:
                raise
            unseen.setdefault(place, error.what)
    found += local_files(cluster, regions, home=home)
    return sorted(found, key=lambda one: (one.place, one.cluster, KINDS.index(one.kind), one.id))


def all_regions(aws: Aws) -> list[str]:
    """List the regions that the account can use."""
    found = aws.items("ec2", "describe_regions", "Regions")
    return sorted(str(region["RegionName"]) for region in found)


def tag(resource: dict[str, Any], key: str) -> str:
    """Return the value of a tag; empty if there is none."""
    return next((str(tag["Value"]) for tag in resource.get("Tags") or () if tag["Key"] == key), "")


def made_by_rlx(resource: dict[str, Any]) -> bool:
    """Whether something has the tag of rlx, for the cluster that it belongs to."""
    owner = tag(resource, names.CLUSTER_TAG)
    return bool(owner) and tag(resource, names.RLX_TAG) == owner


def volumes_by_id(aws: Aws, region: str, cluster: str, ids: Iterable[str]) -> Iterator[Leftover]:
    """List those of some volumes that exist, whatever tags they have."""
    for query in _by_id("volume-id", ids):
        for volume in aws.items("ec2", "describe_volumes", "Volumes", region, Filters=[query]):
            note = f"{volume['Size']} GB: bills as long as it exists"
            yield Leftover(
                "volume", volume["VolumeId"], region, cluster, volume["State"], True, note, removable=False
            )


def _by_tag(cluster: str | None, key: str = names.CLUSTER_TAG) -> dict[str, Any]:
    """Make the filter for one cluster's tag, or for anybody's."""
    if cluster is None:
        return {"Name": "tag-key", "Values": [key]}
    return {"Name": f"tag:{key}", "Values": [cluster]}


def _instances(
    aws: Aws, region: str, cluster: str | None, requests: Iterable[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], str, bool]]:
    """Yield (instance, its cluster, whether it is ours): by tag, and started by a tagged spot request."""
    started = {one["InstanceId"]: one for one in requests if one.get("InstanceId")}
    alive = {"Name": "instance-state-name", "Values": _ALIVE}
    seen: set[str] = set()
    for query in (_by_tag(cluster), *_by_id("instance-id", started)):
        key, filters = "Reservations", [query, alive]
        for reservation in aws.items("ec2", "describe_instances", key, region, Filters=filters):
            for one in reservation["Instances"]:
                if one["InstanceId"] in seen:
                    continue
                seen.add(one["InstanceId"])
                owned = one if tag(one, names.CLUSTER_TAG) else started.get(one["InstanceId"], one)
                yield one, tag(owned, names.CLUSTER_TAG), made_by_rlx(owned)


def _machines(aws: Aws, region: str, cluster: str | None) -> Iterator[Leftover]:
    """List instances, and with their help the volumes and spot requests that have no tag."""
    # In all states: the instance of a cancelled request may run on.
    key, query = "SpotInstanceRequests", [_by_tag(cluster)]
    tagged = list(aws.items("ec2", "describe_spot_instance_requests", key, region, Filters=query))
    attached: dict[str, _Holder] = {}
    requested: dict[str, tuple[str, bool]] = {}
    for instance, owner, ours in _instances(aws, region, cluster, tagged):
        state = instance["State"]["Name"]
        spot = ", spot" if instance.get("InstanceLifecycle") == "spot" else ""
        what = f"{instance['InstanceType']}{spot}"
        runs = state in ("pending", "running")
        cost = f"{what}: bills by time" if runs else f"{what}: does not bill now, its volumes do"
        note = cost if ours else f"{cost}; {NOT_OURS}"
        yield Leftover("instance", instance["InstanceId"], region, owner, state, runs, note, ours, ours)
        for mapping in instance.get("BlockDeviceMappings") or ():
            if "Ebs" in mapping:
                goes = bool(mapping["Ebs"].get("DeleteOnTermination"))
                attached[mapping["Ebs"]["VolumeId"]] = _Holder(instance["InstanceId"], owner, ours, goes)
        if instance.get("SpotInstanceRequestId"):
            requested[instance["SpotInstanceRequestId"]] = owner, ours
    yield from _volumes(aws, region, cluster, attached)
    yield from _spot_requests(aws, region, tagged, requested)


@dataclass(frozen=True)
class _Holder:
    """The instance that a volume hangs at, and whether the volume goes with it."""

    id: str = ""
    cluster: str = ""
    ours: bool = False
    takes_it: bool = False


def _volumes(aws: Aws, region: str, cluster: str | None, attached: dict[str, _Holder]) -> Iterator[Leftover]:
    volumes: dict[str, dict[str, Any]] = {}
    queries = [_by_tag(cluster), _by_tag(cluster, names.ATTACHED_TAG), *_by_id("volume-id", attached)]
    for query in queries:
        for volume in aws.items("ec2", "describe_volumes", "Volumes", region, Filters=[query]):
            volumes[volume["VolumeId"]] = volume
    for id, volume in volumes.items():
        own, marked = tag(volume, names.CLUSTER_TAG), tag(volume, names.ATTACHED_TAG)
        if cluster and own not in ("", cluster):
            continue  # another cluster's, hung at an instance of this one
        holder = attached.get(id, _Holder())
        removable = made_by_rlx(volume) or (holder.ours and holder.takes_it)
        ours = removable or holder.ours or bool(marked)
        cost = f"{volume['Size']} GB: bills as long as it exists"
        if not removable:
            cost += f"; {UNTAGGED_VOLUME if ours else NOT_OURS}"
        owner = own or holder.cluster or marked
        yield Leftover("volume", id, region, owner, volume["State"], True, cost, removable, ours, holder.id)


def _spot_requests(
    aws: Aws, region: str, tagged: Iterable[dict[str, Any]], requested: dict[str, tuple[str, bool]]
) -> Iterator[Leftover]:
    requests = {one["SpotInstanceRequestId"]: one for one in tagged}
    key = "SpotInstanceRequests"
    for query in _by_id("spot-instance-request-id", requested):
        for one in aws.items("ec2", "describe_spot_instance_requests", key, region, Filters=[query]):
            requests[one["SpotInstanceRequestId"]] = one
    for id, request in requests.items():
        if request["State"] not in ("open", "active", "disabled"):
            continue
        may_start = request["State"] == "open" or request.get("Type") == "persistent"
        cost = "may start an instance at any time" if may_start else "its instance bills, not the request"
        holder, holder_ours = requested.get(id, ("", False))
        ours = made_by_rlx(request) or holder_ours
        note = cost if ours else f"{cost}; {NOT_OURS}"
        owner = tag(request, names.CLUSTER_TAG) or holder
        yield Leftover("spot request", id, region, owner, request["State"], may_start, note, ours, ours)


def _by_id(name: str, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Make filters for ids, 200 in each, as AWS permits. Ids that are gone are no error in a filter."""
    known = sorted(ids)
    return [{"Name": name, "Values": known[at : at + 200]} for at in range(0, len(known), 200)]


def _security_groups(aws: Aws, region: str, cluster: str | None) -> Iterator[Leftover]:
    prefixes = [names.ray_group_name(cluster or "*"), names.resource_name(cluster or "*")]
    groups: dict[str, dict[str, Any]] = {}
    for query in (_by_tag(cluster), {"Name": "group-name", "Values": prefixes}):
        for group in aws.items("ec2", "describe_security_groups", "SecurityGroups", region, Filters=[query]):
            groups[group["GroupId"]] = group
    for id, group in groups.items():
        tagged = tag(group, names.CLUSTER_TAG)
        if cluster and tagged not in ("", cluster):
            continue
        owner = tagged or group["GroupName"].removeprefix(f"{names.RAY_PREFIX}-").removeprefix("rlx-")
        world = any(
            "0.0.0.0/0" in address.values() or "::/0" in address.values()
            for rule in group.get("IpPermissions") or ()
            for address in [*(rule.get("IpRanges") or ()), *(rule.get("Ipv6Ranges") or ())]
        )
        note = "open to the whole internet" if world else ""
        ours = made_by_rlx(group)
        if not ours:
            why = NOT_OURS if tagged else "has the name, but not the tag, so it stays"
            note = "; ".join(filter(None, [note, why]))
        # One with our name and no tag stands in the way of `prepare`: it counts as left.
        left = ours or not tagged
        yield Leftover("security group", id, region, owner, group["GroupName"], False, note, ours, left)


def _key_pairs(aws: Aws, region: str, cluster: str | None) -> Iterator[Leftover]:
    wanted = [names.resource_name(cluster or "*"), f"{names.RAY_PREFIX}_*"]
    filters = [{"Name": "key-name", "Values": wanted}]
    for key in aws.items("ec2", "describe_key_pairs", "KeyPairs", region, Filters=filters):
        name, owner = str(key["KeyName"]), tag(key, names.CLUSTER_TAG)
        if _RAY_KEY.match(name):
            yield Leftover("key pair", name, region, "", "", False, _SHARED, False)
        elif owner and cluster in (None, owner):
            ours = made_by_rlx(key)
            yield Leftover("key pair", name, region, owner, "", False, "" if ours else NOT_OURS, ours, ours)
        elif name == names.resource_name(cluster or "") and not owner:
            note = "has the name, but not the tag, so it stays"
            yield Leftover("key pair", name, region, cluster or "", "", False, note, False)


def _profiles_and_roles(aws: Aws, regions: Sequence[str], cluster: str | None) -> Iterator[Leftover]:
    for kind, operation, key, name in (
        ("instance profile", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
        ("role", "list_roles", "Roles", "RoleName"),
    ):
        for one in aws.items("iam", operation, key, PathPrefix=names.IAM_PATH):
            region, _, owner = str(one["Path"]).removeprefix(names.IAM_PATH).strip("/").partition("/")
            if region in regions and cluster in (None, owner):
                yield Leftover(kind, one[name], region, owner)
    for kind, operation, parameter in (
        ("instance profile", "get_instance_profile", "InstanceProfileName"),
        ("role", "get_role", "RoleName"),
    ):
        try:
            aws.call("iam", operation, **{parameter: names.RAY_ROLE})
        except AwsError as error:
            if not error.not_found:
                raise
        else:
            yield Leftover(kind, names.RAY_ROLE, _EVERYWHERE, "", "", False, _SHARED, False)


def local_files(
    cluster: str | None = None, places: Sequence[str] | None = None, *, home: Path | None = None
) -> Iterator[Leftover]:
    """List keys, tokens and cached launcher state on this machine.

    Args:
        cluster: a name, or None for all.
        places: regions, or `on-premise`; None for all.
        home: by default the user's home.
    """
    home = home or Path.home()
    for file in sorted((home / ".ssh").glob("ray-autoscaler_*.pem")):
        if _RAY_KEY.match(file.name):
            yield Leftover("file", str(file), _HERE, "", "", False, _SHARED, False)
    for folder in sorted((home / ".rlx" / "clusters").glob("*/*")):
        if cluster in (None, folder.name) and (places is None or folder.parent.name in places):
            yield Leftover(
                "file", str(folder), _HERE, folder.name, "", False, "private key, token of its Ray"
            )
    temporary = Path(tempfile.gettempdir())
    for file in sorted(temporary.glob("ray-config-*")):
        owner, place, ours = _cached_cluster(file)
        if owner and cluster in (None, owner) and (places is None or place in places):
            note = "what Ray's launcher remembers" + ("" if ours else f"; {NOT_OURS}")
            yield Leftover("file", str(file), _HERE, owner, "", False, note, ours, ours)
    # Those have no place in them; Ray makes them for hosts only.
    if places is None or "on-premise" in places:
        for file in sorted([*temporary.glob("ray/cluster-*.state"), *temporary.glob("ray/cluster-*.lock")]):
            owner = file.stem.removeprefix("cluster-")
            if cluster in (None, owner):
                yield Leftover("file", str(file), _HERE, owner, "", False, "what Ray's launcher remembers")


def _cached_cluster(file: Path) -> tuple[str, str, bool]:
    """Return cluster, region and whether it is ours, of a file in which Ray's launcher caches, or ""."""
    try:
        text = file.read_text("utf-8")
        config = json.loads(text)["config"]
        place = str(config["provider"].get("region", "on-premise"))
        # Our launcher files tag all nodes; those for hosts have no tags.
        return str(config["cluster_name"]), place, place == "on-premise" or f'"{names.RLX_TAG}"' in text
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", "", False
