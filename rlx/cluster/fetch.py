"""Bring runs from a cluster's storage to this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlx.cluster.errors import ClusterUsageError
from rlx.cluster.jobs import quoted, runs_folder
from rlx.cluster.machines import Hosts, Instances
from rlx.cluster.spec import AnyCluster
from rlx.cluster.status import runs_on

CHECKPOINTS = ("none", "last", "all")


def fetch(
    spec: AnyCluster,
    machines: Hosts | Instances,
    wanted: Sequence[str],
    root: Path,
    *,
    checkpoints: str = "last",
    say: Any = lambda text: None,
) -> list[Path]:
    """Copy runs into `root`; what is there already is not sent again.

    Args:
        wanted: names of runs or beginnings of them; none means all.
        checkpoints: `none`, `last` (the newest whole one) or `all`.

    Returns:
        The folders here.

    Raises:
        ClusterUsageError: no such run.
        ClusterError: the storage cannot be reached.
    """
    if spec.storage.startswith("s3://"):
        from rlx.runs.remote import fetch_run, list_runs

        names = choose([str(run["run"]) for run in list_runs(spec.storage)], wanted, spec.storage)
        return [fetch_run(spec.storage, name, root, checkpoints=checkpoints, say=say) for name in names]
    head = machines.head()
    runs = {name: run for run in runs_on(head, spec) if _is_one_folder(name := str(run["run"]))}
    folders = []
    for name in choose(list(runs), wanted, spec.storage):
        say(f"fetching {name}")
        there = str(runs[name].get("path") or f"{runs_folder(spec)}/{name}")
        exclude = ["/.lock", "/.heartbeat", ".tmp-*"]
        if checkpoints != "all":
            newest = head.need(
                f"ls -d {quoted(there)}/checkpoints/checkpoint_* 2>/dev/null | sort | tail -n 1"
            ).strip()
            kept = Path(newest).name if newest and checkpoints == "last" else ""
            exclude += _all_but(kept)
        head_folder = root / name
        head.copy_from(there, head_folder, exclude=exclude)
        folders.append(head_folder)
    return folders


def _is_one_folder(name: str) -> bool:
    """Return whether a name becomes a folder below another, and nothing elsewhere."""
    return name == Path(name).name and name not in ("", "..")


def _all_but(kept: str) -> list[str]:
    """Write rsync's patterns that leave out every checkpoint but one; a `+ ` before a pattern keeps it."""
    keep = [f"+ /checkpoints/{kept}"] if kept else []
    return [*keep, "/checkpoints/checkpoint_*"]


def choose(there: Sequence[str], wanted: Sequence[str], storage: str) -> list[str]:
    """Return the runs that are meant.

    Raises:
        ClusterUsageError: a name fits none.
    """
    if not wanted:
        return list(there)
    chosen: list[str] = []
    for text in wanted:
        found = [name for name in there if name == text] or [name for name in there if name.startswith(text)]
        if not found:
            listed = ", ".join(there[:5]) or "none"
            raise ClusterUsageError(f"no run {text!r} in {storage}", "", f"there are {listed}")
        chosen += [name for name in found if name not in chosen]
    return chosen
