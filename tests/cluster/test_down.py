"""After `down` the listing is empty, and what belongs to others is as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from rlx.cluster import names
from rlx.cluster.aws import Aws, AwsError
from rlx.cluster.down import Outcome, take_down
from rlx.cluster.errors import ClusterError
from rlx.cluster.launcher import Local, render_aws
from rlx.cluster.launcher import tags as launcher_tags
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


def alive(ec2: Any) -> list[str]:
    """List what runs, or may run again."""
    found = [one for r in ec2.describe_instances()["Reservations"] for one in r["Instances"]]
    return [one["InstanceId"] for one in found if one["State"]["Name"] != "terminated"]


def refuse(monkeypatch: pytest.MonkeyPatch, operation: str, code: str, times: int = 10**6) -> list[str]:
    """Let AWS refuse a call some times; each refusal."""
    real = Aws.call
    refused: list[str] = []

    def call(self: Aws, service: str, name: str, region: str = "", **parameters: Any) -> Any:
        if name == operation and len(refused) < times:
            refused.append(name)
            raise AwsError(f"{name} refused", code=code)
        return real(self, service, name, region, **parameters)

    monkeypatch.setattr(Aws, "call", call)
    return refused


def in_account(monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    """Have the credentials of another account."""
    monkeypatch.setenv("MOTO_ACCOUNT_ID", account)


def test_the_wrong_account_is_refused_and_the_key_stays(
    aws: Aws, ec2: Any, spec: AwsCluster, local: Local, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = up(aws, ec2, spec, local)
    in_account(monkeypatch, "999999999999")
    with pytest.raises(ClusterError, match=r"apex is in account 123456789012, .* of account 999999999999"):
        down(Aws(REGION))
    assert names.key_file(REGION, "apex", home).is_file()
    with pytest.raises(ClusterError, match="is in account 123456789012"):
        prepare(Aws(REGION), spec, sleep=lambda seconds: None)
    # Nothing is written down, and nothing is there: the key is not deleted either.
    names.account_file(REGION, "apex", home).unlink()
    outcome = down(Aws(REGION))
    assert [one.kind for one in outcome.standing] == ["file"]
    assert "which account" in outcome.reasons[outcome.standing[0].id]
    assert names.key_file(REGION, "apex", home).is_file()
    in_account(monkeypatch, "123456789012")
    assert sorted(alive(ec2)) == sorted(nodes)
    assert down(aws).standing == []
    assert not names.state_folder(REGION, "apex", home).exists()


def test_the_wrong_region_is_refused(aws: Aws, ec2: Any, spec: AwsCluster, local: Local, home: Path) -> None:
    nodes = up(aws, ec2, spec, local)
    with pytest.raises(
        ClusterError, match=r"nothing of apex is here; .* it is in us-east-1; .*--region us-east-1"
    ):
        down(Aws("us-west-2"))
    assert sorted(alive(ec2)) == sorted(nodes)
    assert names.key_file(REGION, "apex", home).is_file()
    # What is there is removed all the same.
    plain_instance(boto3.client("ec2", region_name="us-west-2"), "apex")
    assert down(Aws("us-west-2")).standing == []
    assert sorted(alive(ec2)) == sorted(nodes)


def keep(ec2: Any, id: str) -> str:
    """Hang a volume at an instance, which stays when that ends; the volume."""
    volume = str(ec2.create_volume(AvailabilityZone="us-east-1a", Size=9)["VolumeId"])
    ec2.attach_volume(VolumeId=volume, InstanceId=id, Device="/dev/sdf")
    return volume


def test_a_volume_of_a_node_that_comes_late_is_marked_too(
    aws: Aws, ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_instance(ec2, "apex")
    late: list[str] = []
    real = Aws.call

    def call(self: Aws, service: str, name: str, region: str = "", **parameters: Any) -> Any:
        if name == "terminate_instances" and not late:
            late.append(keep(ec2, plain_instance(ec2, "apex")))
        return real(self, service, name, region, **parameters)

    monkeypatch.setattr(Aws, "call", call)
    assert [one.id for one in down(aws).billing] == late
    assert [one.id for one in down(aws).billing] == late


def test_an_instance_whose_volume_cannot_be_marked_is_not_ended(
    aws: Aws, ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    id, other = plain_instance(ec2, "apex"), plain_instance(ec2, "apex")
    volume = keep(ec2, id)
    refuse(monkeypatch, "create_tags", "UnauthorizedOperation")
    outcome = down(aws)
    assert alive(ec2) == [id]
    assert {id, volume} <= {one.id for one in outcome.billing}
    assert other in [one.id for one in outcome.removed]
    assert volume in outcome.reasons[id]


def test_a_volume_without_a_tag_that_should_have_gone_is_looked_up(
    aws: Aws, ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = plain_instance(ec2, "apex")
    (root,) = (one["VolumeId"] for one in ec2.describe_volumes()["Volumes"])
    real = Aws.call

    def call(self: Aws, service: str, name: str, region: str = "", **parameters: Any) -> Any:
        if name == "terminate_instances":
            # Somebody takes it off a moment before: AWS leaves it, and nothing points at it any more.
            ec2.detach_volume(VolumeId=root, InstanceId=id)
        return real(self, service, name, region, **parameters)

    monkeypatch.setattr(Aws, "call", call)
    outcome = down(aws)
    assert [one.id for one in outcome.billing] == [root]
    assert root not in [one.id for one in outcome.removed]


def test_a_volume_that_goes_a_little_later_is_waited_for(
    aws: Aws, ec2: Any, spec: AwsCluster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(aws, spec, sleep=lambda seconds: None)
    plain_instance(ec2, "apex")
    (root,) = ec2.describe_volumes()["Volumes"]
    real, late = Aws.items, 3

    def items(self: Aws, service: str, operation: str, key: str, region: str = "", **more: Any) -> Any:
        nonlocal late
        by_id = operation == "describe_volumes" and more["Filters"][0]["Name"] == "volume-id"
        if by_id and late and not alive(ec2):
            late -= 1
            return iter([{**root, "State": "deleting"}])
        return real(self, service, operation, key, region, **more)

    monkeypatch.setattr(Aws, "items", items)
    outcome = down(aws)
    assert late == 0
    assert (outcome.standing, outcome.reasons) == ([], {})
    assert not names.state_folder(REGION, "apex", home).exists()


def test_a_cluster_that_goes_on_running_keeps_all_it_needs(
    aws: Aws, ec2: Any, spec: AwsCluster, local: Local, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(aws, ec2, spec, local)
    before = find_leftovers(aws, [REGION], "apex")
    refuse(monkeypatch, "terminate_instances", "UnauthorizedOperation")
    waited: list[float] = []
    outcome = take_down(aws, "apex", sleep=waited.append)
    assert sum(waited) <= 60.0  # no second try would help
    kinds = ("instance", "security group", "key pair", "role", "instance profile", "file")
    assert [one for one in outcome.after if one.kind in kinds] == [one for one in before if one.kind in kinds]
    assert names.key_file(REGION, "apex", home).is_file()


def test_a_passing_refusal_is_tried_again(aws: Aws, ec2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_instance(ec2, "apex")
    refused = refuse(monkeypatch, "terminate_instances", "RequestLimitExceeded", times=4)
    outcome = down(aws)
    assert len(refused) == 4
    assert (outcome.standing, outcome.reasons) == ([], {})


def test_a_cluster_of_ray_with_the_same_name_is_left(
    aws: Aws, ec2: Any, spec: AwsCluster, home: Path
) -> None:
    theirs = plain_instance(ec2, "apex", ours=False)
    group(ec2, "ray-autoscaler-apex", "apex", ours=False)
    ec2.create_volume(
        AvailabilityZone="us-east-1a",
        Size=9,
        TagSpecifications=[{"ResourceType": "volume", "Tags": launcher_tags("apex")[:1]}],
    )
    cache = home.parent / "tmp/ray-config-0123"
    cache.write_text(json.dumps({"config": {"cluster_name": "apex", "provider": {"region": REGION}}}))
    with pytest.raises(ClusterError, match=f"rlx did not make has nodes: {theirs}"):
        prepare(aws, spec, sleep=lambda seconds: None)
    before = find_leftovers(aws, [REGION], "apex")
    assert {one.kind for one in before} == {"instance", "volume", "security group", "file"}
    assert all("not made by rlx" in one.note and not one.removable for one in before)
    outcome = down(aws)
    assert (outcome.standing, outcome.removed) == ([], [])
    assert outcome.not_ours == before
    assert alive(ec2) == [theirs]


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


def test_what_ray_makes_with_our_tag_for_this_cluster_goes_too(aws: Aws, ec2: Any, home: Path) -> None:
    plain_instance(ec2, "apex")
    stopped = plain_instance(ec2, "apex")
    ec2.stop_instances(InstanceIds=[stopped])
    group(ec2, "ray-autoscaler-apex", "apex")
    cache = home.parent / "tmp/ray-config-0123"
    resolved = {
        "cluster_name": "apex",
        "provider": {"type": "aws", "region": REGION},
        "tags": ["rlx-cluster"],
    }
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
    tags = launcher_tags("apex")
    request = ec2.request_spot_instances(
        InstanceCount=1,
        LaunchSpecification={"ImageId": IMAGE, "InstanceType": "m5.large"},
        TagSpecifications=[{"ResourceType": "spot-instances-request", "Tags": tags}],
    )["SpotInstanceRequests"][0]["SpotInstanceRequestId"]
    outcome = down(aws)
    assert request in [one.id for one in outcome.removed]
    assert outcome.standing == []
    # The instance that it started has no tag.
    assert alive(ec2) == []


def test_a_volume_that_did_not_go_with_its_instance_is_deleted(aws: Aws, ec2: Any) -> None:
    tags = launcher_tags("apex")
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
