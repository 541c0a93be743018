"""How the parts of a cluster are called: names and tags of ours, and those that Ray's launcher makes."""

from __future__ import annotations

from pathlib import Path

#: Ray's launcher puts this tag on instances and security groups; its value is the cluster's name.
CLUSTER_TAG = "ray-cluster-name"
#: Ours, on everything that rlx makes, or has Ray make.
RLX_TAG = "rlx-cluster"
#: On a volume without a tag that hung at an instance of a cluster, so that it is found when that is gone.
ATTACHED_TAG = "rlx-was-attached-to"

#: Roles and instance profiles of rlx stand below this path, which makes them easy to list and to permit.
IAM_PATH = "/rlx/"
#: The name of the policy inside a role of ours.
ROLE_POLICY = "rlx-head"

#: Ray's own names, where its user gives none. All clusters of an account share the role and the keys.
RAY_PREFIX = "ray-autoscaler"
RAY_ROLE = "ray-autoscaler-v1"


def resource_name(cluster: str) -> str:
    """Name the security group and the key pair of a cluster."""
    return f"rlx-{cluster}"


def ray_group_name(cluster: str) -> str:
    """Name the security group that Ray makes for a cluster that has none."""
    return f"{RAY_PREFIX}-{cluster}"


def role_name(cluster: str, region: str) -> str:
    """Name role and instance profile, which all regions share."""
    return f"rlx-{cluster}-{region}"


def role_path(cluster: str, region: str) -> str:
    """Return the path of role and instance profile, which says whose they are."""
    return f"{IAM_PATH}{region}/{cluster}/"


def state_folder(place: str, cluster: str, home: Path) -> Path:
    """Return the folder with what this machine keeps of a cluster.

    Args:
        place: its region, or `on-premise`.
        cluster: its name.
        home: the user's home.
    """
    return home / ".rlx" / "clusters" / place / cluster


def key_file(place: str, cluster: str, home: Path) -> Path:
    """Return the private key of a cluster."""
    return state_folder(place, cluster, home) / "key.pem"


def account_file(place: str, cluster: str, home: Path) -> Path:
    """Return the file that says in which account a cluster is."""
    return state_folder(place, cluster, home) / "account"


def prices_file(place: str, cluster: str, home: Path) -> Path:
    """Return the file with the prices that a cluster's hard end was reckoned with, and their day."""
    return state_folder(place, cluster, home) / "prices.json"


def other_places(place: str, cluster: str, home: Path) -> list[str]:
    """Return the other regions in which this machine keeps a cluster of this name, unless it does so here."""
    if state_folder(place, cluster, home).exists():
        return []
    folders = (home / ".rlx" / "clusters").glob(f"*/{cluster}")
    return sorted(one.parent.name for one in folders if one.parent.name not in (place, "on-premise"))


def token_file(place: str, cluster: str, home: Path) -> Path:
    """Return the token that Ray's processes and clients show each other."""
    return state_folder(place, cluster, home) / "auth_token"
