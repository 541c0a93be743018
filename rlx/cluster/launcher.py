"""From the cluster file to Ray's launcher file: a function of values, which asks nobody and starts nothing.

What Ray's defaults would do otherwise, and why it is not wanted, stands at each line. Seen with Ray 2.60.0.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlx.cluster import names
from rlx.cluster.hard_end import user_data
from rlx.cluster.spec import AnyCluster, AwsCluster, Machine, OnPremiseCluster, Workers
from rlx.cluster.versions import UV_VERSION, Versions

Launcher = dict[str, Any]

HEAD = "head"
_SOURCE = "~/rlx-src"
_ENVIRONMENT = "~/rlx-env"
PORT = 6379
#: Seconds that a stopped job has to write its checkpoint.
JOB_STOP_SECONDS = 600
#: In the environment of everything that a cluster's start has started; its value is the cluster's name.
MARK = "RLX_CLUSTER"
# Not needed on the nodes, and large.
_EXCLUDED = [
    "**/.git", "**/.venv", "**/__pycache__", "**/.*_cache", "**/.hypothesis", "**/*.egg-info",
    "/runs", "/dist", "/build",
]  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """What a cluster on AWS needs before its first node (`prepare.py` makes it).

    Attributes:
        security_group: its id. Given by id, Ray takes it as it is; by name it would open ssh to the world.
        key_name: key pair in the region.
        key_file: its private key here.
        instance_profile: name of the profile with the head's role.
    """

    security_group: str
    key_name: str
    key_file: Path
    instance_profile: str


@dataclass(frozen=True)
class Local:
    """What is on this machine and goes to the nodes.

    Attributes:
        versions: equal on all nodes.
        source: checkout of rlx that is copied and installed.
        token: file with the token of this cluster's Ray.
    """

    versions: Versions
    source: Path
    token: Path


def render_aws(spec: AwsCluster, prepared: Prepared, local: Local) -> Launcher:
    """Write the launcher file of a cluster on AWS."""
    head = {
        "resources": _resources(spec.head),
        "min_workers": 0,
        "max_workers": 0,
        "node_config": _head_config(spec, prepared),
    }
    node_types: dict[str, dict[str, Any]] = {HEAD: head}
    for name, group in spec.workers.items():
        node_types[name] = {
            "resources": _resources(group),
            "min_workers": group.count,
            "max_workers": group.most,
            "node_config": _worker_config(spec, group, prepared),
        }
    return {
        "cluster_name": spec.name,
        "max_workers": sum(group.most for group in spec.workers.values()),
        "idle_timeout_minutes": spec.idle_timeout_minutes,
        "provider": {
            "type": "aws",
            "region": spec.region,
            "availability_zone": ",".join(spec.zones),
            # Ray's default stops instances instead of ending them, and their volumes go on costing money.
            "cache_stopped_nodes": False,
            "use_internal_ips": spec.internal_addresses,
        },
        "auth": {"ssh_user": spec.ssh_user, "ssh_private_key": str(prepared.key_file)},
        "available_node_types": node_types,
        "head_node_type": HEAD,
        **_common(spec, local, "[aws]"),
    }


def render_on_premise(spec: OnPremiseCluster, local: Local) -> Launcher:
    """Write the launcher file of a cluster of hosts."""
    head, *workers = spec.hosts
    return {
        "cluster_name": spec.name,
        "max_workers": len(workers),
        "provider": {"type": "local", "head_ip": head, "worker_ips": workers},
        "auth": {"ssh_user": spec.ssh_user, "ssh_private_key": spec.ssh_key},
        **_common(spec, local, "", f" --num-cpus={spec.num_cpus}" if spec.num_cpus else ""),
    }


def as_yaml(launcher: Launcher, source: str) -> str:
    """Write the launcher file as text."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes scripts as blocks, and everything in full."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    head = f"# Written by rlx cluster render from {source}: change that file instead.\n"
    return head + yaml.dump(launcher, Dumper=Dumper, sort_keys=False, width=110)


def _common(spec: AnyCluster, local: Local, extra: str, options: str = "") -> Launcher:
    mounts = {token_on_nodes(spec.name): str(local.token)}
    if spec.environment is None:
        mounts[_SOURCE] = str(local.source)
    ray = f"{environment_of(spec)}/bin/ray"
    if spec.object_store_gb is not None:
        options += f" --object-store-memory={round(spec.object_store_gb * 1e9)}"
    start = f"{_before_start(spec)} {ray} start --disable-usage-stats{options}"
    return {
        "file_mounts": mounts,
        "rsync_exclude": list(_EXCLUDED),
        "setup_commands": _setup(spec, local.versions, extra),
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "initialization_commands": [],
        "head_start_ray_commands": [
            stop_script(spec.name),
            # The dashboard answers on loopback alone: who wants it makes a tunnel.
            f"{start} --head --port={PORT} --temp-dir={temporary_folder(spec.name)}"
            " --dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": [
            stop_script(spec.name),
            f"{start} --address=$RAY_HEAD_IP:{PORT}",
        ],
    }


def _before_start(spec: AnyCluster) -> str:
    return (
        f"export {MARK}={spec.name} {show_token(spec.name)}"
        # Ray runs what it starts at niceness 15: beside a busy learner, runners would starve.
        " RAY_worker_niceness=0"
        # A job that is stopped has so long for its checkpoint, before it is killed; Ray gives it 3 s.
        f" RAY_JOB_STOP_WAIT_TIME_S={JOB_STOP_SECONDS};"
        " ulimit -n 65536 2>/dev/null || true;"
    )


def token_on_nodes(cluster: str) -> str:
    """Return where nodes have the token: not at Ray's own place, where another cluster's may be."""
    return f"~/.rlx/token-{cluster}"


def show_token(cluster: str) -> str:
    """Write the variables that let a process of a node in; for `export` or `env`."""
    return f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/{token_on_nodes(cluster)[2:]}"


def environment_of(spec: AnyCluster) -> str:
    """Return the virtual environment of the nodes, as they write its path."""
    return spec.environment or _ENVIRONMENT


def temporary_folder(cluster: str) -> str:
    """Return Ray's folder of a cluster on every node: sessions, logs, sockets, whose paths must be short."""
    short = cluster if len(cluster) <= 24 else f"{cluster[:15]}-{zlib.crc32(cluster.encode()):08x}"
    return f"/tmp/rlx-{short}"


def find_script(cluster: str) -> str:
    """Write shell code that defines `ours`: print the processes that a start of this cluster has left.

    What `ray start` starts has the mark in its environment, or writes a log in the cluster's own folder:
    Ray's agents and workers write their title over their environment, and outlive the raylet. Others'
    Ray, which `ray stop` would end too, has neither, and who only reads a log is left alone.
    """
    return (
        f"ours() {{ {{ grep -lszxF '{MARK}={cluster}' /proc/[0-9]*/environ; "
        f"find /proc/[0-9]*/fd -maxdepth 1 -perm -200 -lname '{temporary_folder(cluster)}/*' 2>/dev/null; }} "
        "| cut -d/ -f3 | sort -un; }"
    )


def stop_script(cluster: str) -> str:
    """Write shell code that ends a cluster's processes on the host that runs it."""
    return (
        f"{find_script(cluster)}; "
        'found="$(ours)"; [ -z "$found" ] || kill $found 2>/dev/null; '
        'for i in 1 2 3 4 5 6 7 8 9 10; do [ -z "$(ours)" ] && break; sleep 0.5; done; '
        'found="$(ours)"; [ -z "$found" ] || kill -9 $found 2>/dev/null; true'
    )


def _resources(machine: Machine) -> dict[str, Any]:
    return {} if machine.num_cpus is None else {"CPU": machine.num_cpus}


def _setup(spec: AnyCluster, versions: Versions, extra: str) -> list[str]:
    environment = environment_of(spec)
    python = f"{environment}/bin/python"
    wanted = f"{versions.python} {versions.ray} {versions.rlx}"
    # Ends the set-up of a node with a clear line, instead of a worker that never joins.
    compare = (
        f"""found=$({python} -c 'import platform; from importlib.metadata import version as v; """
        f"""print(platform.python_version(), v("ray"), v("rlx"))'); """
        f"""[ "$found" = "{wanted}" ] || """
        f"""{{ echo "rlx: versions of python, ray, rlx: $found here, {wanted} wanted"; exit 1; }}"""
    )
    if spec.environment is not None:
        return [compare]
    return [
        f"[ -x ~/.local/bin/uv ] || curl -LsSf https://astral.sh/uv/{UV_VERSION}/install.sh | sh",
        f"[ -x {python} ] || ~/.local/bin/uv venv --python {versions.python} {environment}",
        f'~/.local/bin/uv pip install --quiet --python {python} "ray[default,rllib]=={versions.ray}"'
        f' "$HOME/rlx-src{extra}"',
        compare,
        f"grep -qs rlx-env ~/.bashrc || echo 'export PATH={environment}/bin:$PATH' >> ~/.bashrc",
    ]


def _head_config(spec: AwsCluster, prepared: Prepared) -> dict[str, Any]:
    return {
        **_node_config(spec, spec.head, prepared, head=True),
        # Without one, Ray gives the head a role that may do everything with EC2 and S3.
        "IamInstanceProfile": {"Name": prepared.instance_profile},
    }


def _worker_config(spec: AwsCluster, group: Workers, prepared: Prepared) -> dict[str, Any]:
    config = _node_config(spec, group, prepared, head=False, spot=group.spot)
    if group.spot:
        config["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
        }
    return config


def _node_config(
    spec: AwsCluster, machine: Machine, prepared: Prepared, *, head: bool, spot: bool = False
) -> dict[str, Any]:
    kinds = ["instance", "volume", *(["spot-instances-request"] if spot else [])]
    python = f"{_absolute(environment_of(spec), spec.ssh_user)}/bin/python"
    hours = spec.lifetime_hours()
    return {
        "InstanceType": machine.instance_type,
        "ImageId": spec.image,
        "KeyName": prepared.key_name,
        "SecurityGroupIds": [prepared.security_group],
        **({"SubnetIds": list(spec.subnets)} if spec.subnets else {}),
        "BlockDeviceMappings": [
            {
                "DeviceName": spec.root_device,
                "Ebs": {"VolumeSize": machine.volume_gb, "VolumeType": "gp3", "DeleteOnTermination": True},
            }
        ],
        # Ray tags instances only.
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags(spec.name)} for kind in kinds],
        "MetadataOptions": {"HttpTokens": "required"},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "UserData": user_data(spec.name, region=spec.region, hours=hours, python=python, head=head),
    }


def tags(cluster: str) -> list[Mapping[str, str]]:
    """Return the tags of everything that belongs to a cluster."""
    return [{"Key": names.CLUSTER_TAG, "Value": cluster}, {"Key": names.RLX_TAG, "Value": cluster}]


def _absolute(path: str, user: str) -> str:
    """Expand `~` as the node does for its user: the hard end runs as root."""
    home = "/root" if user == "root" else f"/home/{user}"
    return home + path[1:] if path.startswith("~") else path
