"""Runs on a cluster: hand one in, follow it, stop it, through Ray's Jobs API, which needs no terminal.

The job is `rlx train` (or `rlx resume`) on the head, in a folder of its own below ~/rlx-jobs, where the
experiment is as it was handed in.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlx.cluster.api import HeadApi, head_api
from rlx.cluster.errors import ClusterError, ClusterUsageError
from rlx.cluster.launcher import environment_of
from rlx.cluster.spec import AnyCluster
from rlx.cluster.ssh import Node

Write = Callable[[str], None]

#: Where runs are on the head, if they are kept in a bucket.
LOCAL_RUNS = "~/rlx-runs"
_JOBS = "~/rlx-jobs"
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_RETRY_SECONDS = 3.0


@dataclass(frozen=True)
class Job:
    """One job as Ray tells it.

    Attributes:
        id: ours, given when it was handed in.
        state: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        command: what it runs.
        started_at, ended_at: seconds since 1970; None while not.
        message: what Ray says of its state.
        metadata: ours.
    """

    id: str
    state: str
    command: str
    started_at: float | None
    ended_at: float | None
    message: str
    metadata: dict[str, str]

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ENDED


def runs_folder(spec: AnyCluster) -> str:
    """Return the folder of the head in which runs are written, as a shell writes it."""
    return LOCAL_RUNS if spec.storage.startswith("s3://") else spec.storage


def storage_options(spec: AnyCluster) -> list[str]:
    """Return the options of `rlx train` and `rlx resume` that say where runs are kept."""
    mirror = ["--mirror", spec.storage] if spec.storage.startswith("s3://") else []
    return ["--out", runs_folder(spec), *mirror]


def train_command(spec: AnyCluster, experiment: str, options: Sequence[str]) -> list[str]:
    """Return the command that trains an experiment on the head."""
    return [
        f"{environment_of(spec)}/bin/rlx",
        "train",
        f"./{experiment}" if experiment.startswith("-") else experiment,
        *storage_options(spec),
        "--plain",
        *options,
    ]


def resume_command(spec: AnyCluster, run: str, options: Sequence[str]) -> list[str]:
    """Return the command that goes on with a run on the head."""
    return [f"{environment_of(spec)}/bin/rlx", "resume", run, *storage_options(spec), "--plain", *options]


def submit(
    head: Node,
    api: HeadApi,
    *,
    name: str,
    command: Sequence[str],
    files: dict[str, str],
    now: float | None = None,
) -> str:
    """Hand in a job; its id.

    Args:
        head: where the files go.
        api: of its dashboard.
        name: becomes part of the id.
        command: what it runs, in its own folder; a part that begins with ~/ means the home on the head.
        files: name -> text of what is put into that folder first.

    Raises:
        ClusterError: the head refuses.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(time.time() if now is None else now))
    # An id is a word of a command line too: it must not look like an option.
    id = f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:40].lstrip('-') or 'job'}-{stamp}"
    folder = f"{_JOBS}/{id}"
    # Not -p: the folder of another job of this second must not be written over.
    head.need(f"mkdir -p {_JOBS} && mkdir {folder}")
    for file, text in files.items():
        head.need(f"cat > {folder}/{shlex.quote(file)}", stdin=text)
    # No runtime_env: with one, Ray makes an environment on every node before the first actor starts.
    run = f"env PYTHONUNBUFFERED=1 {' '.join(quoted(part) for part in command)}"
    entrypoint = f"cd {folder} && exec {run}"
    api.submit_job(id, entrypoint, {"name": name})
    return id


def quoted(part: str) -> str:
    """Quote for a shell, but let ~ at the beginning mean the home."""
    return f"~/{shlex.quote(part[2:])}" if part.startswith("~/") else shlex.quote(part)


def jobs_of(api: HeadApi) -> list[Job]:
    """Return all jobs of the cluster's Ray that were handed in, the newest first."""
    found = [_job(one) for one in api.jobs() if one.get("submission_id")]
    return sorted(found, key=lambda job: -(job.started_at or 0))


def find_job(api: HeadApi, text: str | None) -> Job:
    """Return the job with this id or beginning of it; without one the newest that runs, else the newest.

    Raises:
        ClusterUsageError: there is none, or several.
    """
    jobs = jobs_of(api)
    if not jobs:
        raise ClusterUsageError(
            "no job was handed in since this cluster's Ray was started", "", "rlx cluster submit"
        )
    if text is None:
        return next((job for job in jobs if not job.ended), jobs[0])
    exact = [job for job in jobs if job.id == text]
    found = exact or [job for job in jobs if job.id.startswith(text)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(job.id for job in (found or jobs)[:5])
    what = "several jobs begin with" if found else "no job"
    raise ClusterUsageError(f"{what} {text!r}", "", f"there are {listed}")


def follow(head: Node, token: Path, id: str, write: Write, say: Write, *, lost_seconds: float = 120) -> Job:
    """Write what a job writes, from its beginning to its end, over lost connections; the job at its end.

    Args:
        write: gets the text, in pieces.
        say: told when the connection is lost and when it is back.
        lost_seconds: how long the head may be away.

    Raises:
        ClusterError: it was away for longer.
        ClusterUsageError: it does not know the job, or no longer.
    """
    unseen = _Unseen(write)
    lost_at: float | None = None

    def back() -> None:
        nonlocal lost_at
        if lost_at is not None:
            say(f"{head.address} answers again")
            lost_at = None

    while True:
        try:
            with head_api(head, token) as api:
                find_job(api, id)  # a head that was started anew has forgotten it
                unseen.from_the_beginning()
                api.tail(id, unseen.take, back)
                job = find_job(api, id)
            back()
            if job.ended:
                return job
        except ClusterError as error:
            now = time.monotonic()
            if lost_at is None:
                lost_at = now
                say(f"{head.address} does not answer ({error}); the job goes on without this terminal")
            if now - lost_at > lost_seconds:
                hint = f"rlx cluster logs -f {id}, once it is back"
                raise ClusterError(f"no answer for {lost_seconds:.0f} s", head.address, hint) from None
        time.sleep(_RETRY_SECONDS)


class _Unseen:
    """Passes on what was not passed on before of a text that is told from its beginning again and again."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._written = self._told = 0

    def from_the_beginning(self) -> None:
        """Expect the first letter next."""
        self._told = 0

    def take(self, piece: str) -> None:
        """Pass on what is new of the next piece."""
        known = min(max(0, self._written - self._told), len(piece))
        self._told += len(piece)
        if known < len(piece):
            self._write(piece[known:])
            self._written = self._told


def stop(api: HeadApi, id: str, *, wait_seconds: float, say: Write) -> Job:
    """Ask a job to stop, which writes a checkpoint first, and wait until it has ended.

    Raises:
        ClusterError: it did not end in time.
    """
    api.stop_job(id)
    say(f"{id} was asked to stop; it ends once its checkpoint is written")
    until = time.monotonic() + wait_seconds
    while True:
        job = find_job(api, id)
        if job.ended:
            return job
        if time.monotonic() > until:
            raise ClusterError(
                f"{id} has not ended within {wait_seconds:.0f} s", "", "rlx cluster logs shows why"
            )
        time.sleep(1.0)


def _job(one: Mapping[str, Any]) -> Job:
    began, ended = one.get("start_time"), one.get("end_time")
    return Job(
        id=one["submission_id"],
        state=str(one["status"]),
        command=one["entrypoint"],
        started_at=None if began is None else began / 1000,
        ended_at=None if ended is None else ended / 1000,
        message=one.get("message") or "",
        metadata=dict(one.get("metadata") or {}),
    )
