"""The listing finds each kind of thing, says what costs, and mixes no clusters up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from rlx.cluster.aws import Aws
from rlx.cluster.launcher import Local, render_aws
from rlx.cluster.launcher import tags as launcher_tags
from rlx.cluster.leftovers import KINDS, Leftover, all_regions, find_leftovers
from rlx.cluster.prepare import prepare
from rlx.cluster.spec import AwsCluster
from tests.cluster.conftest import IMAGE, REGION
from tests.cluster.machines import group, plain_instance, start


def listing(aws: Aws, cluster: str | None = "apex") -> dict[str, list[Leftover]]:
    """List by kind."""
    found = find_leftovers(aws, [REGION], cluster)
    return {kind: [one for one in found if one.kind == kind] for kind in KINDS}


def test_an_empty_account(aws: Aws) -> None:
    assert find_leftovers(aws, [REGION]) == []
    assert find_leftovers(aws, [REGION], "apex") == []


@pytest.mark.parametrize("state", ["running", "stopped", "terminated"])
def test_instances_in_every_state(aws: Aws, ec2: Any, state: str) -> None:
    id = plain_instance(ec2, "apex")
    if state == "stopped":
        ec2.stop_instances(InstanceIds=[id])
    if state == "terminated":
        ec2.terminate_instances(InstanceIds=[id])
    found = listing(aws)
    if state == "terminated":
        assert found["instance"] == []
        return
    (instance,) = found["instance"]
    assert (instance.id, instance.state, instance.cluster) == (id, state, "apex")
    assert instance.bills == (state == "running")
    # The disk of a stopped instance goes on costing money, with or without a tag.
    (volume,) = found["volume"]
    assert volume.bills
    assert volume.cluster == "apex"
    assert "GB: bills as long as it exists" in volume.note


def test_volumes_and_spot_requests_of_the_launcher_file_are_tagged(
    aws: Aws, ec2: Any, spec: AwsCluster, local: Local
) -> None:
    launcher = render_aws(spec, prepare(aws, spec, sleep=lambda seconds: None), local)
    start(ec2, launcher, "actors", 2)
    volumes = ec2.describe_volumes()["Volumes"]
    assert len(volumes) == 2
    assert all({"Key": "ray-cluster-name", "Value": "apex"} in volume["Tags"] for volume in volumes)
    reservations = ec2.describe_instances()["Reservations"]
    disks = [one["BlockDeviceMappings"][0]["Ebs"] for r in reservations for one in r["Instances"]]
    assert [disk["DeleteOnTermination"] for disk in disks] == [True, True]
    assert [one.removable for one in listing(aws)["volume"]] == [True, True]


def test_spot_requests(aws: Aws, ec2: Any) -> None:
    tags = launcher_tags("apex")
    ec2.request_spot_instances(
        InstanceCount=1,
        LaunchSpecification={"ImageId": IMAGE, "InstanceType": "m5.large"},
        TagSpecifications=[{"ResourceType": "spot-instances-request", "Tags": tags}],
    )
    (request,) = listing(aws)["spot request"]
    assert request.cluster == "apex"
    assert request.state in ("open", "active")
    assert listing(aws, "other")["spot request"] == []


def test_security_groups_by_tag_and_by_name(aws: Aws, ec2: Any) -> None:
    ours = group(ec2, "ray-autoscaler-apex", "apex")
    untagged = group(ec2, "rlx-apex", None, cidr="203.0.113.7/32")
    theirs = group(ec2, "ray-autoscaler-apex-2", "apex-2")
    found = {one.id: one for one in listing(aws)["security group"]}
    assert set(found) == {ours, untagged}
    assert found[ours].removable
    assert found[ours].note == "open to the whole internet"
    assert not found[untagged].removable
    assert {one.id for one in listing(aws, None)["security group"]} == {ours, untagged, theirs}


def test_key_pairs(aws: Aws, ec2: Any, spec: AwsCluster) -> None:
    ec2.create_key_pair(KeyName="ray-autoscaler_us-east-1")
    ec2.create_key_pair(KeyName="ray-autoscaler_1_us-east-1")
    ec2.create_key_pair(KeyName="ray-autoscaler-mine")
    ec2.create_key_pair(KeyName="rlx-other")
    prepare(aws, spec, sleep=lambda seconds: None)
    found = {one.id: one for one in listing(aws)["key pair"]}
    assert set(found) == {"rlx-apex", "ray-autoscaler_us-east-1", "ray-autoscaler_1_us-east-1"}
    assert found["rlx-apex"].removable
    assert [one.id for one in found.values() if "shared" in one.note and not one.cluster] == [
        "ray-autoscaler_1_us-east-1",
        "ray-autoscaler_us-east-1",
    ]


def test_roles_and_profiles(aws: Aws, spec: AwsCluster) -> None:
    prepare(aws, spec, sleep=lambda seconds: None)
    iam = boto3.client("iam")
    iam.create_role(RoleName="ray-autoscaler-v1", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="ray-autoscaler-v1")
    iam.create_role(RoleName="rlx-apex", AssumeRolePolicyDocument="{}")  # not on our path: somebody's
    for kind in ("role", "instance profile"):
        found = {one.id: one for one in listing(aws)[kind]}
        assert set(found) == {"rlx-apex-us-east-1", "ray-autoscaler-v1"}
        assert found["rlx-apex-us-east-1"].cluster == "apex"
        assert found["ray-autoscaler-v1"].cluster == ""
        assert not found["ray-autoscaler-v1"].removable


def test_files_of_this_machine(aws: Aws, spec: AwsCluster, home: Path) -> None:
    prepare(aws, spec, sleep=lambda seconds: None)
    temporary = home.parent / "tmp"
    for index, (name, region) in enumerate([("apex", REGION), ("apex", "eu-west-1"), ("other", REGION)]):
        config = {"cluster_name": name, "provider": {"type": "aws", "region": region}}
        (temporary / f"ray-config-{index}").write_text(json.dumps({"config": config}))
    (temporary / "ray-config-torn").write_text('{"config": {')
    found = [one.id for one in listing(aws)["file"]]
    assert found == [str(home / ".rlx/clusters/us-east-1/apex"), str(temporary / "ray-config-0")]
    assert len(listing(aws, None)["file"]) == 3


def test_all_regions_finds_a_cluster_whose_file_is_lost(aws: Aws, cloud: None) -> None:
    plain_instance(boto3.client("ec2", region_name="ap-south-1"), "lost", ImageId=IMAGE)
    regions = all_regions(aws)
    assert {"us-east-1", "ap-south-1"} <= set(regions)
    found = find_leftovers(aws, regions)
    assert {(one.kind, one.place, one.cluster) for one in found} == {
        ("instance", "ap-south-1", "lost"),
        ("volume", "ap-south-1", "lost"),
    }
