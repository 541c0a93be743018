"""The launcher file: as a person read it, as Ray's schema wants it, and as Ray's own code takes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rlx.cluster.aws import Aws
from rlx.cluster.down import take_down
from rlx.cluster.launcher import Local, Prepared, as_yaml, render_aws
from rlx.cluster.leftovers import find_leftovers
from rlx.cluster.load import load_cluster_text
from rlx.cluster.prepare import prepare
from rlx.cluster.spec import AwsCluster
from tests.cluster.conftest import REGION, TEXT, changed
from tests.cluster.machines import settle, start_as_ray_does
from tests.golden.make_cluster import FOLDER, PREPARED, rendered


@pytest.mark.parametrize("example", ["aws", "on-prem"])
def test_the_shipped_examples_are_rendered_as_before(example: str) -> None:
    # To remake them: python -m tests.golden.make_cluster
    assert rendered(example) == (FOLDER / f"cluster-{example}.yaml").read_text()


@pytest.mark.parametrize("example", ["aws", "on-prem"])
def test_ray_s_schema_takes_it(example: str) -> None:
    from importlib.util import find_spec

    ray = find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    schema = json.loads((Path(ray.origin).parent / "autoscaler/ray-schema.json").read_text())
    launcher = yaml.safe_load(rendered(example))
    jsonschema.validate(launcher, schema)
    launcher["no_such_key"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(launcher, schema)


def render(text: str, local: Local, prepared: Prepared = PREPARED) -> dict[str, Any]:
    return render_aws(load_cluster_text(text, "c.yaml").on_aws("test"), prepared, local)


def test_nothing_is_kept_and_everything_is_tagged(local: Local) -> None:
    launcher = render(TEXT, local)
    assert launcher["provider"]["cache_stopped_nodes"] is False
    for name, node_type in launcher["available_node_types"].items():
        config = node_type["node_config"]
        assert config["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert all(disk["Ebs"]["DeleteOnTermination"] for disk in config["BlockDeviceMappings"])
        assert config["SecurityGroupIds"] == [PREPARED.security_group]
        tagged = {one["ResourceType"]: one["Tags"] for one in config["TagSpecifications"]}
        assert {"instance", "volume"} <= set(tagged)
        assert all({"Key": "ray-cluster-name", "Value": "apex"} in tags for tags in tagged.values())
        assert ("IamInstanceProfile" in config) == (name == "head")
    assert "InstanceMarketOptions" not in launcher["available_node_types"]["head"]["node_config"]


def test_counts(local: Local) -> None:
    launcher = render(TEXT, local)
    head, actors = (launcher["available_node_types"][name] for name in ("head", "actors"))
    assert (head["min_workers"], head["max_workers"]) == (0, 0)
    assert (actors["min_workers"], actors["max_workers"], launcher["max_workers"]) == (2, 3, 3)


def test_the_budget_becomes_the_hour_of_every_node(local: Local) -> None:
    head = "{instance_type: m5.large, price_per_hour: 0.5}"
    text = changed(TEXT, head=head, budget="{max_hours: 8, max_cost: 7}")
    text = text.replace("spot: true", "spot: true, price_per_hour: 1.0")
    # One head and at most three workers: 3.5 an hour, so 2 hours.
    for node_type in render(text, local)["available_node_types"].values():
        assert "+ 7200 ))" in node_type["node_config"]["UserData"]
    for node_type in render(TEXT, local)["available_node_types"].values():
        assert "+ 28800 ))" in node_type["node_config"]["UserData"]


def test_versions_are_pinned_and_compared_and_the_token_is_shipped(local: Local) -> None:
    launcher = render(TEXT, local)
    setup = "\n".join(launcher["setup_commands"])
    assert "--python 3.11.7" in setup
    assert '"ray[default,rllib]==2.60.0"' in setup
    assert '"3.11.7 2.60.0 0.1.0"' in setup
    assert launcher["file_mounts"] == {"~/.rlx/token-apex": str(local.token), "~/rlx-src": "/src/rlx"}
    for start in (launcher["head_start_ray_commands"][1], launcher["worker_start_ray_commands"][1]):
        assert start.startswith("export RLX_CLUSTER=apex RAY_AUTH_MODE=token ")
        assert "RAY_AUTH_TOKEN_PATH=$HOME/.rlx/token-apex " in start


def test_an_environment_that_is_there_is_only_compared(local: Local) -> None:
    launcher = render(TEXT + "environment: /opt/env\n", local)
    (compare,) = launcher["setup_commands"]
    assert "exit 1" in compare
    assert list(launcher["file_mounts"]) == ["~/.rlx/token-apex"]
    assert "/opt/env/bin/ray start --disable-usage-stats --head" in launcher["head_start_ray_commands"][1]
    assert "/opt/env/bin/python" in launcher["available_node_types"]["head"]["node_config"]["UserData"]


def test_the_comparison_of_versions_fails_on_others(local: Local, tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (compare,) = render(TEXT + f"environment: {tmp_path}\n", local)["setup_commands"]
    done = subprocess.run(["bash", "-c", compare.replace("0.1.0", "9.9.9")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "wanted" in done.stdout
    assert "9.9.9" in done.stdout


def test_ray_s_launcher_takes_it_and_adds_nothing_that_stays(
    aws: Aws, ec2: Any, spec: AwsCluster, local: Local
) -> None:
    prepared = prepare(aws, spec, sleep=lambda seconds: None)
    before = find_leftovers(aws, [REGION], "apex")
    launcher = yaml.safe_load(as_yaml(render_aws(spec, prepared, local), "apex.yaml"))
    config = settle(launcher)
    assert config["available_node_types"]["actors"]["resources"]["CPU"] == 4
    # Neither a group, nor a key, nor a role of Ray's.
    assert find_leftovers(aws, [REGION], "apex") == before
    assert config["head_node"] == {}
    (group,) = ec2.describe_security_groups(GroupIds=[prepared.security_group])["SecurityGroups"]
    addresses = {one["CidrIp"] for rule in group["IpPermissions"] for one in rule["IpRanges"]}
    assert addresses == {"203.0.113.7/32"}

    start_as_ray_does(config, ("head", "actors", "actors"))
    found = find_leftovers(aws, [REGION], "apex")
    assert [one.kind for one in found].count("instance") == 3
    assert [one.removable for one in found if one.kind == "volume"] == [True, True, True]
    assert take_down(aws, "apex", sleep=lambda seconds: None).standing == []
    assert find_leftovers(aws, [REGION]) == []
