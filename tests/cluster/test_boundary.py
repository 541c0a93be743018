"""The user of rlx cannot give itself more through a role: the shipped documents, read as IAM reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlx.cluster.boundary import NAME
from rlx.cluster.load import load_cluster_text
from rlx.cluster.prepare import head_policy
from tests.cluster.conftest import TEXT, boundary_document
from tests.cluster.iam import listed, permitted

ROOT = Path(__file__).resolve().parents[2]
USER = json.loads((ROOT / "cluster/iam-policy.json").read_text())
BOUNDARY = json.loads(boundary_document())
ADMIN = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}

ARN = f"arn:aws:iam::123456789012:policy/{NAME}"
ROLE = "arn:aws:iam::123456789012:role/rlx/us-east-1/apex/rlx-apex-us-east-1"
INSTANCE = "arn:aws:ec2:us-east-1:123456789012:instance/i-1"
OURS = {"ray-cluster-name": "apex", "rlx-cluster": "apex"}
WITH = {"iam:PermissionsBoundary": ARN}


@pytest.mark.parametrize("action", ["iam:CreateRole", "iam:PutRolePolicy"])
def test_roles_are_made_within_the_boundary_only(action: str) -> None:
    assert permitted([USER], action, ROLE, WITH)
    assert not permitted([USER], action, ROLE)
    for other in ("arn:aws:iam::aws:policy/AdministratorAccess", f"{ARN}-2", "arn:aws:iam::1:policy/x"):
        assert not permitted([USER], action, ROLE, {"iam:PermissionsBoundary": other})
    assert not permitted([USER], action, "arn:aws:iam::123456789012:role/admin", WITH)


@pytest.mark.parametrize("others", [[], [ADMIN]], ids=["alone", "beside an administrator's policy"])
def test_the_boundary_stays_what_it_is(others: list[Any]) -> None:
    for action in (
        *("CreatePolicy", "CreatePolicyVersion", "DeletePolicy", "DeletePolicyVersion"),
        "SetDefaultPolicyVersion",
    ):
        assert not permitted([USER, *others], f"iam:{action}", ARN)
    for action in ("DeleteRolePermissionsBoundary", "PutRolePermissionsBoundary"):
        assert not permitted([USER, *others], f"iam:{action}", ROLE, WITH)
    for action in ("AttachRolePolicy", "CreateRole", "PutRolePolicy"):
        assert not permitted([USER, *others], f"iam:{action}", ROLE)


def test_no_other_way_up() -> None:
    """Rights by which a user could take those of others: it has none of them."""
    user = "arn:aws:iam::123456789012:user/rlx"
    for action in (
        *("AttachRolePolicy", "AttachUserPolicy", "PutUserPolicy", "AddUserToGroup", "CreateAccessKey"),
        *("CreateLoginProfile", "UpdateAssumeRolePolicy", "CreateUser"),
    ):
        for resource in (user, ROLE):
            assert not permitted([USER], f"iam:{action}", resource, WITH), action
    passed = {"iam:PassedToService": "ec2.amazonaws.com"}
    assert permitted([USER], "iam:PassRole", ROLE, passed)
    assert not permitted([USER], "iam:PassRole", "arn:aws:iam::123456789012:role/admin", passed)
    assert not permitted([USER], "iam:PassRole", ROLE, {"iam:PassedToService": "lambda.amazonaws.com"})


def as_role(action: str, resource: str, tags: dict[str, str] | None = None, key: str = "") -> bool:
    """Return whether a role whose own policy permits everything may do something, within the boundary."""
    context = {f"{key}/{name}": value for name, value in (tags or {}).items()}
    return permitted([ADMIN], action, resource, context, boundary=BOUNDARY)


def test_a_role_with_every_right_may_do_what_the_boundary_permits() -> None:
    for action in ("iam:CreateUser", "iam:PutRolePolicy", "iam:PassRole", "sts:AssumeRole", "kms:Decrypt"):
        assert not as_role(action, "*")
    end = "ec2:TerminateInstances"
    assert as_role(end, INSTANCE, OURS, "ec2:ResourceTag")
    assert not as_role(end, INSTANCE, {"ray-cluster-name": "apex"}, "ec2:ResourceTag")
    assert not as_role(end, INSTANCE)
    assert as_role("ec2:RunInstances", INSTANCE, OURS, "aws:RequestTag")
    assert not as_role("ec2:RunInstances", INSTANCE)
    assert as_role("s3:PutObject", "arn:aws:s3:::runs-of-ours/a")
    assert not as_role("s3:PutObject", "arn:aws:s3:::others/a")
    assert not as_role("s3:DeleteBucket", "arn:aws:s3:::runs-of-ours")


def test_what_the_head_needs_is_within_the_boundary() -> None:
    """Whatever the head's policy permits, the boundary permits too, in the same circumstances."""
    spec = load_cluster_text(TEXT, "c.yaml").on_aws("test")
    for statement in head_policy(spec)["Statement"]:
        context = {
            key: listed(value)[0]
            for keys in statement.get("Condition", {}).values()
            for key, value in keys.items()
        }
        for action in listed(statement["Action"]):
            for resource in listed(statement["Resource"]):
                one = resource.replace("key-pair/*", "key-pair/rlx-apex").replace("*", "1")
                head = [head_policy(spec)]
                assert permitted(head, action, one, context, boundary=BOUNDARY), (action, one)


def test_the_head_ends_nodes_with_both_tags_only() -> None:
    head = [head_policy(load_cluster_text(TEXT, "c.yaml").on_aws("test"))]

    def may_end(**tags: str) -> bool:
        context = {f"ec2:ResourceTag/{key}": value for key, value in tags.items()}
        return permitted(head, "ec2:TerminateInstances", INSTANCE, context, boundary=BOUNDARY)

    assert may_end(**OURS)
    assert not may_end(**{"ray-cluster-name": "apex"})
    assert not may_end(**{"rlx-cluster": "apex"})
    assert not may_end(**{"ray-cluster-name": "other", "rlx-cluster": "other"})


@pytest.mark.parametrize("name", ["iam-policy.json", "iam-boundary.json"])
def test_aws_takes_documents_of_this_size(name: str) -> None:
    # Source: IAM and AWS STS quotas: a managed policy has at most 6,144 characters, white space not counted.
    assert len(re.sub(r"\s", "", (ROOT / "cluster" / name).read_text())) < 6144
