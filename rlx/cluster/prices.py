"""What nodes cost in an hour: the cluster file first, then what AWS tells today; nothing is made up.

On demand from AWS's price list, spot from the history of spot prices. Both are USD per hour for one node;
volumes, addresses and traffic are not in them. There is no table of prices in rlx: where AWS does not tell,
a price is not known.

Source: AWS Price List Query API, GetProducts, and Amazon EC2 API, DescribeSpotPriceHistory; the shape of a
product is that of the example response in botocore's data for `pricing`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from rlx.cluster import names
from rlx.cluster.aws import Aws, AwsError
from rlx.cluster.errors import ClusterError
from rlx.cluster.spec import AwsCluster, Machine, Workers
from rlx.runs.files import write_json_atomic

#: The price list answers in a few regions only, about all of them.
LIST_REGION = "us-east-1"
_FILE = "price_per_hour in the cluster file"
_LIST = "AWS's price list"
_HISTORY = "AWS's spot price history"


@dataclass(frozen=True)
class NodePrice:
    """What one node of a group costs in an hour, and who says so.

    Attributes:
        group: `head` or `workers.NAME`.
        count: the most nodes that there can be.
        spot: whether spot instances are asked for.
        own: of the cluster file.
        on_demand: by AWS, USD.
        spot_by_zone: by AWS at this moment, USD; empty if spot is not asked for or AWS does not tell.
        silence: why AWS does not tell, if it was asked and does not.
    """

    group: str
    instance_type: str
    count: int
    spot: bool
    own: float | None = None
    on_demand: float | None = None
    spot_by_zone: Mapping[str, float] = field(default_factory=dict)
    silence: str = ""

    @property
    def by_aws(self) -> float | None:
        """The price by AWS as the node is asked for; of spot prices that of the dearest zone."""
        return max(self.spot_by_zone.values(), default=None) if self.spot else self.on_demand

    @property
    def per_hour(self) -> float | None:
        """The price that counts: the file's before AWS's; None if neither tells."""
        return self.by_aws if self.own is None else self.own

    @property
    def source(self) -> str:
        """Who says so."""
        if self.own is not None:
            return _FILE
        if self.by_aws is None:
            return ""
        return _HISTORY if self.spot else _LIST


@dataclass(frozen=True)
class Prices:
    """The prices of a cluster on one day."""

    day: date
    nodes: tuple[NodePrice, ...]

    def __getitem__(self, group: str) -> NodePrice:
        return next(node for node in self.nodes if node.group == group)

    @property
    def unknown(self) -> list[NodePrice]:
        """Those that neither the file nor AWS tells."""
        return [node for node in self.nodes if node.per_hour is None]

    @property
    def per_hour(self) -> float | None:
        """All nodes that there can be, as they are asked for; None if a price is not known."""
        return _total((node.count, node.per_hour) for node in self.nodes)

    @property
    def on_demand_per_hour(self) -> float | None:
        """All nodes that there can be, were they all on demand, by AWS; None if it does not tell."""
        return _total((node.count, node.on_demand) for node in self.nodes)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, with what counts and who says so."""
        nodes = [{**asdict(node), "per_hour": node.per_hour, "source": node.source} for node in self.nodes]
        return {"day": self.day.isoformat(), "per_hour": self.per_hour, "nodes": nodes}


def find_prices(aws: Aws, spec: AwsCluster, *, today: date | None = None) -> Prices:
    """Ask AWS about every group of a cluster; what it does not tell is left open, with the reason.

    Args:
        today: the day that the prices are of; by default this one, in UTC.
    """
    asked: dict[str, tuple[float | None, str]] = {}
    found = []
    for group, machine in machines(spec):
        name, spot = machine.instance_type, isinstance(machine, Workers) and machine.spot
        if name not in asked:
            asked[name] = _asked(aws, spec.region, name)
        on_demand, silence = asked[name]
        by_zone: Mapping[str, float] = {}
        if spot:
            by_zone, silence = _asked_spot(aws, spec, name)
        count = machine.most if isinstance(machine, Workers) else 1
        found.append(NodePrice(group, name, count, spot, machine.price_per_hour, on_demand, by_zone, silence))
    return Prices(today or datetime.now(UTC).date(), tuple(found))


def with_prices(spec: AwsCluster, prices: Prices) -> AwsCluster:
    """Return the cluster with every known price in place of what its file leaves open."""
    head = spec.head.model_copy(update={"price_per_hour": prices["head"].per_hour})
    workers = {
        name: group.model_copy(update={"price_per_hour": prices[f"workers.{name}"].per_hour})
        for name, group in spec.workers.items()
    }
    return spec.model_copy(update={"head": head, "workers": workers})


def settle(aws: Aws, spec: AwsCluster, *, home: Path | None = None, today: date | None = None) -> AwsCluster:
    """Return the cluster with the prices that its `max_cost` needs, and write down which they were.

    AWS is asked only where `max_cost` is given and the file leaves a price open.

    Args:
        home: where the state folder is; by default the user's home.

    Raises:
        ClusterError: a price is not known.
    """
    if spec.budget.max_cost is None or spec.price_per_hour() is not None:
        return spec
    prices = find_prices(aws, spec, today=today)
    if prices.unknown:
        node = prices.unknown[0]
        raise ClusterError(
            f"budget.max_cost needs the price of {node.group}, and AWS does not tell it ({node.silence})",
            f"AWS {spec.region}",
            f"give {node.group} a price_per_hour, or leave budget.max_cost out",
        )
    file = names.prices_file(spec.region, spec.name, home or Path.home())
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json_atomic(file, prices.as_dict())
    return with_prices(spec, prices)


def on_demand_price(aws: Aws, region: str, instance_type: str) -> float | None:
    """Return what AWS's price list says of Linux on shared hardware, in USD per hour; None if nothing.

    Raises:
        AwsError: it cannot be asked.
        ClusterError: it says more than one thing.
    """
    wanted = {
        "instanceType": instance_type,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "preInstalledSw": "NA",
    }
    filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in wanted.items()]
    products = aws.items(
        "pricing", "get_products", "PriceList", LIST_REGION, ServiceCode="AmazonEC2", Filters=filters
    )
    prices = {price for product in products for price in _hourly(product)}
    if len(prices) > 1:
        listed = ", ".join(f"{price:.4g}" for price in sorted(prices))
        raise ClusterError(f"AWS's price list has several prices: {listed}", f"{instance_type} in {region}")
    return next(iter(prices), None)


def spot_prices(
    aws: Aws, instance_type: str, zones: tuple[str, ...], *, now: datetime | None = None
) -> dict[str, float]:
    """Return the newest spot price of each zone that AWS tells, in USD per hour for Linux.

    Raises:
        AwsError: it cannot be asked.
    """
    history = aws.items(
        "ec2",
        "describe_spot_price_history",
        "SpotPriceHistory",
        InstanceTypes=[instance_type],
        ProductDescriptions=["Linux/UNIX"],
        StartTime=now or datetime.now(UTC),
        Filters=[{"Name": "availability-zone", "Values": list(zones)}],
    )
    newest: dict[str, dict[str, Any]] = {}
    for one in history:
        zone = one["AvailabilityZone"]
        if zone not in newest or one["Timestamp"] > newest[zone]["Timestamp"]:
            newest[zone] = one
    return {zone: float(newest[zone]["SpotPrice"]) for zone in sorted(newest)}


def machines(spec: AwsCluster) -> Iterator[tuple[str, Machine]]:
    """Yield (group, what its nodes are): `head`, then `workers.NAME`."""
    yield "head", spec.head
    for name, group in spec.workers.items():
        yield f"workers.{name}", group


def _hourly(product: Any) -> Iterator[float]:
    """Yield the hourly prices on demand of one product; what is priced otherwise is left out."""
    parsed = json.loads(product) if isinstance(product, str) else product
    for term in (parsed.get("terms", {}).get("OnDemand") or {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            amount = float(dimension.get("pricePerUnit", {}).get("USD", "nan"))
            if dimension.get("unit") == "Hrs" and math.isfinite(amount) and amount > 0:
                yield amount


def _asked(aws: Aws, region: str, name: str) -> tuple[float | None, str]:
    """Ask for a price on demand; what AWS says, and why not if it says nothing."""
    try:
        price = on_demand_price(aws, region, name)
    except ClusterError as error:
        return None, error.what
    return price, "" if price is not None else "its price list has none"


def _asked_spot(aws: Aws, spec: AwsCluster, name: str) -> tuple[dict[str, float], str]:
    try:
        found = spot_prices(aws, name, spec.zones)
    except AwsError as error:
        return {}, error.what
    return found, "" if found else "no spot price in these zones"


def _total(nodes: Iterator[tuple[int, float | None]]) -> float | None:
    total = 0.0
    for count, price in nodes:
        if price is None:
            return None
        total += count * price
    return total
