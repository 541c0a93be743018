"""The permissions boundary: the most that a role of a cluster can ever do, whoever writes its policy.

An administrator makes it once in an account, from cluster/iam-boundary.json. The user of rlx may make roles
with it only, and may neither change nor remove it: so that user cannot give itself more through a role.

Source: AWS IAM User Guide, Permissions boundaries for IAM entities, Delegating responsibility to others.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

from rlx.cluster.aws import Aws, AwsError
from rlx.cluster.errors import ClusterError

#: Name of the policy; cluster/iam-policy.json has it too.
NAME = "rlx-cluster-boundary"
_MAKE = (
    f"an administrator makes it: aws iam create-policy --policy-name {NAME} "
    "--policy-document file://cluster/iam-boundary.json"
)


def boundary_arn(aws: Aws) -> str:
    """Return how the boundary is called in this account."""
    caller = aws.call("sts", "get_caller_identity")
    partition = str(caller["Arn"]).split(":")[1]
    return f"arn:{partition}:iam::{caller['Account']}:policy/{NAME}"


def require_boundary(aws: Aws) -> str:
    """Return the boundary, if it is there.

    Raises:
        ClusterError: it is not, with the command that makes it.
    """
    arn = boundary_arn(aws)
    try:
        aws.call("iam", "get_policy", PolicyArn=arn)
    except AwsError as error:
        if not error.not_found:
            raise
        raise ClusterError(f"no policy {NAME} in this account", f"AWS {aws.region}", _MAKE) from None
    return arn


def permits_bucket(aws: Aws, arn: str, bucket: str) -> bool:
    """Return whether a boundary lets a role use the objects of a bucket.

    Raises:
        AwsError: AWS does not show the policy.
    """
    version = aws.call("iam", "get_policy", PolicyArn=arn)["Policy"]["DefaultVersionId"]
    found = aws.call("iam", "get_policy_version", PolicyArn=arn, VersionId=version)
    document: Any = found["PolicyVersion"]["Document"]
    if isinstance(document, str):
        document = json.loads(unquote(document))
    some = f"arn:{arn.split(':')[1]}:s3:::{bucket}/some/object"
    return any(
        fnmatchcase(some, resource)
        for statement in _listed(document["Statement"])
        if statement["Effect"] == "Allow" and "s3:PutObject" in _listed(statement["Action"])
        for resource in _listed(statement["Resource"])
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
