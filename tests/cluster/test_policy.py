"""cluster/iam-policy.json covers every call that is made, and permits nothing that is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import yaml

from rlx.cluster.aws import Aws
from rlx.cluster.check import check_cluster
from rlx.cluster.down import take_down
from rlx.cluster.launcher import Local, as_yaml, render_aws
from rlx.cluster.launcher import tags as launcher_tags
from rlx.cluster.leftovers import all_regions, find_leftovers
from rlx.cluster.load import ClusterFile, load_cluster_text
from rlx.cluster.prepare import find_prepared, head_policy, prepare
from tests.cluster.conftest import IMAGE, REGION, TEXT, VERSIONS, changed
from tests.cluster.machines import plain_instance, settle, start_as_ray_does

ROOT = Path(__file__).resolve().parents[2]
POLICY = json.loads((ROOT / "cluster/iam-policy.json").read_text())

#: What AWS asks for beside calls that are recorded: no call has these names.
NOT_CALLS = {
    "iam:PassRole",  # to start an instance with an instance profile
    "iam:CreateServiceLinkedRole",  # at the account's first spot instance
}


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def actions(policy: dict[str, Any]) -> set[str]:
    """Return what a policy permits."""
    allowed = [statement for statement in policy["Statement"] if statement["Effect"] == "Allow"]
    return {action for statement in allowed for action in listed(statement["Action"])}


def named(calls: list[tuple[str, str]]) -> set[str]:
    """Turn calls into the actions that AWS asks for."""
    found = {f"{service.replace('-', '')}:{operation}" for service, operation in calls}
    return {"s3:ListBucket" if action == "s3:HeadBucket" else action for action in found}


def record_default_session(calls: list[tuple[str, str]]) -> None:
    """Record the calls of Ray's provider too, which uses boto3's default session."""
    boto3.setup_default_session()

    def note(model: Any, **_: Any) -> None:
        calls.append((model.service_model.service_name, model.name))

    boto3.DEFAULT_SESSION.events.register("before-call", note)


def test_every_call_is_permitted_and_nothing_else(
    calls: list[tuple[str, str]], aws: Aws, ec2: Any, file: ClusterFile, local: Local
) -> None:
    spec = file.on_aws("test")
    s3 = boto3.client("s3", region_name=REGION)
    s3.create_bucket(Bucket="runs-of-ours")
    check_cluster(aws, file, VERSIONS, None)
    prepare(aws, spec, sleep=lambda seconds: None)
    moved = load_cluster_text(changed(TEXT, allowed_address="198.51.100.0/24"), "c.yaml").on_aws("test")
    prepare(aws, moved, sleep=lambda seconds: None)
    with_subnet = (
        changed(TEXT, zones="[us-east-1a]")
        + f"subnets: [{ec2.describe_subnets()['Subnets'][0]['SubnetId']}]\n"
    )
    check_cluster(aws, load_cluster_text(with_subnet, "c.yaml"), VERSIONS, None)
    launcher = yaml.safe_load(as_yaml(render_aws(spec, find_prepared(aws, spec), local), "apex.yaml"))

    ours = list(calls)
    record_default_session(calls)
    start_as_ray_does(settle(launcher), ("head", "actors"))
    boto3.setup_default_session()
    assert "ec2:RunInstances" in named(calls[len(ours) :])

    tags = launcher_tags("apex")
    ec2.request_spot_instances(
        InstanceCount=1,
        LaunchSpecification={"ImageId": IMAGE, "InstanceType": "m5.large"},
        TagSpecifications=[{"ResourceType": "spot-instances-request", "Tags": tags}],
    )
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=9)["VolumeId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=plain_instance(ec2, "apex"), Device="/dev/sdf")
    ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=9, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )
    take_down(aws, "apex", sleep=lambda seconds: None)
    assert REGION in all_regions(aws)
    find_leftovers(aws, [REGION])
    made = named(calls)
    assert {"ec2:CancelSpotInstanceRequests", "ec2:CreateTags", "ec2:DeleteVolume", "iam:DeleteRole"} <= made
    permitted = actions(POLICY)
    assert made - permitted == set()
    assert permitted - made == NOT_CALLS


def test_what_is_changed_is_limited() -> None:
    for statement in POLICY["Statement"]:
        if statement["Effect"] == "Deny":
            continue
        for action in listed(statement["Action"]):
            assert "*" not in action
            changes = not action.split(":")[1].startswith(("Describe", "List", "Get"))
            if changes and action.startswith("iam:"):
                assert all(
                    "/rlx/" in one or "/spot.amazonaws.com/" in one for one in listed(statement["Resource"])
                )
            if changes and action.split(":")[1].startswith(("Delete", "Terminate", "Cancel", "Revoke")):
                assert statement["Resource"] != "*"
                assert action.startswith("iam:") or "Condition" in statement
    (bucket,) = (one for one in POLICY["Statement"] if "s3:ListBucket" in listed(one["Action"]))
    assert bucket["Resource"] == "arn:aws:s3:::my-bucket"
    (passed,) = (one for one in POLICY["Statement"] if "iam:PassRole" in listed(one["Action"]))
    assert passed["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    assert passed["Resource"] == "arn:aws:iam::*:role/rlx/*"


def test_the_head_s_role_covers_what_ray_does_there(
    calls: list[tuple[str, str]], aws: Aws, file: ClusterFile, local: Local
) -> None:
    spec = file.on_aws("test")
    launcher = yaml.safe_load(
        as_yaml(render_aws(spec, prepare(aws, spec, sleep=lambda seconds: None), local), "c")
    )
    config = settle(launcher)
    calls.clear()
    record_default_session(calls)
    from ray.autoscaler._private.aws.utils import client_cache, resource_cache

    for cache in (client_cache, resource_cache):
        cache.cache_clear()
    provider = start_as_ray_does(config, ("actors",))
    (node,) = provider.non_terminated_nodes({})
    provider.set_node_tags(node, {"ray-node-status": "up-to-date"})
    provider.terminate_nodes([node])
    boto3.setup_default_session()
    assert {"ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances"} <= named(calls)
    assert named(calls) <= actions(head_policy(spec))
