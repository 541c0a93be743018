"""Prices: the file's first, then AWS's of today; what nobody tells is not known."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from rlx.cluster import names
from rlx.cluster.aws import Aws, AwsError
from rlx.cluster.check import check_cluster
from rlx.cluster.errors import ClusterError
from rlx.cluster.load import load_cluster_text
from rlx.cluster.prices import find_prices, on_demand_price, settle, spot_prices, with_prices
from rlx.cluster.spec import AwsCluster
from tests.cluster.conftest import REGION, TEXT, VERSIONS, changed, price_list

DAY = date(2026, 3, 1)


def product(name: str, *amounts: str, unit: str = "Hrs", **attributes: str) -> dict[str, Any]:
    """Make a product of the price list, in the shape of the example response of GetProducts in botocore."""
    sku = "WQGC34PB2AWS8R4U"
    term, rate = f"{sku}.JRTCKXETXF", f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    plain = {
        "instanceType": name,
        "regionCode": REGION,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "preInstalledSw": "NA",
    }
    return {
        "product": {
            "productFamily": "Compute Instance",
            "attributes": {**plain, "location": "US East (N. Virginia)", **attributes},
            "sku": sku,
        },
        "serviceCode": "AmazonEC2",
        "terms": {
            "OnDemand": {
                term: {
                    "priceDimensions": {
                        f"{rate}{index}": {
                            "unit": unit,
                            "endRange": "Inf",
                            "beginRange": "0",
                            "appliesTo": [],
                            "pricePerUnit": {"USD": amount},
                        }
                        for index, amount in enumerate(amounts)
                    },
                    "sku": sku,
                    "effectiveDate": "2017-08-01T00:00:00Z",
                    "offerTermCode": "JRTCKXETXF",
                    "termAttributes": {},
                }
            }
        },
        "version": "20170901182201",
        "publicationDate": "2017-09-01T18:22:01Z",
    }


@pytest.fixture
def told(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Prices made up for these tests: 0.5 for the head; 0.25 on demand and 0.07, 0.065 spot for an actor."""
    price_list["m5.large"] = [product("m5.large", "0.5000000000")]
    price_list["c5.xlarge"] = [product("c5.xlarge", "0.2500000000")]
    at = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [("us-east-1a", "0.0700", 2), ("us-east-1b", "0.0650", 1), ("us-east-1a", "0.0900", 1)]
    history = [
        {"AvailabilityZone": zone, "SpotPrice": price, "Timestamp": at.replace(hour=hour)}
        for zone, price, hour in rows
    ]
    real = Aws.items

    def items(self: Aws, service: str, operation: str, *args: Any, **parameters: Any) -> Any:
        if operation == "describe_spot_price_history":
            assert parameters["InstanceTypes"] == ["c5.xlarge"]
            assert parameters["ProductDescriptions"] == ["Linux/UNIX"]
            return iter(history)
        return real(self, service, operation, *args, **parameters)

    monkeypatch.setattr(Aws, "items", items)
    return history


def cluster(**lines: str) -> AwsCluster:
    return load_cluster_text(changed(TEXT, **lines), "c.yaml").on_aws("test")


def test_what_the_price_list_has(aws: Aws) -> None:
    price_list["m5.large"] = [
        product("m5.large", "0.0960000000"),
        product("m5.large", "0.1880000000", operatingSystem="Windows"),
        product("m5.large", "0.1200000000", regionCode="eu-west-1"),
        product("m5.large", "9.0000000000", capacitystatus="UnusedCapacityReservation"),
    ]
    assert on_demand_price(aws, REGION, "m5.large") == 0.096
    assert on_demand_price(aws, "eu-west-1", "m5.large") == 0.12
    assert on_demand_price(aws, REGION, "c5.xlarge") is None


def test_it_is_asked_where_it_answers(told: Any, calls: list[tuple[str, str]], aws: Aws) -> None:
    assert aws.call("pricing", "get_products", "us-east-1", ServiceCode="AmazonEC2", Filters=filters())
    client = aws._clients["pricing", "us-east-1"]
    assert client.meta.endpoint_url == "https://api.pricing.us-east-1.amazonaws.com"


def filters() -> list[dict[str, str]]:
    return [{"Type": "TERM_MATCH", "Field": "instanceType", "Value": "m5.large"}]


def test_what_is_no_hourly_price_is_left_out(aws: Aws) -> None:
    price_list["m5.large"] = [
        product("m5.large", "0.0000000000"),
        product("m5.large", "3.0", unit="Quantity"),
    ]
    assert on_demand_price(aws, REGION, "m5.large") is None
    price_list["m5.large"] = [product("m5.large", "0.5", "0.6")]
    with pytest.raises(ClusterError, match=r"has several prices: 0\.5, 0\.6"):
        on_demand_price(aws, REGION, "m5.large")


def test_the_newest_spot_price_of_each_zone(told: Any, aws: Aws) -> None:
    assert spot_prices(aws, "c5.xlarge", ("us-east-1a", "us-east-1b")) == {
        "us-east-1a": 0.07,
        "us-east-1b": 0.065,
    }


def test_of_a_cluster(told: Any, aws: Aws, spec: AwsCluster) -> None:
    prices = find_prices(aws, spec, today=DAY)
    head, actors = prices["head"], prices["workers.actors"]
    assert (head.per_hour, head.source) == (0.5, "AWS's price list")
    # The dearest zone: nobody knows which one it will be.
    assert (actors.per_hour, actors.source, actors.count) == (0.07, "AWS's spot price history", 3)
    assert prices.per_hour == pytest.approx(0.5 + 3 * 0.07)
    assert prices.on_demand_per_hour == pytest.approx(0.5 + 3 * 0.25)
    known = with_prices(spec, prices)
    assert known.price_per_hour() == prices.per_hour
    assert spec.price_per_hour() is None


def test_the_file_goes_before_aws(told: Any, aws: Aws) -> None:
    prices = find_prices(aws, cluster(head="{instance_type: m5.large, price_per_hour: 2}"), today=DAY)
    assert (prices["head"].per_hour, prices["head"].on_demand) == (2, 0.5)
    assert prices["head"].source == "price_per_hour in the cluster file"


def test_what_aws_does_not_tell_is_not_known(
    told: list[Any], aws: Aws, spec: AwsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.clear()
    prices = find_prices(aws, spec, today=DAY)
    assert [node.group for node in prices.unknown] == ["workers.actors"]
    assert prices.unknown[0].silence == "no spot price in these zones"
    assert prices.per_hour is None
    assert prices.on_demand_per_hour == pytest.approx(1.25)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AwsError("pricing:GetProducts is not permitted (AccessDeniedException)")

    monkeypatch.setattr(Aws, "items", refuse)
    prices = find_prices(aws, spec, today=DAY)
    assert len(prices.unknown) == 2
    assert "pricing:GetProducts is not permitted" in prices["head"].silence


def test_max_cost_is_held_with_the_prices_of_the_day(told: list[Any], aws: Aws, home: Path) -> None:
    spec = cluster(budget="{max_hours: 8, max_cost: 1.42}")
    settled = settle(aws, spec, home=home, today=DAY)
    assert settled.lifetime_hours() == pytest.approx(2)
    file = names.prices_file(REGION, "apex", home)
    written = json.loads(file.read_text())
    assert written["day"] == "2026-03-01"
    assert written["per_hour"] == pytest.approx(0.71)
    assert [(node["group"], node["per_hour"], node["source"]) for node in written["nodes"]] == [
        ("head", 0.5, "AWS's price list"),
        ("workers.actors", 0.07, "AWS's spot price history"),
    ]
    told.clear()
    with pytest.raises(ClusterError, match=r"price of workers\.actors, and AWS does not tell it \(no spot"):
        settle(aws, spec, home=home)


def test_aws_is_not_asked_for_what_is_not_needed(
    aws: Aws, spec: AwsCluster, home: Path, calls: list[tuple[str, str]]
) -> None:
    assert settle(aws, spec, home=home) is spec
    text = TEXT.replace("spot: true", "spot: true, price_per_hour: 0.25")
    text = changed(
        text, head="{instance_type: m5.large, price_per_hour: 1}", budget="{max_hours: 8, max_cost: 7}"
    )
    whole = load_cluster_text(text, "c.yaml").on_aws("test")
    assert settle(aws, whole, home=home) is whole
    assert calls == []
    assert not names.prices_file(REGION, "apex", home).exists()


def test_check_says_what_it_costs(told: list[Any], aws: Aws) -> None:
    text = changed(TEXT, budget="{max_hours: 8, max_cost: 1.42}")
    report = check_cluster(aws, load_cluster_text(text, "c.yaml"), VERSIONS, None)
    texts = [fact for what, fact in report.facts if what in ("head", "workers.actors")]
    today = datetime.now(UTC).date()
    assert f"price per hour and node: 0.5 USD on demand by AWS's price list of {today}" in texts
    assert (
        f"price per hour and node: 0.25 USD on demand by AWS's price list of {today}; "
        f"0.07 in us-east-1a, 0.065 in us-east-1b USD spot by AWS at this moment ({today})" in texts
    )
    facts = dict(report.facts)
    assert facts["hard end"].startswith("2 h after")
    assert facts["cost"].startswith(
        "0.71 USD per hour by AWS, 1.42 USD until the hard end; 1.25 USD per hour if all were on demand; "
    )
    told.clear()
    report = check_cluster(aws, load_cluster_text(text, "c.yaml"), VERSIONS, None)
    (problem,) = (str(one) for one in report.problems if one.path == "budget.max_cost")
    needs = "max_cost needs the price of workers.actors, and AWS does not tell it"
    assert problem.endswith(f"{needs}; give a price_per_hour, or leave max_cost out")
