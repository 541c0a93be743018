"""`check` finds what would go wrong, all at once, each with its place in the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import boto3
import pytest

from rlx.cluster import address
from rlx.cluster.aws import Aws, AwsError
from rlx.cluster.check import Report, check_cluster
from rlx.cluster.errors import ClusterError
from rlx.cluster.load import load_cluster_text
from rlx.cluster.prepare import prepare
from rlx.cluster.quotas import count_vcpus, family
from rlx.cluster.versions import Versions
from tests.cluster.conftest import REGION, TEXT, VERSIONS, changed
from tests.cluster.machines import plain_instance

LIMITS = {"L-1216C47A": 32.0, "L-34B43A08": 16.0}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Something like a checkout."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    text = '[project]\nname = "rlx"\ndependencies = ["ray[default,rllib]==2.60.0", "torch==2.13.0"]\n'
    (folder / "pyproject.toml").write_text(text)
    return folder


@pytest.fixture
def quotas(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Limits of the account, which moto does not know."""
    limits = dict(LIMITS)
    real = Aws.call

    def call(self: Aws, service: str, operation: str, region: str = "", **parameters: Any) -> dict[str, Any]:
        if operation == "get_service_quota" and parameters["QuotaCode"] in limits:
            return {"Quota": {"Value": limits[parameters["QuotaCode"]]}}
        return real(self, service, operation, region, **parameters)

    monkeypatch.setattr(Aws, "call", call)
    return limits


@pytest.fixture
def bucket(cloud: None) -> None:
    boto3.client("s3", region_name=REGION).create_bucket(Bucket="runs-of-ours")


def check(aws: Aws, text: str, source: Path | None, versions: Versions = VERSIONS) -> Report:
    return check_cluster(aws, load_cluster_text(text, "c.yaml"), versions, source)


def problems(report: Report) -> list[str]:
    return [str(problem) for problem in report.problems]


@pytest.mark.usefixtures("quotas", "bucket")
def test_a_cluster_that_is_right(aws: Aws, source: Path) -> None:
    report = check(aws, TEXT, source)
    assert problems(report) == []
    facts = dict(report.facts)
    assert facts["account"].startswith("123456789012, ")
    head_node = "up to 1 x m5.large on demand: 2 vCPUs, 8 GiB, 0 GPUs, 30 GB gp3"
    assert ("head", head_node) in report.facts
    spot_nodes = "up to 3 x c5.xlarge spot: 4 vCPUs, 8 GiB, 0 GPUs, 50 GB gp3"
    assert ("workers.actors", spot_nodes) in report.facts
    assert "standard spot: 12 vCPUs wanted, 0 in use, 16 permitted" in [text for _, text in report.facts]
    assert facts["cost"] == "not known: no price of head"
    no_price = "price per hour and node: AWS does not tell the price (its price list has none)"
    assert ("head", no_price) in report.facts
    assert facts["hard end"].startswith("8 h ")
    assert facts["nodes get"] == f"python 3.11.7, ray 2.60.0, rlx 0.1.0, from {source}"
    assert facts["security group"] == "not there yet; rlx cluster prepare makes it"
    assert facts["nodes now"] == "none"


@pytest.mark.usefixtures("quotas", "bucket")
def test_prices_are_the_user_s(aws: Aws, source: Path) -> None:
    text = changed(TEXT, head="{instance_type: m5.large, price_per_hour: 0.5}", budget="{max_hours: 4}")
    text = text.replace("spot: true", "spot: true, price_per_hour: 0.25")
    cost = dict(check(aws, text, source).facts)["cost"]
    assert cost.startswith(
        "1.25 per hour by the file's prices, 5 until the hard end; an estimate: volumes come on top"
    )


def test_all_that_is_wrong_is_said_at_once(aws: Aws, source: Path, quotas: dict[str, float]) -> None:
    quotas["L-34B43A08"] = 8.0
    text = changed(
        TEXT,
        image="ami-0123456789abcdef0",
        zones="[us-east-1a, us-east-1z]",
        head="{instance_type: m5.enormous, volume_gb: 30}",
    )
    found = problems(
        check(aws, text + "subnets: [subnet-00000000]\n", source, Versions("3.11.7", "2.61.0", "0.1.0"))
    )
    assert len(found) == 7
    for start, part in (
        ("c.yaml:1:1: environment: ray is 2.61.0 here", "pip install 'ray[default,rllib]==2.60.0' here"),
        ("c.yaml:4:21: zones.1: no zone us-east-1z", "us-east-1a"),
        ("c.yaml:5:8: image: no image ami-0123456789abcdef0 in us-east-1", "each region has ids of its own"),
        ("c.yaml:8:23: head.instance_type: no instance type 'm5.enormous' in us-east-1", ""),
        ("c.yaml:10:11: workers.actors: 12 vCPUs standard spot wanted", "the account's quota is 8"),
        ("c.yaml:7:10: storage: no bucket runs-of-ours", "aws s3 mb s3://runs-of-ours"),
        ("c.yaml:12:10: subnets: ec2:DescribeSubnets failed (InvalidSubnetID.NotFound", ""),
    ):
        assert any(one.startswith(start) and part in one for one in found), (start, found)


@pytest.mark.usefixtures("bucket")
def test_what_already_runs_counts(aws: Aws, ec2: Any, source: Path, quotas: dict[str, float]) -> None:
    plain_instance(ec2, "other", InstanceType="m5.large")
    plain_instance(ec2, "apex", InstanceType="m5.large")
    quotas["L-1216C47A"] = 3.0
    report = check(aws, TEXT, source)
    assert [one for one in problems(report) if "quota" in one] == [
        "c.yaml:8:7: head: 2 vCPUs standard on demand wanted and 2 in use, the account's quota is 3; "
        "fewer or smaller nodes, or ask AWS for more (quota L-1216C47A)"
    ]
    assert dict(report.facts)["nodes now"] == "1 running"


@pytest.mark.usefixtures("quotas", "bucket")
def test_the_image_and_the_machines_must_fit(aws: Aws, source: Path) -> None:
    text = changed(TEXT, head="{instance_type: m6g.large, volume_gb: 5}") + "root_device: /dev/xvda\n"
    found = problems(check(aws, text, source))
    assert "c.yaml:12:14: root_device: the image's root device is /dev/sda1, not /dev/xvda" in found
    assert "c.yaml:8:45: head.volume_gb: the image needs 15 GB, volume_gb is 5" in found
    assert "c.yaml:8:23: head.instance_type: m6g.large is arm64, the image is x86_64" in found


@pytest.mark.usefixtures("bucket")
def test_a_quota_that_aws_does_not_tell_is_no_problem(aws: Aws, source: Path) -> None:
    report = check(aws, TEXT, source)
    assert [one for one in problems(report) if "quota" in one.lower()] == []
    assert "standard spot: AWS does not tell; 12 vCPUs are wanted" in [text for _, text in report.facts]


@pytest.mark.usefixtures("quotas", "bucket")
def test_a_group_that_is_open_to_others(aws: Aws, ec2: Any, source: Path) -> None:
    spec = load_cluster_text(TEXT, "c.yaml").on_aws("test")
    made = prepare(aws, spec, sleep=lambda seconds: None)
    assert problems(check(aws, TEXT, source)) == []
    ec2.authorize_security_group_ingress(
        GroupId=made.security_group, CidrIp="0.0.0.0/0", IpProtocol="tcp", FromPort=22, ToPort=22
    )
    made.key_file.unlink()
    found = problems(check(aws, TEXT, source))
    assert [one.split(": ")[1] for one in found] == ["allowed_address", "name"]
    assert "rlx cluster prepare mends it" in found[0]


@pytest.mark.usefixtures("quotas", "bucket")
def test_a_name_that_a_cluster_of_ray_has(aws: Aws, ec2: Any, source: Path) -> None:
    id = plain_instance(ec2, "apex", ours=False)
    assert problems(check(aws, TEXT, source)) == [
        f"c.yaml:1:7: name: a cluster apex that rlx did not make has nodes: {id}; "
        "give the cluster another name"
    ]


@pytest.mark.usefixtures("quotas", "bucket")
def test_no_checkout(aws: Aws) -> None:
    assert "no checkout of rlx" in problems(check(aws, TEXT, None))[0]
    assert problems(check(aws, TEXT + "environment: /opt/env\n", None)) == []


def refuse(monkeypatch: pytest.MonkeyPatch, code: str, only: str = "") -> None:
    """Let AWS refuse a call, or all."""
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    real = BaseClient._make_api_call

    def call(self: Any, name: str, parameters: Any) -> Any:
        if only in ("", name):
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, name)
        return real(self, name, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)


@pytest.mark.parametrize("code", ["AuthFailure", "InvalidClientTokenId", "ExpiredToken"])
def test_wrong_credentials(aws: Aws, source: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    refuse(monkeypatch, code)
    with pytest.raises(
        ClusterError, match=rf"AWS us-east-1: the credentials are not accepted \({code}: no\); aws"
    ):
        check(aws, TEXT, source)


def test_a_profile_that_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ClusterError, match=r"The config profile \(nobody\) could not be found"):
        check(Aws(REGION), TEXT, source)


def test_no_credentials(home: Path, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ClusterError, match="AWS: no credentials; aws configure"):
        check(Aws(REGION), TEXT, source)


@pytest.mark.usefixtures("quotas", "bucket")
def test_a_call_that_is_not_permitted_does_not_hide_the_rest(
    aws: Aws, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "UnauthorizedOperation", only="DescribeAvailabilityZones")
    found = problems(check(aws, changed(TEXT, image="ami-0123456789abcdef0"), source))
    assert found == [
        "c.yaml:4:8: zones: ec2:DescribeAvailabilityZones is not permitted (UnauthorizedOperation); "
        "give this user ec2:DescribeAvailabilityZones; all that rlx needs is in cluster/iam-policy.json",
        "c.yaml:5:8: image: no image ami-0123456789abcdef0 in us-east-1; "
        "each region has ids of its own; is the image shared with this account?",
    ]


def test_a_region_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, home: Path, source: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(AwsError, match=r"AWS us-east-1: cannot be reached .* is the region spelled right"):
        check(Aws(REGION), TEXT, source)


def test_families_of_quotas() -> None:
    families = {
        name: family(name) for name in ("m5.large", "c7gn.large", "g5.xlarge", "gr6.4xlarge", "p4d.24xlarge")
    }
    assert list(families.values()) == ["standard", "standard", "G and VT", "G and VT", "P"]
    assert family("trn1.2xlarge") == family("x2idn.16xlarge") == family("mac1.metal") == family("") == ""
    counted = count_vcpus(
        [("m5.large", False, 2, 3), ("c5.large", False, 2, 1), ("trn1.2xlarge", False, 8, 1)]
    )
    assert counted == {("standard", False): 8}


@pytest.mark.usefixtures("quotas", "bucket")
def test_the_boundary(aws: Aws, source: Path) -> None:
    arn = "arn:aws:iam::123456789012:policy/rlx-cluster-boundary"
    assert dict(check(aws, TEXT, source).facts)["boundary"] == arn
    iam = boto3.client("iam")
    document = (Path(__file__).resolve().parents[2] / "cluster/iam-boundary.json").read_text()
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)
    assert problems(check(aws, TEXT, source)) == [
        "c.yaml:7:10: storage: the policy rlx-cluster-boundary does not let the head use the bucket "
        "runs-of-ours; an administrator puts the bucket into it, in place of my-bucket"
    ]
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy(PolicyArn=arn)
    assert problems(check(aws, TEXT, source)) == [
        "c.yaml:1:7: name: no policy rlx-cluster-boundary in this account; an administrator makes it: "
        "aws iam create-policy --policy-name rlx-cluster-boundary "
        "--policy-document file://cluster/iam-boundary.json"
    ]


@pytest.mark.usefixtures("quotas", "bucket")
def test_the_present_address(aws: Aws, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(given: str) -> str:
        report = check(aws, changed(TEXT, allowed_address=given), source)
        return problems(report)[0] if report.problems else dict(report.facts)["address"]

    assert said("203.0.113.0/24") == "203.0.113.0/24, this machine's is 203.0.113.7/32"
    assert said("auto") == "203.0.113.7/32, this machine's at this moment"
    warning = "warning: this machine's is 203.0.113.7/32 now, ssh from here would not be let in"
    assert said("198.51.100.1/32") == f"198.51.100.1/32; {warning}"

    def silent(url: str) -> Any:
        raise OSError("timed out")

    monkeypatch.setattr(address, "open_address", silent)
    unknown = "this machine's address cannot be asked (timed out)"
    assert said("198.51.100.1/32") == f"198.51.100.1/32; {unknown}"
    assert said("auto").startswith(f"c.yaml:6:18: allowed_address: {unknown}; write your address")
