"""A cluster on a simulated AWS: spot workers, one of them taken, the head lost, nothing left in the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rlx.cluster.launcher import tags
from rlx.cluster.load import load_cluster
from rlx.cluster.prepare import head_policy
from tests.rehearsal.conftest import ROOT
from tests.rehearsal.ec2 import REGION, SimulatedAws
from tests.rehearsal.figures import record
from tests.rehearsal.hosts import Hosts
from tests.rehearsal.laptop import Laptop, last_row, wait_for

pytestmark = pytest.mark.rehearsal

IMAGE = "ami-1e749f67"  # one that moto knows
BUCKET = "runs-of-ours"
RUNNERS, SHARDS = 4, 2
RUN = "spot-rlx-FixedLatency-v0-seed0"
TEXT = f"""\
name: apex
provider: aws
region: {REGION}
zones: [us-east-1a]
image: {IMAGE}
allowed_address: 203.0.113.7/32
storage: s3://{BUCKET}/apex
internal_addresses: true
ssh_user: root
environment: {sys.prefix}
object_store_gb: 0.1
head: {{instance_type: m5.large, volume_gb: 30, num_cpus: 4, price_per_hour: 0.1}}
workers:
  actors: {{instance_type: c5.large, count: 2, spot: true, num_cpus: 2, price_per_hour: 0.05}}
budget: {{max_hours: 2}}
"""


@dataclass
class Cloud:
    """The simulated AWS and the machine of a user of it."""

    aws: SimulatedAws
    laptop: Laptop
    file: Path

    def rlx(self, verb: str, *words: str, code: int = 0) -> str:
        """Run `rlx cluster VERB` with this cluster."""
        cluster = (str(self.file),) if verb in ("check", "up", "down") else ("-c", str(self.file))
        return self.laptop.rlx("cluster", verb, *cluster, *words, code=code)

    def status(self) -> dict[str, Any]:
        """Return what `rlx cluster status --json` says, whether all nodes are in or not."""
        process = self.laptop.start("cluster", "status", "-c", str(self.file), "--json")
        out, _ = process.communicate(timeout=120)
        found: dict[str, Any] = json.JSONDecoder().raw_decode(out[out.index("{") :])[0]
        return found

    def nodes_in(self) -> int:
        """Return how many nodes are in."""
        return sum(node["in"] for node in self.status()["nodes"])

    def of_kind(self, spot: bool) -> list[str]:
        """Return our running instances, bought as spot or not."""
        ours = [
            one
            for one in self.aws.instances("running")
            if {"Key": "rlx-cluster", "Value": "apex"} in one["Tags"]
        ]
        return [one["InstanceId"] for one in ours if (one.get("InstanceLifecycle") == "spot") == spot]

    def run(self) -> Path:
        """Return the run directory on the present head."""
        (head,) = self.of_kind(spot=False)
        return self.aws.hosts.all[self.aws.host(head)].folder / "root/rlx-runs" / RUN


def full_strength(run: Path) -> bool:
    row = last_row(run)
    return (
        row.get("healthy_runners") == RUNNERS and row.get("healthy_shards") == SHARDS and row["updates"] > 0
    )


@pytest.fixture(scope="module")
def cloud(stage: Path) -> Iterator[Cloud]:
    """An account with a bucket, the boundary, and somebody else's cluster."""
    hosts = Hosts(stage / "ec2-hosts", network="172.31", bridge="rlxec20", visible=[ROOT])
    with hosts, SimulatedAws(hosts, stage / "aws") as aws:
        aws.client("s3").create_bucket(Bucket=BUCKET)
        boundary = (ROOT / "cluster/iam-boundary.json").read_text().replace("my-bucket", BUCKET)
        aws.client("iam").create_policy(PolicyName="rlx-cluster-boundary", PolicyDocument=boundary)
        theirs = tags("other")
        aws.ec2.run_instances(
            ImageId=IMAGE,
            InstanceType="m5.large",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": theirs}],
        )
        aws.ec2.create_key_pair(
            KeyName="rlx-other", TagSpecifications=[{"ResourceType": "key-pair", "Tags": theirs}]
        )
        file = stage / "apex.yaml"
        file.write_text(TEXT)
        yield Cloud(aws, Laptop(stage / "aws-home", aws.environment), file)
        assert aws.errors == []


def everything(aws: SimulatedAws) -> dict[str, list[str]]:
    """List what the account has."""
    live = ("pending", "running", "stopping", "stopped")
    return {
        "instances": sorted(one["InstanceId"] for one in aws.instances(*live)),
        "volumes": sorted(one["VolumeId"] for one in aws.ec2.describe_volumes()["Volumes"]),
        "groups": sorted(one["GroupName"] for one in aws.ec2.describe_security_groups()["SecurityGroups"]),
        "keys": sorted(one["KeyName"] for one in aws.ec2.describe_key_pairs()["KeyPairs"]),
        "roles": sorted(one["RoleName"] for one in aws.client("iam").list_roles()["Roles"]),
        "profiles": sorted(
            one["InstanceProfileName"]
            for one in aws.client("iam").list_instance_profiles()["InstanceProfiles"]
        ),
        "spot": sorted(
            one["SpotInstanceRequestId"]
            for one in aws.ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
            if one["State"] in ("open", "active")
        ),
    }


@pytest.fixture(scope="module")
def before(cloud: Cloud) -> dict[str, list[str]]:
    """What the account had before anything of ours."""
    return everything(cloud.aws)


def test_what_is_wrong_is_said_before_anything_starts(cloud: Cloud, before: dict[str, list[str]]) -> None:
    wrong = cloud.file.with_name("wrong.yaml")
    wrong.write_text(TEXT.replace(IMAGE, "ami-0123456789abcdef0").replace("c5.large", "c5.huge"))
    said = cloud.laptop.rlx("cluster", "up", str(wrong), "--yes", code=8)
    assert "wrong.yaml:5:8: image: no image ami-0123456789abcdef0" in said
    assert "no instance type 'c5.huge'" in said
    assert everything(cloud.aws) == before


def test_a_zone_without_room(cloud: Cloud, before: dict[str, list[str]]) -> None:
    cloud.aws.no_capacity("c5.large")
    said = cloud.rlx("up", "--yes", "--wait", "75", code=8)
    assert "2 of actors missing" in said
    assert "InsufficientInstanceCapacity" in said
    assert "rlx cluster down ends it" in said
    cloud.aws.no_capacity()
    seconds = wait_for("all nodes, once there is room", lambda: cloud.nodes_in() == 3, 240, every=3)
    record("EC2", "workers in after there is room again", seconds)
    assert "is up already" in cloud.rlx("up", "--yes", code=8)


def test_a_spot_instance_is_taken(cloud: Cloud) -> None:
    experiment = str(ROOT / "tests/rehearsal/paced-apex.yaml")
    cloud.rlx("submit", experiment, "--name", "spot", "--stop", "seconds=3600")
    wait_for("training with all runners", lambda: full_strength(cloud.run()), 150)
    taken = cloud.of_kind(spot=True)[0]
    before, log = last_row(cloud.run()), cloud.run() / "train.log"
    cloud.aws.ec2.terminate_instances(InstanceIds=[taken])
    began = time.monotonic()
    # Its replacement may be in before Ray gives the lost one up: the number of nodes need not sink.
    wait_for("the loss is seen", lambda: "is gone, and with it" in log.read_text(), 120)
    record("EC2", "spot instance taken: seen after", time.monotonic() - began)
    at_loss = last_row(cloud.run())
    assert at_loss["updates"] > before["updates"]
    wait_for("another instance", lambda: len(cloud.of_kind(spot=True)) == 2, 120)
    wait_for("its node", lambda: last_row(cloud.run())["alive_nodes"] == 3, 150)
    record("EC2", "spot instance taken: replaced after", time.monotonic() - began)
    wait_for("full strength", lambda: full_strength(cloud.run()), 120)
    record("EC2", "spot instance taken: full strength after", time.monotonic() - began)
    assert last_row(cloud.run())["updates"] > at_loss["updates"]


def test_the_head_is_lost_and_the_run_goes_on_from_the_bucket(cloud: Cloud) -> None:
    prefix = f"apex/{RUN}/checkpoints/"

    def whole_checkpoints() -> list[str]:
        found = cloud.aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [one["Key"] for one in found if one["Key"].endswith("DIGEST.json")]

    wait_for("a whole checkpoint in the bucket", whole_checkpoints, 60)
    before = last_row(cloud.run())
    cloud.aws.ec2.terminate_instances(InstanceIds=cloud.of_kind(spot=False))
    assert "has no head" in cloud.rlx("status", code=8)
    began = time.monotonic()
    said = cloud.rlx("up", "--yes")
    assert "workers left and no head that answers: they are ended" in said
    record("EC2", "up after the head's end", time.monotonic() - began)
    cloud.rlx("submit", "--resume", RUN, "--stop", f"updates={before['updates'] + 100}")
    wait_for("the resumed run's end", lambda: _finished(cloud.run()), 280)
    row = last_row(cloud.run())
    assert row["session"] == 2
    assert row["updates"] >= before["updates"] + 100


def _finished(run: Path) -> bool:
    manifest = run / "manifest.json"
    return manifest.exists() and json.loads(manifest.read_text())["state"] == "finished"


def test_nothing_is_left_and_every_call_was_permitted(
    cloud: Cloud, before: dict[str, list[str]], tmp_path: Path
) -> None:
    cloud.rlx("fetch", RUN, "--out", str(tmp_path / "runs"))
    assert last_row(tmp_path / "runs" / RUN)["session"] == 2
    began = time.monotonic()
    assert ", 0 left" in cloud.rlx("down", "--yes")
    record("EC2", "down", time.monotonic() - began)
    assert everything(cloud.aws) == before
    assert ": 0 removed, 0 left" in cloud.rlx("down", "--yes")
    listed = cloud.laptop.json("cluster", "leftovers", "--region", REGION, code=7)
    assert {one["cluster"] for one in listed} == {"other"}
    assert list((cloud.laptop.home / ".rlx/clusters").glob("*/apex")) == []

    spec = load_cluster(cloud.file).on_aws("test")
    user = _actions(json.loads((ROOT / "cluster/iam-policy.json").read_text()))
    head = _actions(head_policy(spec))
    calls = cloud.aws.calls()
    made = {f"{call.service}:{call.action}" for call in calls if call.service != "s3"}
    assert {"ec2:RunInstances", "ec2:TerminateInstances", "iam:CreateRole"} <= made
    assert _not_permitted(calls, user, from_here=True) == set()
    assert _not_permitted(calls, head, from_here=False) == set()


def _actions(policy: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for statement in policy["Statement"]:
        if statement["Effect"] == "Allow":
            actions = statement["Action"]
            found.update([actions] if isinstance(actions, str) else actions)
    return found


def _not_permitted(calls: Any, permitted: set[str], *, from_here: bool) -> set[str]:
    names = {
        f"{call.service}:{call.action}"
        for call in calls
        # What runs in the bucket need is another policy's: each of S3's calls has its own right.
        if call.from_here == from_here and call.service != "s3"
    }
    return names - permitted
