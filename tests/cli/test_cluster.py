"""`rlx cluster` as a shell sees it: exit codes, JSON, words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from rlx.cli.exit_codes import ExitCode
from tests.cli.commands import rlx
from tests.cluster.conftest import REGION, TEXT, _quick_clients, cloud, ec2, home
from tests.cluster.machines import plain_instance

__all__ = ["_quick_clients", "cloud", "ec2", "home"]  # fixtures


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cloud: None) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rlx.cluster.prepare._IAM_SECONDS", 0.0)
    boto3.client("s3", region_name=REGION).create_bucket(Bucket="runs-of-ours")
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster/aws.yaml").write_text(TEXT)
    return "cluster/aws.yaml"


def test_from_check_to_nothing(file: str, ec2: Any) -> None:
    checked = rlx("cluster", "check")
    assert checked.exit_code == ExitCode.OK, checked.output
    assert "account" in checked.output

    early = rlx("cluster", "render", file)
    assert early.exit_code == ExitCode.CLUSTER
    assert "no security group rlx-apex; rlx cluster prepare makes it" in early.stderr

    made = rlx("cluster", "prepare", file, "--json")
    assert made.exit_code == ExitCode.OK
    group = json.loads(made.stdout)["security_group"]
    launcher = rlx("cluster", "render", file)
    assert launcher.exit_code == ExitCode.OK
    head = yaml.safe_load(launcher.stdout)["available_node_types"]["head"]
    assert head["node_config"]["SecurityGroupIds"] == [group]

    plain_instance(ec2, "apex")
    listed = rlx("cluster", "leftovers", file, "--json")
    assert listed.exit_code == ExitCode.STILL_THERE
    kinds = {one["kind"] for one in json.loads(listed.stdout)}
    assert {"instance", "volume", "security group", "key pair", "role", "instance profile", "file"} == kinds

    down = rlx("cluster", "down", file, "--yes", "--json", "--wait", "0")
    assert down.exit_code == ExitCode.OK, down.output
    result = json.loads(down.stdout)
    assert (result["ok"], result["left"]) == (True, [])
    assert {one["kind"] for one in result["removed"]} == kinds
    again = rlx("cluster", "down", file, "--yes")
    assert again.exit_code == ExitCode.OK
    assert "apex in us-east-1, account 123456789012: 0 removed, 0 left" in again.stdout
    assert rlx("cluster", "leftovers").stdout == "nothing found\n"


def test_check_says_where(file: str) -> None:
    Path(file).write_text(TEXT.replace("m5.large", "m5.enormous"))
    text = rlx("cluster", "check", file)
    assert text.exit_code == ExitCode.CLUSTER
    assert "cluster/aws.yaml:8:23: head.instance_type: no instance type 'm5.enormous'" in text.stderr
    found = rlx("cluster", "check", file, "--json")
    document = json.loads(found.stdout)
    assert not document["ok"]
    assert [(one["line"], one["path"]) for one in document["problems"]] == [(8, "head.instance_type")]


def test_down_asks_first(file: str, ec2: Any) -> None:
    id = plain_instance(ec2, "apex")
    asked = rlx("cluster", "down", file)
    assert asked.exit_code == ExitCode.USAGE
    assert id in asked.stdout
    assert "rlx cluster down: nobody to ask; --yes removes without asking" in asked.stderr
    shown = rlx("cluster", "down", file, "--dry-run")
    assert shown.exit_code == ExitCode.OK
    assert id in shown.stdout
    assert ec2.describe_instances()["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"


def test_down_takes_no_for_an_answer(file: str, ec2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_instance(ec2, "apex")
    monkeypatch.setattr("rlx.cli.cluster._somebody_is_there", lambda: True)
    answers = iter([False, True])
    monkeypatch.setattr("typer.confirm", lambda question, err: next(answers))
    refused = rlx("cluster", "down", file)
    assert refused.exit_code == ExitCode.STILL_THERE
    assert "nothing was removed" in refused.stderr
    agreed = rlx("cluster", "down", file, "--json", "--wait", "0")
    assert agreed.exit_code == ExitCode.OK
    assert json.loads(agreed.stdout)["ok"]  # the table of what is there went to stderr


def test_down_says_what_goes_on_costing(file: str, ec2: Any) -> None:
    id = plain_instance(ec2, "apex")
    ec2.modify_instance_attribute(InstanceId=id, DisableApiTermination={"Value": True})
    down = rlx("cluster", "down", file, "--yes", "--wait", "0")
    assert down.exit_code == ExitCode.STILL_THERE
    assert (
        f"rlx: instance {id} (us-east-1) is still there and costs money: ec2:TerminateInstances"
        in down.stderr
    )


def test_down_says_what_it_leaves_and_where_it_is(
    file: str, ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = plain_instance(ec2, "apex"), plain_instance(ec2, "apex", ours=False)
    monkeypatch.setattr("rlx.cli.cluster._somebody_is_there", lambda: True)
    asked: list[str] = []
    monkeypatch.setattr("typer.confirm", lambda question, err: not asked.append(question))
    down = rlx("cluster", "down", file, "--json", "--wait", "0")
    assert down.exit_code == ExitCode.OK
    assert asked == ["Remove what belongs to apex in us-east-1, account 123456789012?"]
    assert json.loads(down.stdout)["account"] == "123456789012"
    assert ours in [one["id"] for one in json.loads(down.stdout)["removed"]]
    assert f"rlx: instance {theirs} (us-east-1) stays: " in down.stderr
    assert "Ray's, not made by rlx" in down.stderr


def test_down_in_another_account_or_region(file: str, ec2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rlx("cluster", "prepare", file).exit_code == ExitCode.OK
    elsewhere = rlx("cluster", "down", "--name", "apex", "--region", "us-west-2", "--yes")
    assert elsewhere.exit_code == ExitCode.CLUSTER
    assert "nothing of apex is here; by ~/.rlx/clusters it is in us-east-1" in elsewhere.stderr
    monkeypatch.setenv("MOTO_ACCOUNT_ID", "999999999999")
    for more in ("--yes", "--dry-run"):
        wrong = rlx("cluster", "down", file, more)
        assert wrong.exit_code == ExitCode.CLUSTER
        assert "apex is in account 123456789012" in wrong.stderr


def test_down_says_every_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    from rlx.cli.output import cluster_down
    from rlx.cluster.down import Outcome

    outcome = Outcome("apex", [], [], {"vol-1": "could not be marked"}, "1")
    assert cluster_down(outcome, REGION, as_json=False) == ExitCode.OK
    assert capsys.readouterr().err == "rlx: vol-1: could not be marked\n"


def test_a_region_that_cannot_be_listed_does_not_hide_the_rest(
    file: str, ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlx.cluster.aws import Aws, AwsError

    id = plain_instance(ec2, "apex")
    real = Aws.items

    def items(self: Aws, service: str, operation: str, key: str, region: str = "", **parameters: Any) -> Any:
        if region == "eu-west-1":
            raise AwsError(f"ec2:{operation} is not permitted", "AWS eu-west-1")
        if region not in ("", REGION):
            return iter(())
        return real(self, service, operation, key, region, **parameters)

    monkeypatch.setattr(Aws, "items", items)
    found = rlx("cluster", "leftovers", "--all-regions", "--json")
    assert found.exit_code == ExitCode.CLUSTER
    assert id in [one["id"] for one in json.loads(found.stdout)]
    assert "rlx: eu-west-1 could not be looked at: ec2:" in found.stderr


def test_a_lost_file(file: str, ec2: Any) -> None:
    Path(file).unlink()
    plain_instance(ec2, "apex")
    found = rlx("cluster", "leftovers", "--all-regions", "--json")
    assert found.exit_code == ExitCode.STILL_THERE
    assert {(one["cluster"], one["place"]) for one in json.loads(found.stdout)} == {("apex", REGION)}
    assert rlx("cluster", "leftovers", "--region", REGION, "--name", "other").exit_code == ExitCode.OK
    assert rlx("cluster", "down", "--name", "apex", "--yes").exit_code == ExitCode.USAGE
    assert rlx("cluster", "down", "--name", "a*", "--region", REGION, "--yes").exit_code == ExitCode.USAGE
    assert rlx("cluster", "down", "--name", "apex", "--region", REGION, "--yes").exit_code == ExitCode.OK
    assert rlx("cluster", "leftovers", "--region", REGION).stdout == "nothing found\n"


def test_wrong_files(tmp_path: Path, home: Path) -> None:
    wrong = tmp_path / "c.yaml"
    wrong.write_text("provider: aws\n")
    for verb in ("check", "prepare", "render", "down", "leftovers"):
        found = rlx("cluster", verb, str(wrong))
        assert found.exit_code == ExitCode.USAGE
        assert f"{wrong}:1:1: budget: is missing" in found.stderr
    assert rlx("cluster", "check", str(tmp_path / "none.yaml")).exit_code == ExitCode.USAGE


def test_hosts_are_rendered_without_asking_them(tmp_path: Path, home: Path) -> None:
    hosts = str(Path(__file__).resolve().parents[2] / "cluster/on-prem.yaml")
    found = rlx("cluster", "prepare", hosts)
    assert found.exit_code == ExitCode.USAGE
    assert "on-prem.yaml:3:11: rlx cluster prepare works on provider aws" in found.stderr
    out = tmp_path / "launcher.yaml"
    assert rlx("cluster", "render", hosts, "-o", str(out)).exit_code == ExitCode.OK
    launcher = yaml.safe_load(out.read_text())
    assert launcher["provider"]["head_ip"] == "192.0.2.10"
    assert Path(launcher["file_mounts"]["~/.rlx/token-lab"]).stat().st_mode & 0o777 == 0o600


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['rlx', 'cluster', 'down', '--help']\n"
        "from rlx.cli.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "print(*sorted({'boto3', 'botocore', 'ray', 'torch', 'yaml'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--dry-run" in done.stdout
    assert done.stderr.split() == []
