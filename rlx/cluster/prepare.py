"""What a cluster on AWS needs before its first node: a security group, a key pair, a role, a token.

Ray's launcher makes a group that is open to the world, and a key and a role that all clusters of the account
share; the role may do everything with EC2 and S3. These here are the cluster's own, as narrow as they can
be, and gone after `rlx cluster down`. Calling it again mends what is missing and moves the group to a new
address.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlx.cluster import names
from rlx.cluster.account import record_account
from rlx.cluster.address import with_address
from rlx.cluster.aws import Aws, AwsError
from rlx.cluster.boundary import require_boundary
from rlx.cluster.errors import ClusterError
from rlx.cluster.launcher import Prepared, tags
from rlx.cluster.leftovers import find_leftovers, made_by_rlx, tag
from rlx.cluster.spec import AwsCluster

# Until a new role is known everywhere, AWS says that there is no such profile.
_IAM_SECONDS = 15.0
_MAKE = "rlx cluster prepare makes it"
#: (protocol, first port, last port, address or group)
Way = tuple[str, int, int, str]


def prepare(
    aws: Aws,
    spec: AwsCluster,
    *,
    home: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Prepared:
    """Make what is missing, and return all of it.

    Raises:
        ClusterError: AWS refuses, something of this name is somebody else's, there is no boundary, or this
            machine's address cannot be asked.
    """
    home = home or Path.home()
    spec = with_address(spec)
    refuse_ray_s(aws, spec)
    record_account(aws, spec.name, home=home)
    make_token(names.token_file(spec.region, spec.name, home))
    group = _make_group(aws, spec, say)
    key = names.key_file(spec.region, spec.name, home)
    _make_key(aws, spec, key, say)
    profile = _make_role(aws, spec, say, sleep)
    return Prepared(group, names.resource_name(spec.name), key, profile)


def find_prepared(aws: Aws, spec: AwsCluster, *, home: Path | None = None) -> Prepared:
    """Find what `prepare` made.

    Raises:
        ClusterError: something is missing.
    """
    home = home or Path.home()
    group = find_group(aws, spec, network(aws, spec))
    if group is None:
        raise ClusterError(f"no security group {names.resource_name(spec.name)}", f"AWS {spec.region}", _MAKE)
    for file in (
        names.key_file(spec.region, spec.name, home),
        names.token_file(spec.region, spec.name, home),
    ):
        if not file.is_file():
            raise ClusterError("is missing", str(file), _MAKE)
    if find_key_pair(aws, spec) is None:
        raise ClusterError(f"no key pair {names.resource_name(spec.name)}", f"AWS {spec.region}", _MAKE)
    _check_profile(aws, spec)
    key = names.key_file(spec.region, spec.name, home)
    name = names.role_name(spec.name, spec.region)
    return Prepared(group["GroupId"], names.resource_name(spec.name), key, name)


def foreign_nodes(aws: Aws, spec: AwsCluster) -> list[str]:
    """List live nodes of a cluster of this name that rlx did not make."""
    found = find_leftovers(aws, [spec.region], spec.name)
    return [one.id for one in found if one.kind == "instance" and one.cluster == spec.name and not one.ours]


def refuse_ray_s(aws: Aws, spec: AwsCluster) -> None:
    """Refuse a name that a cluster of Ray's launcher has already.

    Raises:
        ClusterError: with its nodes.
    """
    if nodes := foreign_nodes(aws, spec):
        message = f"a cluster {spec.name} that rlx did not make has nodes: {', '.join(nodes)}"
        raise ClusterError(message, f"AWS {spec.region}", "give the cluster another name")


def _check_profile(aws: Aws, spec: AwsCluster) -> None:
    name = names.role_name(spec.name, spec.region)
    try:
        profile = aws.call("iam", "get_instance_profile", InstanceProfileName=name)["InstanceProfile"]
    except AwsError as error:
        if not error.not_found:
            raise
        raise ClusterError(f"no instance profile {name}", f"AWS {spec.region}", _MAKE) from None
    if profile["Path"] != names.role_path(spec.name, spec.region):
        raise _not_ours(f"instance profile {name}", spec)
    if name not in [role["RoleName"] for role in profile["Roles"]]:
        raise ClusterError(f"instance profile {name} lacks its role", f"AWS {spec.region}", _MAKE)


def network(aws: Aws, spec: AwsCluster) -> str:
    """Return the VPC: that of the subnets, or the default one.

    Raises:
        ClusterError: there is none.
    """
    if spec.subnets:
        found = aws.call("ec2", "describe_subnets", SubnetIds=[spec.subnets[0]])["Subnets"]
        return str(found[0]["VpcId"])
    filters = [{"Name": "is-default", "Values": ["true"]}]
    vpcs = aws.call("ec2", "describe_vpcs", Filters=filters)["Vpcs"]
    if not vpcs:
        raise ClusterError("no default VPC", f"AWS {spec.region}", "name subnets in the cluster file")
    return str(vpcs[0]["VpcId"])


def find_group(aws: Aws, spec: AwsCluster, vpc: str) -> dict[str, Any] | None:
    """Return the cluster's security group; None if there is none yet.

    Raises:
        ClusterError: there is one of this name, and it is somebody else's.
    """
    filters = [
        {"Name": "vpc-id", "Values": [vpc]},
        {"Name": "group-name", "Values": [names.resource_name(spec.name)]},
    ]
    found = list(aws.items("ec2", "describe_security_groups", "SecurityGroups", Filters=filters))
    if found and not _is_ours(found[0], spec):
        raise _not_ours(f"security group {names.resource_name(spec.name)}", spec)
    return found[0] if found else None


def find_key_pair(aws: Aws, spec: AwsCluster) -> dict[str, Any] | None:
    """Return the cluster's key pair; None if there is none yet.

    Raises:
        ClusterError: there is one of this name, and it is somebody else's.
    """
    name = names.resource_name(spec.name)
    filters = [{"Name": "key-name", "Values": [name]}]
    known = aws.call("ec2", "describe_key_pairs", Filters=filters)["KeyPairs"]
    if known and not _is_ours(known[0], spec):
        raise _not_ours(f"key pair {name}", spec)
    return dict(known[0]) if known else None


def _is_ours(resource: dict[str, Any], spec: AwsCluster) -> bool:
    return made_by_rlx(resource) and tag(resource, names.CLUSTER_TAG) == spec.name


def wanted_rules(spec: AwsCluster, group: str) -> list[dict[str, Any]]:
    """Return who may reach the nodes: ssh from one address, and the nodes one another."""
    ssh = {"CidrIp": spec.allowed_address, "Description": "ssh"}
    return [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [ssh]},
        {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]},
    ]


def reachable_from(group: dict[str, Any]) -> set[Way]:
    """Return who may reach the members of a group, as (protocol, first port, last port, address or group)."""
    return set(_single_rules(group))


def _single_rules(group: dict[str, Any]) -> dict[Way, dict[str, Any]]:
    """Take the rules of a group apart: way in -> the rule for it alone."""
    found: dict[Way, dict[str, Any]] = {}
    for rule in group.get("IpPermissions") or ():
        ports = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}
        first, last = rule.get("FromPort", -1), rule.get("ToPort", -1)
        for many, key in (
            ("IpRanges", "CidrIp"),
            ("Ipv6Ranges", "CidrIpv6"),
            ("PrefixListIds", "PrefixListId"),
            ("UserIdGroupPairs", "GroupId"),
        ):
            for one in rule.get(many) or ():
                found[rule["IpProtocol"], first, last, one[key]] = {**ports, many: [one]}
    return found


def make_token(file: Path) -> None:
    """Write a token, unless there is one."""
    if not file.is_file():
        _write_secret(file, secrets.token_hex(32))


def _make_group(aws: Aws, spec: AwsCluster, say: Callable[[str], None]) -> str:
    vpc, name = network(aws, spec), names.resource_name(spec.name)
    group = find_group(aws, spec, vpc)
    if group is None:
        say(f"security group {name}: make")
        words = f"Nodes of the rlx cluster {spec.name}"
        tagged = [{"ResourceType": "security-group", "Tags": tags(spec.name)}]
        made = aws.call(
            "ec2",
            "create_security_group",
            GroupName=name,
            Description=words,
            VpcId=vpc,
            TagSpecifications=tagged,
        )
        group = {"GroupId": made["GroupId"]}
    id = str(group["GroupId"])
    wanted, known = _single_rules({"IpPermissions": wanted_rules(spec, id)}), _single_rules(group)
    missing = [rule for way, rule in wanted.items() if way not in known]
    surplus = [rule for way, rule in known.items() if way not in wanted]
    if missing or surplus:
        say(f"security group {name}: ssh from {spec.allowed_address} only")
    # In this order: whatever fails, nodes of a running cluster still reach one another.
    if missing:
        aws.call("ec2", "authorize_security_group_ingress", GroupId=id, IpPermissions=missing)
    if surplus:
        aws.call("ec2", "revoke_security_group_ingress", GroupId=id, IpPermissions=surplus)
    return id


def _make_key(aws: Aws, spec: AwsCluster, file: Path, say: Callable[[str], None]) -> None:
    name = names.resource_name(spec.name)
    known = find_key_pair(aws, spec)
    if known and file.is_file():
        return
    if known:
        hint = "copy it from the machine that made it, or rlx cluster down first"
        raise ClusterError(
            f"key pair {name} is in {spec.region}, but its private key is not here", str(file), hint
        )
    if file.exists():
        hint = f"rlx cluster down, or move it away if no node needs it; is {spec.region} the right region?"
        message = f"a private key is here, and {spec.region} has no key pair {name} for it"
        raise ClusterError(message, str(file), hint)
    say(f"key pair {name}: make")
    tagged = [{"ResourceType": "key-pair", "Tags": tags(spec.name)}]
    made = aws.call("ec2", "create_key_pair", KeyName=name, KeyType="ed25519", TagSpecifications=tagged)
    _write_secret(file, made["KeyMaterial"])


def _make_role(aws: Aws, spec: AwsCluster, say: Callable[[str], None], sleep: Callable[[float], None]) -> str:
    name, path = names.role_name(spec.name, spec.region), names.role_path(spec.name, spec.region)
    boundary = require_boundary(aws)
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    new = _unless_there(
        aws,
        "create_role",
        RoleName=name,
        Path=path,
        AssumeRolePolicyDocument=document,
        PermissionsBoundary=boundary,
    )
    role = aws.call("iam", "get_role", RoleName=name)["Role"]
    if role["Path"] != path:
        raise _not_ours(f"role {name}", spec)
    if (role.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn") != boundary:
        hint = "rlx cluster down, then prepare makes it anew"
        raise ClusterError(f"role {name} does not have the boundary {boundary}", f"AWS {spec.region}", hint)
    policy = json.dumps(head_policy(spec))
    aws.call("iam", "put_role_policy", RoleName=name, PolicyName=names.ROLE_POLICY, PolicyDocument=policy)
    new |= _unless_there(aws, "create_instance_profile", InstanceProfileName=name, Path=path)
    profile = aws.call("iam", "get_instance_profile", InstanceProfileName=name)["InstanceProfile"]
    if profile["Path"] != path:
        raise _not_ours(f"instance profile {name}", spec)
    if not profile["Roles"]:
        aws.call("iam", "add_role_to_instance_profile", InstanceProfileName=name, RoleName=name)
        new = True
    if new:
        say(f"role {name}: make, and wait {_IAM_SECONDS:g} s until AWS knows it everywhere")
        sleep(_IAM_SECONDS)
    return name


def head_policy(spec: AwsCluster) -> dict[str, Any]:
    """Return what the head may do: start and end nodes with this cluster's tags, and use its storage."""
    both = (names.CLUSTER_TAG, names.RLX_TAG)
    own = {"StringEquals": {f"aws:RequestTag/{tag}": spec.name for tag in both}}
    theirs = {"StringEquals": {f"ec2:ResourceTag/{tag}": spec.name for tag in both}}
    anywhere = f"arn:aws:ec2:{spec.region}"
    parts = (
        "image",
        "key-pair",
        "network-interface",
        "security-group",
        "spot-instances-request",
        "subnet",
        "volume",
    )
    statements: list[dict[str, Any]] = [
        {
            "Effect": "Allow",
            "Action": ["ec2:DescribeInstances", "ec2:DescribeInstanceTypes"],
            "Resource": "*",
        },
        {
            "Effect": "Allow",
            "Action": "ec2:RunInstances",
            "Resource": f"{anywhere}:*:instance/*",
            "Condition": own,
        },
        {
            "Effect": "Allow",
            "Action": "ec2:RunInstances",
            "Resource": [f"{anywhere}:*:{part}/*" for part in parts],
        },
        {
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": f"{anywhere}:*:*/*",
            "Condition": {"StringEquals": {"ec2:CreateAction": "RunInstances"}},
        },
        {
            "Effect": "Allow",
            "Action": ["ec2:CreateTags", "ec2:TerminateInstances"],
            "Resource": f"{anywhere}:*:instance/*",
            "Condition": theirs,
        },
    ]
    if any(group.spot for group in spec.workers.values()):
        statements.append(
            {
                # AWS makes this role at an account's first spot instance.
                "Effect": "Allow",
                "Action": "iam:CreateServiceLinkedRole",
                "Resource": "arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/*",
                "Condition": {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
            }
        )
    if spec.storage.startswith("s3://"):
        bucket, _, prefix = spec.storage.removeprefix("s3://").strip("/").partition("/")
        objects = f"arn:aws:s3:::{bucket}/{prefix}/*" if prefix else f"arn:aws:s3:::{bucket}/*"
        actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        statements += [
            {"Effect": "Allow", "Action": actions, "Resource": objects},
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": f"arn:aws:s3:::{bucket}",
            },
        ]
    return {"Version": "2012-10-17", "Statement": statements}


def _unless_there(aws: Aws, operation: str, **parameters: Any) -> bool:
    """Make something in IAM; whether it is new."""
    try:
        aws.call("iam", operation, **parameters)
    except AwsError as error:
        if error.code != "EntityAlreadyExists":
            raise
        return False
    return True


def _not_ours(what: str, spec: AwsCluster) -> ClusterError:
    hint = "give the cluster another name"
    return ClusterError(f"{what} is there, and is not this cluster's", f"AWS {spec.region}", hint)


def _write_secret(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
