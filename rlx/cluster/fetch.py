"""Bring runs from a cluster's storage to this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlx.cluster.errors import ClusterError, ClusterUsageError
from rlx.cluster.jobs import quoted, runs_folder
from rlx.cluster.machines import Hosts, Instances
from rlx.cluster.spec import AnyCluster
from rlx.cluster.ssh import Node
from rlx.cluster.status import runs_on
from rlx.runs.checkpoints import read_checkpoint, remove_checkpoint
from rlx.runs.directory import RunDirectory
from rlx.runs.remote import fetch_run, list_runs, sessions_ahead

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
        RunExistsError: another run of a name is here, or one that went on here and there.
        RunLockedError: a process trains in a folder here.
        ClusterError: the storage cannot be reached.
    """
    if spec.storage.startswith("s3://"):
        names = choose([str(run["run"]) for run in list_runs(spec.storage)], wanted, spec.storage)
        return [fetch_run(spec.storage, name, root, checkpoints=checkpoints, say=say) for name in names]
    head = machines.head()
    runs = {name: run for run in runs_on(head, spec) if _is_one_folder(name := str(run["run"]))}
    folders = []
    for name in choose(list(runs), wanted, spec.storage):
        say(f"fetching {name}")
        there = str(runs[name].get("path") or f"{runs_folder(spec)}/{name}")
        directory = RunDirectory(root / name)
        with directory.locked():
            if directory.exists and _ahead(head, there, directory) < 0:
                say(f"{name} went on here since: nothing is fetched")
            else:
                _copy(head, there, directory, checkpoints)
        folders.append(directory.path)
    return folders


def _ahead(head: Node, there: str, directory: RunDirectory) -> int:
    """Return how many sessions a run of the head has more than the directory here.

    Raises:
        RunExistsError: they are two runs, or one that went on in two places.
    """
    try:
        manifest = json.loads(head.need(f"cat {quoted(there)}/manifest.json"))
    except ValueError as error:
        raise ClusterError(f"damaged manifest ({error})", f"{head.address}:{there}") from None
    if not isinstance(manifest, dict):
        raise ClusterError("damaged manifest (not a mapping)", f"{head.address}:{there}")
    return sessions_ahead(directory, manifest, "the cluster", "fetch into another folder with --out")


def _copy(head: Node, there: str, directory: RunDirectory, checkpoints: str) -> None:
    """Copy a run. Of checkpoints: every one; or the newest, and then older ones go that the head pruned."""
    exclude = ["/.lock", "/.heartbeat", ".tmp-*"]
    kept: list[str] = []
    if checkpoints != "all":
        listed = head.need(f"ls -d {quoted(there)}/checkpoints/checkpoint_* 2>/dev/null | sort; true")
        kept = [Path(line).name for line in listed.splitlines()]
        exclude += _all_but(kept[-1] if kept and checkpoints == "last" else "")
    head.copy_from(there, directory.path, exclude=exclude)
    # The newest may have been pruned, too, while it was copied.
    if checkpoints == "last" and kept and read_checkpoint(directory.checkpoints / kept[-1]) is not None:
        for one in directory.checkpoints.glob("checkpoint_[0-9]*"):
            if one.name < kept[-1] and one.name not in kept:
                remove_checkpoint(one)


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
