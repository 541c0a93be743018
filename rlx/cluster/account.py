"""In which account a cluster is: written down by `prepare`, compared before anything is removed."""

from __future__ import annotations

from pathlib import Path

from rlx.cluster import names
from rlx.cluster.aws import Aws
from rlx.cluster.errors import ClusterError


def whose_account(aws: Aws) -> str:
    """Return the account that calls go to."""
    return str(aws.call("sts", "get_caller_identity")["Account"])


def recorded_account(place: str, cluster: str, home: Path) -> str:
    """Return the account that this machine has written down for a cluster; empty if there is none."""
    file = names.account_file(place, cluster, home)
    return file.read_text("utf-8").strip() if file.is_file() else ""


def check_account(aws: Aws, cluster: str, *, home: Path | None = None) -> str:
    """Return the account that calls go to, if it is the cluster's as far as this machine knows.

    Raises:
        ClusterError: the cluster is in another one.
    """
    account = whose_account(aws)
    recorded = recorded_account(aws.region, cluster, home or Path.home())
    if recorded not in ("", account):
        hint = "take the credentials of that account (AWS_PROFILE)"
        message = f"{cluster} is in account {recorded}, and these credentials are of account {account}"
        raise ClusterError(message, f"AWS {aws.region}", hint)
    return account


def record_account(aws: Aws, cluster: str, *, home: Path | None = None) -> None:
    """Write down the account that calls go to as the cluster's.

    Raises:
        ClusterError: another one is written down.
    """
    account = check_account(aws, cluster, home=home)
    file = names.account_file(aws.region, cluster, home or Path.home())
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.write_text(f"{account}\n", "utf-8")
