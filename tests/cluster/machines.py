"""Instances as Ray's launcher starts them, from the launcher file."""

from __future__ import annotations

import copy
from typing import Any

from rlx.cluster.launcher import HEAD, Launcher


def subnet(ec2: Any, zone: str = "us-east-1a") -> str:
    """Return a subnet of the default VPC."""
    found = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [zone]}])["Subnets"]
    return str(found[0]["SubnetId"])


def start(ec2: Any, launcher: Launcher, node_type: str = HEAD, count: int = 1) -> list[str]:
    """Start nodes with Ray's tags beside those of the file; their ids."""
    config = copy.deepcopy(launcher["available_node_types"][node_type]["node_config"])
    config.setdefault("SubnetId", subnet(ec2))
    kind = "head" if node_type == HEAD else "worker"
    tags = {"ray-cluster-name": launcher["cluster_name"], "ray-node-type": kind}
    for specification in config["TagSpecifications"]:
        if specification["ResourceType"] == "instance":
            specification["Tags"] += [
                {"Key": key, "Value": value}
                for key, value in tags.items()
                if key not in {tag["Key"] for tag in specification["Tags"]}
            ]
    started = ec2.run_instances(MinCount=count, MaxCount=count, **config)["Instances"]
    return [instance["InstanceId"] for instance in started]


def plain_instance(ec2: Any, cluster: str, *, ours: bool = True, kind: str = "head", **more: Any) -> str:
    """Start an instance with no tag on the volume; as Ray does by itself if it is not ours."""
    tags = [{"Key": "ray-cluster-name", "Value": cluster}, {"Key": "ray-node-type", "Value": kind}]
    tags += [{"Key": "rlx-cluster", "Value": cluster}] if ours else []
    specification = [{"ResourceType": "instance", "Tags": tags}]
    wanted = {"ImageId": "ami-1e749f67", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, **more}
    started = ec2.run_instances(TagSpecifications=specification, **wanted)
    return str(started["Instances"][0]["InstanceId"])


def group(ec2: Any, name: str, cluster: str | None, cidr: str = "0.0.0.0/0", *, ours: bool = True) -> str:
    """Make a security group as Ray's launcher does; without a tag if there is no cluster."""
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    keys = ("ray-cluster-name", "rlx-cluster") if ours else ("ray-cluster-name",)
    tags = [{"Key": key, "Value": cluster} for key in keys] if cluster else []
    more = {"TagSpecifications": [{"ResourceType": "security-group", "Tags": tags}]} if tags else {}
    id = ec2.create_security_group(GroupName=name, Description="a group", VpcId=vpc, **more)["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": cidr}]}
    ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=[rule])
    return str(id)


def settle(launcher: Launcher) -> dict[str, Any]:
    """Do what `ray up` does with a launcher file before it starts anything; Ray itself is not started."""
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.aws.utils import client_cache, resource_cache
    from ray.autoscaler._private.util import prepare_config, validate_config

    for cache in (client_cache, resource_cache):
        cache.cache_clear()
    config = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(launcher))
    validate_config(config)
    return dict(bootstrap_aws(config))


def start_as_ray_does(config: dict[str, Any], node_types: tuple[str, ...]) -> Any:
    """Start nodes through Ray's own provider; the provider."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name in node_types:
        kind = "head" if name == HEAD else "worker"
        tags = {"ray-node-type": kind, "ray-user-node-type": name, "ray-node-name": f"ray-apex-{kind}"}
        provider.create_node(config["available_node_types"][name]["node_config"], tags, 1)
    return provider
