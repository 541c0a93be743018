"""AWS in this process: moto instead of the network, credentials that are none, a home of one's own."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from moto import mock_aws
from moto.core.botocore_stubber import MockRawResponse

from rlx.cluster import address, boundary
from rlx.cluster import aws as door
from rlx.cluster.aws import Aws
from rlx.cluster.launcher import Local
from rlx.cluster.load import ClusterFile, load_cluster_text
from rlx.cluster.names import token_file
from rlx.cluster.spec import AwsCluster
from rlx.cluster.versions import Versions

REGION = "us-east-1"
VERSIONS = Versions("3.11.7", "2.60.0", "0.1.0")
#: An image that moto knows: 15 GB, root device /dev/sda1, x86_64.
IMAGE = "ami-1e749f67"

#: What the price list of this AWS has, by instance type; moto has none. Empty at the start of each test.
price_list: dict[str, list[dict[str, Any]]] = {}

_LOADER = botocore.loaders.create_loader()

TEXT = f"""\
name: apex
provider: aws
region: us-east-1
zones: [us-east-1a, us-east-1b]
image: {IMAGE}
allowed_address: 203.0.113.7/32
storage: s3://runs-of-ours/apex
head: {{instance_type: m5.large, volume_gb: 30}}
workers:
  actors: {{instance_type: c5.xlarge, count: 2, max_count: 3, spot: true}}
budget: {{max_hours: 8}}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a temporary folder without anything in them."""
    import tempfile

    (tmp_path / "tmp").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "home"


@pytest.fixture
def cloud(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws():
        boto3.client("iam").create_policy(PolicyName=boundary.NAME, PolicyDocument=boundary_document())
        yield


@pytest.fixture(autouse=True)
def _quick_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read AWS's descriptions of its services once, not for each test: they are large."""
    price_list.clear()
    monkeypatch.setattr(address, "open_address", lambda url: io.BytesIO(b"203.0.113.7\n"))

    def session() -> Any:
        core = botocore.session.get_session()
        core.register_component("data_loader", _LOADER)
        core.register("before-send.pricing.GetProducts", _priced)
        return boto3.Session(botocore_session=core)

    monkeypatch.setattr(door, "new_session", session)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(boto3, "_get_default_session", lambda: boto3.DEFAULT_SESSION or session())


def _priced(request: Any, **_: Any) -> AWSResponse:
    """Answer as the price list does: each product is a text of JSON."""
    asked = json.loads(request.body)
    assert asked["ServiceCode"] == "AmazonEC2"
    wanted = {one["Field"]: one["Value"] for one in asked["Filters"]}
    found = [
        product
        for product in price_list.get(wanted["instanceType"], [])
        if all(product["product"]["attributes"][key] == value for key, value in wanted.items())
    ]
    body = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(product) for product in found]}
    return AWSResponse(request.url, 200, {}, MockRawResponse(json.dumps(body)))


@pytest.fixture
def calls(_quick_clients: None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every call that rlx makes, as (service, operation)."""
    made: list[tuple[str, str]] = []
    new_session = door.new_session

    def recorded() -> Any:
        session = new_session()

        def note(model: Any, **_: Any) -> None:
            made.append((model.service_model.service_name, model.name))

        session.events.register("before-call", note)
        return session

    monkeypatch.setattr(door, "new_session", recorded)
    return made


@pytest.fixture
def aws(cloud: None) -> Aws:
    """Calls to it."""
    return Aws(REGION)


@pytest.fixture
def ec2(cloud: None) -> Any:
    """boto3's own client."""
    return boto3.client("ec2", region_name=REGION)


@pytest.fixture
def file() -> ClusterFile:
    """A cluster with spot workers."""
    return load_cluster_text(TEXT, "apex.yaml")


@pytest.fixture
def spec(file: ClusterFile) -> AwsCluster:
    """The same, without places."""
    return file.on_aws("test")


@pytest.fixture
def local(home: Path) -> Local:
    """What goes to the nodes."""
    return Local(VERSIONS, Path("/src/rlx"), token_file(REGION, "apex", home))


def boundary_document() -> str:
    """Return the shipped boundary as an administrator makes it, with the bucket of the tests."""
    shipped = Path(__file__).resolve().parents[2] / "cluster/iam-boundary.json"
    return shipped.read_text().replace("my-bucket", "runs-of-ours")


def changed(text: str, **lines: str) -> str:
    """Replace whole lines of a cluster file by their key."""
    for key, value in lines.items():
        text, count = re.subn(rf"^{key}:.*$", f"{key}: {value}", text, flags=re.MULTILINE)
        assert count == 1, key
    return text
