"""What is made before the first node is narrow, tagged, and mended when it is called again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from rlx.cluster import names
from rlx.cluster.aws import Aws, AwsError
from rlx.cluster.errors import ClusterError
from rlx.cluster.load import load_cluster_text
from rlx.cluster.prepare import find_prepared, head_policy, prepare, reachable_from
from rlx.cluster.spec import AwsCluster
from tests.cluster.conftest import REGION, TEXT, changed
from tests.cluster.machines import group

BOUNDARY = "arn:aws:iam::123456789012:policy/rlx-cluster-boundary"


def make(aws: Aws, spec: AwsCluster) -> Any:
    return prepare(aws, spec, sleep=lambda seconds: None)


def rules(ec2: Any, id: str) -> set[tuple[str, int, int, str]]:
    (found,) = ec2.describe_security_groups(GroupIds=[id])["SecurityGroups"]
    return reachable_from(found)


def test_once_and_again(aws: Aws, ec2: Any, spec: AwsCluster, home: Path) -> None:
    waited: list[float] = []
    made = prepare(aws, spec, sleep=waited.append)
    assert waited == [15.0]
    assert rules(ec2, made.security_group) == {
        ("tcp", 22, 22, "203.0.113.7/32"),
        ("-1", -1, -1, made.security_group),
    }
    assert made.key_file == home / ".rlx/clusters/us-east-1/apex/key.pem"
    token = names.token_file(REGION, "apex", home)
    for secret in (made.key_file, token):
        assert secret.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" in made.key_file.read_text()
    before = (made.key_file.read_text(), token.read_text())
    assert prepare(aws, spec, sleep=waited.append) == made
    assert (made.key_file.read_text(), token.read_text()) == before
    assert waited == [15.0]
    assert find_prepared(aws, spec) == made


def test_a_new_address_replaces_the_old_one(aws: Aws, ec2: Any, spec: AwsCluster) -> None:
    id = make(aws, spec).security_group
    ec2.authorize_security_group_ingress(
        GroupId=id, CidrIp="0.0.0.0/0", IpProtocol="tcp", FromPort=6379, ToPort=6379
    )
    moved = load_cluster_text(changed(TEXT, allowed_address="198.51.100.0/24"), "c.yaml").on_aws("test")
    assert make(aws, moved).security_group == id
    assert rules(ec2, id) == {("tcp", 22, 22, "198.51.100.0/24"), ("-1", -1, -1, id)}


def test_a_wider_range_of_ports_is_seen(aws: Aws, ec2: Any, spec: AwsCluster) -> None:
    id = make(aws, spec).security_group
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": spec.allowed_address}]}
    ec2.revoke_security_group_ingress(GroupId=id, IpPermissions=[rule])
    ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=[{**rule, "ToPort": 65535}])
    make(aws, spec)
    assert rules(ec2, id) == {("tcp", 22, 22, "203.0.113.7/32"), ("-1", -1, -1, id)}


def test_a_move_that_fails_leaves_the_old_address(
    aws: Aws, ec2: Any, spec: AwsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = make(aws, spec).security_group
    before = rules(ec2, id)
    moved = load_cluster_text(changed(TEXT, allowed_address="198.51.100.0/24"), "c.yaml").on_aws("test")
    asked: list[str] = []
    real = Aws.call

    def call(self: Aws, service: str, name: str, region: str = "", **parameters: Any) -> Any:
        asked.append(name)
        if name == "authorize_security_group_ingress":
            assert len(parameters["IpPermissions"]) == 1  # what is there already is an error to AWS
            raise AwsError("refused")
        return real(self, service, name, region, **parameters)

    monkeypatch.setattr(Aws, "call", call)
    with pytest.raises(ClusterError, match="refused"):
        make(aws, moved)
    assert rules(ec2, id) == before
    assert "revoke_security_group_ingress" not in asked


def test_a_private_key_without_its_pair_is_not_overwritten(aws: Aws, ec2: Any, spec: AwsCluster) -> None:
    file = make(aws, spec).key_file
    before = file.read_text()
    ec2.delete_key_pair(KeyName="rlx-apex")
    with pytest.raises(ClusterError, match=r"no key pair rlx-apex; rlx cluster prepare"):
        find_prepared(aws, spec)
    with pytest.raises(ClusterError, match="a private key is here, and us-east-1 has no key pair rlx-apex"):
        make(aws, spec)
    assert file.read_text() == before


def test_what_render_needs_is_looked_at(aws: Aws, ec2: Any, spec: AwsCluster) -> None:
    id = make(aws, spec).security_group
    iam, name = boto3.client("iam"), "rlx-apex-us-east-1"
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    with pytest.raises(ClusterError, match=f"instance profile {name} lacks its role"):
        find_prepared(aws, spec)
    iam.delete_instance_profile(InstanceProfileName=name)
    with pytest.raises(ClusterError, match=f"no instance profile {name}"):
        find_prepared(aws, spec)
    ec2.delete_tags(Resources=[id], Tags=[{"Key": names.RLX_TAG}])
    with pytest.raises(ClusterError, match="security group rlx-apex is there, and is not this cluster's"):
        find_prepared(aws, spec)


def test_things_of_others_are_not_taken(aws: Aws, ec2: Any, spec: AwsCluster) -> None:
    id = group(ec2, "rlx-apex", None)
    with pytest.raises(ClusterError, match=r"security group rlx-apex is there, and is not this cluster's"):
        make(aws, spec)
    ec2.delete_security_group(GroupId=id)
    ec2.create_key_pair(KeyName="rlx-apex")
    with pytest.raises(ClusterError, match=r"key pair rlx-apex .* give the cluster another name"):
        make(aws, spec)
    ec2.delete_key_pair(KeyName="rlx-apex")
    iam = boto3.client("iam")
    iam.create_role(RoleName="rlx-apex-us-east-1", AssumeRolePolicyDocument="{}")
    with pytest.raises(ClusterError, match="role rlx-apex-us-east-1"):
        make(aws, spec)
    assert iam.list_role_policies(RoleName="rlx-apex-us-east-1")["PolicyNames"] == []


def test_a_key_whose_file_is_elsewhere(aws: Aws, spec: AwsCluster) -> None:
    made = make(aws, spec)
    made.key_file.unlink()
    with pytest.raises(ClusterError, match="private key is not here"):
        make(aws, spec)
    with pytest.raises(ClusterError, match=r"key\.pem: is missing"):
        find_prepared(aws, spec)


def test_nothing_prepared(aws: Aws, spec: AwsCluster) -> None:
    with pytest.raises(ClusterError, match="no security group rlx-apex; rlx cluster prepare makes it"):
        find_prepared(aws, spec)


def test_the_head_may_do_little(aws: Aws, spec: AwsCluster) -> None:
    make(aws, spec)
    iam = boto3.client("iam")
    found = iam.get_role_policy(RoleName="rlx-apex-us-east-1", PolicyName="rlx-head")["PolicyDocument"]
    assert found == head_policy(spec)
    assert iam.list_attached_role_policies(RoleName="rlx-apex-us-east-1")["AttachedPolicies"] == []
    role = iam.get_role(RoleName="rlx-apex-us-east-1")["Role"]
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY
    for statement in found["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert all("*" not in action for action in actions)
        if "ec2:TerminateInstances" in actions:
            tags = ("ec2:ResourceTag/ray-cluster-name", "ec2:ResourceTag/rlx-cluster")
            assert statement["Condition"] == {"StringEquals": dict.fromkeys(tags, "apex")}
        if any(action.startswith("s3:") for action in actions):
            assert "runs-of-ours" in json.dumps(statement["Resource"])


def test_storage_that_is_no_bucket_needs_no_right(spec: AwsCluster) -> None:
    shared = load_cluster_text(changed(TEXT, storage="/mnt/shared"), "c.yaml").on_aws("test")
    assert "s3:" not in json.dumps(head_policy(shared))


def test_without_the_boundary_no_role_is_made(aws: Aws, spec: AwsCluster) -> None:
    iam = boto3.client("iam")
    iam.delete_policy(PolicyArn=BOUNDARY)
    hint = r"an administrator makes it: aws iam create-policy --policy-name rlx-cluster-boundary"
    with pytest.raises(ClusterError, match=f"no policy rlx-cluster-boundary in this account; {hint}"):
        make(aws, spec)
    assert iam.list_roles(PathPrefix="/rlx/")["Roles"] == []


def test_a_role_from_before_the_boundary_is_not_used(aws: Aws, spec: AwsCluster) -> None:
    iam, name = boto3.client("iam"), "rlx-apex-us-east-1"
    iam.create_role(RoleName=name, Path="/rlx/us-east-1/apex/", AssumeRolePolicyDocument="{}")
    with pytest.raises(ClusterError, match=r"does not have the boundary .* rlx cluster down, then prepare"):
        make(aws, spec)
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == []


def test_the_address_of_whoever_calls(aws: Aws, ec2: Any) -> None:
    spec = load_cluster_text(changed(TEXT, allowed_address="auto"), "c.yaml").on_aws("test")
    id = make(aws, spec).security_group
    assert rules(ec2, id) == {("tcp", 22, 22, "203.0.113.7/32"), ("-1", -1, -1, id)}
