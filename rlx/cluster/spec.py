"""The cluster file: one frozen, strict model per provider.

It holds what a person decides: machines, how many, where, for how long and for how much. The rest of Ray's
launcher file follows from it (`launcher.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlx.experiment.spec import Positive, PositiveFloat, Section, Text

#: A name becomes part of names that AWS, ssh and the file system know.
NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"
#: `allowed_address` of whoever calls.
AUTO = "auto"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
NonEmptyTexts = Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]


class Machine(Section):
    """One kind of node on AWS."""

    instance_type: Text = Field(description="EC2 instance type, e.g. m5.large.")
    volume_gb: Positive = Field(default=50, description="Size of the root volume in GB (gp3).")
    num_cpus: Positive | None = Field(
        default=None, description="CPUs that Ray counts on each; null: those of the instance type."
    )
    price_per_hour: PositiveFloat | None = Field(
        default=None,
        description="What one node costs in an hour, in max_cost's currency; null: what AWS tells, in USD.",
    )


class Workers(Machine):
    """A group of equal workers."""

    count: Positive = Field(description="Nodes that are started with the cluster and kept.")
    max_count: Positive | None = Field(
        default=None,
        description="Most nodes: Ray adds some on demand and ends them when they are idle; null: count.",
    )
    spot: bool = Field(
        default=False, description="Spot instances: cheaper, and AWS may take them back at any time."
    )

    @property
    def most(self) -> int:
        """The most nodes that there can be."""
        return self.max_count or self.count


class Budget(Section):
    """When the nodes end by themselves, whatever happens to the machine that started them."""

    max_hours: PositiveFloat = Field(
        description="Hours after its first start when the head ends itself, and before that its workers; "
        "a worker ends itself as many hours after its own start."
    )
    max_cost: PositiveFloat | None = Field(
        default=None,
        description="Shortens max_hours to this much divided by all prices: an estimate, no limit; "
        "prices that the file leaves open are AWS's of the day of rlx cluster render, in USD.",
    )


class Cluster(Section):
    """What clusters of all providers have."""

    name: Name = Field(
        description="Name of the cluster: small letters, digits and -; part of all names in AWS."
    )
    ssh_user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]*$")] = Field(
        default="ubuntu", description="User of the nodes who may use sudo."
    )
    environment: Annotated[str, Field(pattern=r"^(~|/)[\w./-]*$")] | None = Field(
        default=None,
        description="Virtual environment that the nodes have already, with the versions of this machine; "
        "null makes ~/rlx-env.",
    )
    storage: Text = Field(
        description="For runs: s3://bucket/prefix, which the head may use, or a folder that all nodes see."
    )
    object_store_gb: PositiveFloat | None = Field(
        default=None, description="Ray's object store on each node; null: Ray's choice, 30% of its memory."
    )


class AwsCluster(Cluster):
    """A cluster of EC2 instances."""

    provider: Literal["aws"] = Field(description="aws.")
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")] = Field(description="E.g. us-east-1.")
    zones: NonEmptyTexts = Field(description="Availability zones, tried in this order, e.g. [us-east-1a].")
    subnets: Texts = Field(
        default=(), description="Subnets, all of one VPC; empty: those of the default VPC."
    )
    image: Annotated[str, Field(pattern=r"^ami-[0-9a-f]{8,17}$")] = Field(
        description="AMI with systemd and cloud-init, e.g. Ubuntu 22.04 or one with NVIDIA drivers."
    )
    root_device: Text = Field(default="/dev/sda1", description="Root device of the AMI.")
    allowed_address: Text = Field(
        description="Who may reach the nodes by ssh: your address as the internet sees it, with /32, "
        "or auto: the address that this machine has when rlx cluster prepare is called."
    )
    internal_addresses: bool = Field(
        default=False,
        description="Reach the nodes at their private addresses: from inside the VPC, or through a VPN.",
    )
    head: Machine = Field(description="The head node, on demand.")
    workers: dict[str, Workers] = Field(default_factory=dict, description="Groups of workers by name.")
    budget: Budget = Field(description="When the cluster ends by itself.")
    idle_timeout_minutes: Positive = Field(
        default=10, description="Minutes after which an idle node above count is ended."
    )

    def price_per_hour(self) -> float | None:
        """Add the prices of all nodes that there can be; None if one is not known."""
        prices = [(1, self.head.price_per_hour)]
        prices += [(group.most, group.price_per_hour) for group in self.workers.values()]
        known = [count * price for count, price in prices if price is not None]
        return sum(known) if len(known) == len(prices) else None

    def lifetime_hours(self) -> float:
        """Return after how many hours the cluster ends: `max_hours`, or sooner if `max_cost` asks for it."""
        price = self.price_per_hour()
        if self.budget.max_cost is None or price is None:
            return self.budget.max_hours
        return min(self.budget.max_hours, self.budget.max_cost / price)


class OnPremiseCluster(Cluster):
    """A cluster of hosts that are there already and are reached by ssh."""

    provider: Literal["on-premise"] = Field(description="on-premise.")
    hosts: NonEmptyTexts = Field(
        description="Addresses of the hosts as they see each other; the first is the head."
    )
    ssh_key: Text = Field(description="Private key that all hosts take.")
    num_cpus: Positive | None = Field(
        default=None, description="CPUs that Ray counts on each host; null: all that it has."
    )


AnyCluster = AwsCluster | OnPremiseCluster
