"""Cluster files: the shipped ones load, wrong ones say all that is wrong, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlx.cluster.errors import ClusterUsageError
from rlx.cluster.load import check_name, load_cluster, load_cluster_text
from rlx.cluster.spec import AwsCluster, OnPremiseCluster
from rlx.experiment.problems import ExperimentError
from tests.cluster.conftest import TEXT, changed

ROOT = Path(__file__).resolve().parents[2]


def problems(text: str) -> list[str]:
    """Load what is wrong."""
    with pytest.raises(ExperimentError) as caught:
        load_cluster_text(text, "c.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_the_shipped_files_load() -> None:
    aws = load_cluster(ROOT / "cluster/aws.yaml").spec
    assert isinstance(aws, AwsCluster)
    assert aws.workers["actors"].spot
    hosts = load_cluster(ROOT / "cluster/on-prem.yaml").spec
    assert isinstance(hosts, OnPremiseCluster)
    assert len(hosts.hosts) == 3


def test_all_that_is_wrong_is_said_at_once() -> None:
    text = """\
name: My Cluster
provider: aws
region: us-east-1
zones: [us-east-1a, eu-west-1a]
image: ubuntu
allowed_adress: 203.0.113.7/32
allowed_address: 0.0.0.0/0
storage: runs
head: {instance_type: m5.large, volume: 30}
workers:
  actors: {instance_type: c5.xlarge, count: 4, max_count: 2, spott: true}
budget: {max_cost: 10}
"""
    assert problems(text) == [
        "c.yaml:1:7: name: expected small letters, digits and -, at most 40, a letter first, "
        "got 'My Cluster'",
        "c.yaml:4:21: zones.1: 'eu-west-1a' is not in region us-east-1; "
        "zones of this region begin with us-east-1",
        "c.yaml:5:8: image: expected an AMI, e.g. ami-0123456789abcdef0, got 'ubuntu'",
        "c.yaml:6:1: allowed_adress: unknown key; did you mean 'allowed_address'?",
        "c.yaml:7:18: allowed_address: 0.0.0.0/0 is most of the internet, and who gets in may start "
        "machines; name your own address, e.g. 203.0.113.7/32",
        "c.yaml:8:10: storage: expected s3:// or an absolute path, got 'runs'; "
        "e.g. s3://bucket/prefix or /mnt/shared/runs",
        "c.yaml:9:33: head.volume: unknown key; did you mean 'volume_gb'?",
        "c.yaml:11:59: workers.actors.max_count: must be at least count (4), got 2",
        "c.yaml:11:62: workers.actors.spott: unknown key; did you mean 'spot'?",
        "c.yaml:12:9: budget.max_hours: is missing",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: x\n", "c.yaml:1:1: provider: is missing; one of aws, on-premise"),
        ("provider: asw\n", "c.yaml:1:11: provider: expected one of aws, on-premise, got 'asw'"),
        ("- provider\n", "c.yaml:1:1: expected a mapping, e.g. provider: aws"),
        (changed(TEXT, allowed_address="me"),
         "c.yaml:6:18: allowed_address: expected auto or an IPv4 network"),
        (changed(TEXT, allowed_address="203.0.113.7"),
         "c.yaml:6:18: allowed_address: expected a.b.c.d/n, got '203.0.113.7'; write 203.0.113.7/32"),
        (changed(TEXT, allowed_address="203.0.113.0/255.255.255.0"),
         "c.yaml:6:18: allowed_address: expected a.b.c.d/n, got '203.0.113.0/255.255.255.0'; "
         "write 203.0.113.0/24"),
        (changed(TEXT, storage="s3://"), "c.yaml:7:10: storage: '' is no name of a bucket"),
        (changed(TEXT, storage="s3://*/x"), "c.yaml:7:10: storage: '*' is no name of a bucket"),
        (changed(TEXT, storage="s3://Runs/x"), "c.yaml:7:10: storage: 'Runs' is no name of a bucket"),
        (changed(TEXT, storage="'s3://runs/a*?$b'"), "c.yaml:7:10: storage: the prefix must not have $ * ?"),
        (TEXT + "head_count: 2\n", "c.yaml:12:1: head_count: unknown key"),
        (TEXT + "hosts: [a, a]\n", "c.yaml:12:12: hosts.1: a stands here twice"),
        (TEXT + "environment: my env; rm -rf\n", "c.yaml:12:14: environment: expected a path that begins"),
    ],
)  # fmt: skip
def test_single_problems(text: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in problems(text)), problems(text)


def test_lifetime() -> None:
    spec = load_cluster_text(TEXT, "c.yaml").on_aws("check")
    assert spec.lifetime_hours() == 8
    assert spec.price_per_hour() is None


def test_a_verb_of_aws_refuses_hosts() -> None:
    hosts = load_cluster(ROOT / "cluster/on-prem.yaml")
    with pytest.raises(
        ClusterUsageError, match=r"on-prem\.yaml:3:11: rlx cluster down works on provider aws"
    ):
        hosts.on_aws("down")


def test_names_without_a_file() -> None:
    check_name("apex")
    for wrong in ("*", "Apex", "", "a" * 41, "apex/../x"):
        with pytest.raises(ClusterUsageError):
            check_name(wrong)
