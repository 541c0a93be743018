"""After `down` the listing is empty, and what belongs to others is as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from rlx.cluster import names
from rlx.cluster.aws import Aws
from rlx.cluster.down import Outcome, take_down
from rlx.cluster.launcher import Local, render_aws
from rlx.cluster.leftovers import find_leftovers
from rlx.cluster.load import load_cluster_text
from rlx.cluster.prepare import prepare
from rlx.cluster.spec import AwsCluster
from tests.cluster.conftest import IMAGE, REGION, TEXT, changed
from tests.cluster.machines import group, plain_instance, start


def up(aws: Aws, ec2: Any, spec: AwsCluster, local: Local) -> list[str]:
    """Have a whole cluster: what is prepared, a head, two spot workers."""
    prepared = prepare(aws, spec, sleep=lambda seconds: None)
    launcher = render_aws(spec, prepared, local)
    return [*start(ec2, launcher), *start(ec2, launcher, "actors", 2)]


def down(aws: Aws, cluster: str = "apex", **more: Any) -> Outcome:
    return take_down(aws, cluster, sleep=lambda seconds: None, **more)


def test_a_whole_cluster_leaves_nothing(
    aws: Aws, ec2: Any, spec: AwsCluster, local: Local, home: Path
) -> None:
    up(aws, ec2, spec, local)
    before = find_leftovers(aws, [REGION], "apex")
    kinds = [one.kind for one in before if one.cluster == "apex"]
    assert kinds.count("instance") == 3
    assert {"volume", "security group", "key pair", "role", "instance profile", "file"} <= set(kinds)
    outcome = down(aws)
    assert outcome.standing == []
    assert outcome.reasons == {}
    assert find_leftovers(aws, [REGION], "apex") == []
    assert len(outcome.removed) == len(before)
    assert not names.state_folder(REGION, "apex", home).exists()
    assert not ec2.describe_volumes()["Volumes"]


def test_twice_is_fine_and_so_is_nothing_at_all(aws: Aws, ec2: Any, spec: AwsCluster, local: Local) -> None:
    assert down(aws).before == []
    up(aws, ec2, spec, local)
    assert down(aws).standing == []
    again = down(aws)
    assert (again.before, again.after, again.reasons) == ([], [], {})


def test_another_cluster_beside_ours_stays_whole(
    aws: Aws, ec2: Any, spec: AwsCluster, local: Local, home: Path
) -> None:
    # Names that contain ours, the same name in another region, and Ray's own things.
    for name in ("apex2", "ape", "my-apex"):
        other = load_cluster_text(changed(TEXT, name=name), "other.yaml").on_aws("test")
        up(aws, ec2, other, local)
    west = load_cluster_text(changed(TEXT, region="us-west-2", zones="[us-west-2a]"), "w.yaml").on_aws("test")
    prepare(Aws("us-west-2"), west, sleep=lambda seconds: None)
    plain_instance(ec2, "somebodys")
    group(ec2, "ray-autoscaler-somebodys", "somebodys")
    ec2.create_key_pair(KeyName="ray-autoscaler_us-east-1")
    iam = boto3.client("iam")
    iam.create_role(RoleName="ray-autoscaler-v1", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="ray-autoscaler-v1")
    (home / ".ssh").mkdir()
    (home / ".ssh/ray-autoscaler_us-east-1.pem").write_text("key")
    (home / ".ssh/rlx-apex.pem").write_text("somebody's own")
    ec2.create_volume(AvailabilityZone="us-east-1a", Size=7)  # nobody's tag

    up(aws, ec2, spec, local)
    regions = [REGION, "us-west-2"]
    theirs = [
        one for one in find_leftovers(aws, regions) if not (one.cluster == "apex" and one.place == REGION)
    ]
    theirs = [one for one in theirs if one.id != str(names.state_folder(REGION, "apex", home))]
    assert down(aws).standing == []
    assert find_leftovers(aws, regions) == theirs
    assert {"apex2", "ape", "my-apex", "somebodys", "apex", ""} == {one.cluster for one in theirs}
    assert (home / ".ssh/rlx-apex.pem").exists()
    assert len(ec2.describe_volumes(Filters=[{"Name": "size", "Values": ["7"]}])["Volumes"]) == 1


def test_what_ray_makes_by_itself_for_this_cluster_goes_too(aws: Aws, ec2: Any, home: Path) -> None:
    plain_instance(ec2, "apex")
    stopped = plain_instance(ec2, "apex")
    ec2.stop_instances(InstanceIds=[stopped])
    group(ec2, "ray-autoscaler-apex", "apex")
    cache = home.parent / "tmp/ray-config-0123"
    resolved = {"cluster_name": "apex", "provider": {"type": "aws", "region": REGION}}
    cache.write_text(json.dumps({"_version": 1, "config": resolved}))
    assert {one.state for one in find_leftovers(aws, [REGION], "apex") if one.kind == "instance"} == {
        "running",
        "stopped",
    }
    assert down(aws).standing == []
    assert not cache.exists()


def test_a_volume_with_unknown_data_stays_and_is_still_found_later(aws: Aws, ec2: Any) -> None:
    id = plain_instance(ec2, "apex")
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=9)["VolumeId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=id, Device="/dev/sdf")
    outcome = down(aws)
    assert [one.id for one in outcome.billing] == [volume]
    assert "somebody's data" in outcome.standing[0].note
    again = down(aws)  # its instance is gone by now
    assert [(one.id, one.state) for one in again.billing] == [(volume, "available")]
    assert "9 GB" in again.billing[0].note
    assert down(aws, "other").standing == []


def test_an_open_spot_request_is_cancelled(aws: Aws, ec2: Any) -> None:
    tags = [{"Key": names.CLUSTER_TAG, "Value": "apex"}]
    request = ec2.request_spot_instances(
        InstanceCount=1,
        LaunchSpecification={"ImageId": IMAGE, "InstanceType": "m5.large"},
        TagSpecifications=[{"ResourceType": "spot-instances-request", "Tags": tags}],
    )["SpotInstanceRequests"][0]["SpotInstanceRequestId"]
    outcome = down(aws)
    assert request in [one.id for one in outcome.removed]
    assert outcome.standing == []


def test_a_volume_that_did_not_go_with_its_instance_is_deleted(aws: Aws, ec2: Any) -> None:
    tags = [{"Key": names.CLUSTER_TAG, "Value": "apex"}]
    ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=9, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )
    outcome = down(aws)
    assert [one.kind for one in outcome.removed] == ["volume"]
    assert outcome.standing == []


def test_what_aws_refuses_is_left_with_its_reason(aws: Aws, ec2: Any) -> None:
    protected = plain_instance(ec2, "apex")
    ec2.modify_instance_attribute(InstanceId=protected, DisableApiTermination={"Value": True})
    ended = plain_instance(ec2, "apex")
    outcome = down(aws, wait_seconds=10.0)
    assert [one.id for one in outcome.standing if one.kind == "instance"] == [protected]
    assert ended in [one.id for one in outcome.removed]
    assert "terminate" in outcome.reasons[protected].lower()
    assert outcome.billing


def test_iam_that_names_for_a_while_what_it_has_deleted(
    aws: Aws, spec: AwsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(aws, spec, sleep=lambda seconds: None)
    real, stale = Aws.items, list(aws.items("iam", "list_roles", "Roles", PathPrefix="/rlx/"))
    listings = 0

    def items(self: Aws, service: str, operation: str, *args: Any, **kwargs: Any) -> Any:
        nonlocal listings
        listings += operation == "list_roles"
        late = operation == "list_roles" and listings < 6
        return iter(stale) if late else real(self, service, operation, *args, **kwargs)

    monkeypatch.setattr(Aws, "items", items)
    outcome = down(aws)
    assert listings == 6
    assert outcome.standing == []


def test_a_node_that_the_head_starts_meanwhile_is_ended_too(
    aws: Aws, ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_instance(ec2, "apex")
    late: list[str] = []
    real = Aws.items

    def slow(self: Aws, service: str, operation: str, *args: Any, **kwargs: Any) -> Any:
        yield from list(real(self, service, operation, *args, **kwargs))
        if operation == "describe_instances" and not late:
            late.append(plain_instance(ec2, "apex"))

    monkeypatch.setattr(Aws, "items", slow)
    outcome = down(aws)
    assert late
    assert outcome.standing == []
    states = [i["State"]["Name"] for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    assert states == ["terminated", "terminated"]
