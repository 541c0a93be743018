"""Runs that a bucket has a copy of: list them, see whether one is alive, bring one here.

Below `s3://bucket/prefix/<run name>/` stands what the run directory has (`mirror.py` writes it):

    checkpoints/checkpoint_000003/   counts when DIGEST.json is there, which is written last
    best/policy_000001/              as a checkpoint
    manifest.json                    after the checkpoints that it names
    .heartbeat                       who trains, and when it last gave a sign of life
    everything else                  as it was some seconds ago
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlx.runs import provenance
from rlx.runs.bucket import Bucket, ObjectChangedError, StoredObject, is_plain
from rlx.runs.checkpoints import (
    DIGEST,
    list_checkpoints,
    read_checkpoint,
    read_record,
    remove_checkpoint,
    verify,
)
from rlx.runs.directory import CRASHED, CREATED, HEARTBEAT_LIMIT_SECONDS, RUNNING, RunDirectory
from rlx.runs.errors import (
    MirrorError,
    NoCheckpointError,
    RunExistsError,
    RunLockedError,
    RunNotFoundError,
)
from rlx.runs.metrics import RESULTS
from rlx.runs.policies import BEST_FOLDER, list_policies

log = logging.getLogger(__name__)

CHECKPOINTS, MANIFEST, HEARTBEAT = "checkpoints", "manifest.json", ".heartbeat"
#: What `fetch_run` may bring of checkpoints.
NONE, LAST, ALL = "none", "last", "all"
#: How often a run's heartbeat is looked at while waiting for the next one.
LOOK_SECONDS = 5.0
#: File in a checkpoint or policy that a fetch brought, with `created_at` of its run.
FETCHED = ".fetched"
_TAIL_BYTES = 65536


@dataclass(frozen=True)
class Heartbeat:
    """Who trains in a run of the bucket.

    Attributes:
        facts: `owner`, `held` (false once the session has ended) and the process's identity.
        etag: version of the object.
        age_seconds: since it was written, by S3's clock.
    """

    facts: Mapping[str, Any]
    etag: str
    age_seconds: float

    @property
    def host(self) -> str:
        """Where the process is."""
        return str(self.facts.get("host", "another host"))

    @property
    def process_alive(self) -> bool | None:
        """Whether its process still runs, if it was one of this machine since it started; else None."""
        # Names of hosts may repeat in a cloud; who started when does not.
        if self.facts.get("boot_id") != provenance.process_identity()["boot_id"]:
            return None
        return provenance.process_alive(dict(self.facts))

    @property
    def alive(self) -> bool:
        """Whether the process may be training still."""
        if not self.facts.get("held"):
            return False
        here = self.process_alive
        return self.age_seconds < HEARTBEAT_LIMIT_SECONDS if here is None else here


@dataclass
class Stored:
    """What a listing of one run shows.

    Attributes:
        sealed: folder of a checkpoint or policy -> its objects.
        plain: all other files.
    """

    sealed: dict[str, list[StoredObject]] = field(default_factory=lambda: defaultdict(list))
    plain: list[StoredObject] = field(default_factory=list)

    def folders(self, parent: str) -> list[str]:
        """Return the folders of checkpoints, or of policies, oldest first."""
        return sorted(folder for folder in self.sealed if folder.startswith(f"{parent}/"))

    def recorded(self, parent: str) -> list[str]:
        """Return those of `folders` that have their record."""
        return [
            folder
            for folder in self.folders(parent)
            if any(one.key == f"{folder}/{DIGEST}" for one in self.sealed[folder])
        ]


def list_runs(url: str) -> list[dict[str, Any]]:
    """Return every run that a bucket has a copy of, newest first.

    Each has `run`, `url`, `name`, `algorithm`, `env`, `seed`, `state` (`crashed` if it says running and gives
    no sign of life), `env_steps` of its last row in the bucket, `created_at`, and `heartbeat_age_seconds` or
    None.

    Raises:
        MirrorUsageError, MirrorError: the URL is none, or S3 refuses.
    """
    bucket = Bucket(url)
    found = [_facts(bucket.below(name), name) for name in bucket.folders()]
    return sorted((one for one in found if one), key=lambda one: -(one["created_at"] or 0.0))


def find_name(url: str, text: str) -> str | None:
    """Return the name of the run of a bucket that is called so, or alone begins so; None if there is none.

    Raises:
        RunNotFoundError: several begin so.
    """
    bucket = Bucket(url)
    text = Path(text).name
    names = [name for name in bucket.folders() if name.startswith(text)] if text else []
    if text in names:
        return text
    if len(names) > 1:
        raise RunNotFoundError("several runs begin so", f"{url}: {text}", f"name one of: {', '.join(names)}")
    return names[0] if names else None


def refuse_existing(url: str, names: Sequence[str]) -> None:
    """Refuse names that a run of the bucket has already.

    Raises:
        RunExistsError: with the first of them.
    """
    bucket = Bucket(url)
    for name in names:
        run = bucket.below(name)
        beat = read_heartbeat(run)
        if (beat is not None and beat.alive) or read_manifest(run) is not None:
            raise RunExistsError(
                "a run of this name is in the bucket",
                run.url,
                "--if-exists resume goes on with it, --if-exists overwrite deletes it, "
                "--name gives another name",
            )


def fetch_run(
    url: str,
    name: str,
    root: Path,
    *,
    checkpoints: str = LAST,
    say: Callable[[str], None] = log.warning,
) -> Path:
    """Bring a run from the bucket to `root/name`, to look at it or to go on with it.

    Nothing is changed where the directory is as new as the bucket. A checkpoint counts only when all its
    digests are right; else the one before is taken. Checkpoints of the directory that the bucket does not
    have are put aside as `discarded-*`; those that an earlier fetch brought, and that were pruned there
    since, are deleted once a newer one is here.

    Args:
        url: `s3://bucket/prefix`, without the name.
        name: of the run.
        root: folder of run directories.
        checkpoints: `none`, `last` (the newest whole one) or `all` (every whole one).
        say: called with a sentence for each thing that was passed over or put aside.

    Returns:
        The run directory.

    Raises:
        RunNotFoundError: the bucket has no such run.
        RunLockedError: a process trains in the directory.
        RunExistsError: the directory has another run of this name, or went another way than the bucket's.
        NoCheckpointError: a checkpoint is wanted, and every one of the bucket is damaged.
        MirrorUsageError, MirrorError: the URL is none, or S3 refuses.
    """
    if checkpoints not in (NONE, LAST, ALL):
        raise ValueError(f"expected none, last or all, got {checkpoints!r}")
    bucket = Bucket(url).below(_checked(name, url))
    if read_manifest(bucket) is None:
        raise RunNotFoundError("the bucket has no such run", bucket.url)
    directory = RunDirectory(root / name)
    with directory.locked():
        _fetch(bucket, directory, checkpoints, say)
        beat = read_heartbeat(bucket)
        if beat is not None and beat.alive:
            _note_heartbeat(directory.path, beat.age_seconds)
    return directory.path


def bring(
    url: str,
    directory: RunDirectory,
    *,
    say: Callable[[str], None] = log.warning,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Make a directory as new as the bucket's copy, so that its run can go on here.

    Where somebody may be training in it still, this waits: a new sign of life is an error, none for
    `HEARTBEAT_LIMIT_SECONDS` means that it is dead.

    Returns:
        The version of the bucket's heartbeat, by which the run can be claimed; None if it has none.

    Raises:
        RunLockedError: another process trains in it, here or elsewhere.
        others: as `fetch_run`, except that it is fine if the bucket has no such run.
    """
    bucket = Bucket(url).below(_checked(directory.path.name, url))
    with directory.locked():
        etag = wait_until_free(bucket, say, sleep)
        _fetch(bucket, directory, LAST, say)
    return etag


def wait_until_free(
    bucket: Bucket, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> str | None:
    """Wait until nobody trains in a run of the bucket; the version of its heartbeat.

    Raises:
        RunLockedError: somebody does.
    """
    first = beat = read_heartbeat(bucket)
    if first is None:
        return None
    if first.alive:
        left = HEARTBEAT_LIMIT_SECONDS - first.age_seconds
        say(
            f"{first.host} gave a sign of life {first.age_seconds:.0f} s ago in {bucket.url}: "
            f"waiting up to {left:.0f} s to see whether it still trains there"
        )
    while beat is not None and beat.alive:
        if beat.etag != first.etag or beat.process_alive:
            raise RunLockedError(f"{beat.host} is training in this run", bucket.url, "stop it there first")
        sleep(min(LOOK_SECONDS, max(0.1, HEARTBEAT_LIMIT_SECONDS - beat.age_seconds)))
        beat = read_heartbeat(bucket)
    return None if beat is None else beat.etag


def read_manifest(bucket: Bucket) -> dict[str, Any] | None:
    """Read the manifest of a run of the bucket; None if it has none.

    Raises:
        MirrorError: it is damaged, or S3 refuses.
    """
    found = bucket.get(MANIFEST)
    if found is None:
        return None
    try:
        manifest = json.loads(found.content)
    except ValueError as error:
        raise MirrorError(f"damaged manifest ({error})", f"{bucket.url}/{MANIFEST}") from None
    if not isinstance(manifest, dict):
        raise MirrorError("damaged manifest (not a mapping)", f"{bucket.url}/{MANIFEST}")
    return manifest


def read_heartbeat(bucket: Bucket) -> Heartbeat | None:
    """Read who trains in a run of the bucket; None if nobody ever did."""
    found = bucket.get(HEARTBEAT)
    if found is None:
        return None
    try:
        facts = json.loads(found.content)
    except ValueError:
        facts = None
    return Heartbeat(facts if isinstance(facts, dict) else {"held": True}, found.etag, found.age_seconds)


def stored(bucket: Bucket) -> Stored:
    """List a run of the bucket: checkpoints and policies by their folders, and the rest."""
    found = Stored()
    for one in bucket.objects():
        parts = one.key.split("/")
        if parts[0] in (CHECKPOINTS, BEST_FOLDER):
            if len(parts) > 2:
                found.sealed["/".join(parts[:2])].append(one)
        elif one.key not in (MANIFEST, HEARTBEAT):
            found.plain.append(one)
    return found


# Bringing -------------------------------------------------------------------------------------------------


def _fetch(bucket: Bucket, directory: RunDirectory, checkpoints: str, say: Callable[[str], None]) -> bool:
    """Bring what is newer; whether the bucket has the run.

    While a run lives, objects are replaced and deleted between listing and download: then all begins anew.
    """
    for tries_left in (2, 1, 0):
        manifest = read_manifest(bucket)
        if manifest is None:
            return False
        try:
            _fetch_once(bucket, manifest, directory, checkpoints, say)
            return True
        except MirrorError as error:
            if not tries_left or not (error.absent or isinstance(error, ObjectChangedError)):
                raise
    raise AssertionError("the last try returns or raises")


def _fetch_once(
    bucket: Bucket,
    manifest: Mapping[str, Any],
    directory: RunDirectory,
    checkpoints: str,
    say: Callable[[str], None],
) -> None:
    """Bring what is newer; the manifest last, so that a fetch that was cut short begins anew."""
    found = stored(bucket)
    if directory.exists and not _remote_is_newer(directory, manifest, found):
        return
    path, mark = directory.path, str(manifest.get("created_at"))
    _put_aside(bucket, path, found, mark, say)
    for one in found.plain:
        _download_plain(bucket, one, path)
    for folder in found.folders(BEST_FOLDER):
        if problems := _download_sealed(bucket, folder, found.sealed[folder], path, mark):
            log.info("%s of the bucket is passed over: %s", folder, problems[0])
    if checkpoints != NONE:
        _download_checkpoints(bucket, found, path, mark, every=checkpoints == ALL, say=say)
    _delete_pruned(path, found, mark)
    (path / CHECKPOINTS).mkdir(exist_ok=True)
    (path / HEARTBEAT).unlink(missing_ok=True)
    temporary = path / f".{MANIFEST}.fetch"
    temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path / MANIFEST)


def _download_checkpoints(
    bucket: Bucket, found: Stored, path: Path, mark: str, *, every: bool, say: Callable[[str], None]
) -> None:
    """Bring the newest whole checkpoint, or all whole ones."""
    whole = damaged = 0
    for folder in reversed(found.folders(CHECKPOINTS)):
        problems = _download_sealed(bucket, folder, found.sealed[folder], path, mark)
        if not problems:
            whole += 1
            if not every:
                return
            continue
        torn = problems == [_TORN]
        damaged += not torn
        what = "not whole in the bucket" if torn else f"damaged in the bucket ({'; '.join(problems[:3])})"
        say(f"{Path(folder).name} is {what} and is passed over")
    if damaged and not whole:
        raise NoCheckpointError(
            "every checkpoint in the bucket is damaged",
            f"{bucket.url}/{CHECKPOINTS}",
            "restore them from a copy, or start anew with --if-exists overwrite",
        )


_TORN = f"{DIGEST} is missing"


def _download_sealed(
    bucket: Bucket, folder: str, objects: Sequence[StoredObject], path: Path, mark: str
) -> list[str]:
    """Bring a checkpoint or policy beside its name and rename it; what is wrong with it, if anything is.

    Args:
        mark: what its file `FETCHED` will have.
    """
    sizes = {one.key.removeprefix(f"{folder}/"): one.size for one in objects}
    digest = bucket.get(f"{folder}/{DIGEST}") if DIGEST in sizes else None
    if digest is None:
        return [_TORN]
    target = path / folder
    if same_seal(target, digest.content):
        return []
    temporary = target.with_name(f".tmp-{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        (temporary / DIGEST).write_bytes(digest.content)
        problems = _sizes_differ(temporary, sizes)
        if not problems:
            for name in read_record(temporary)["files"]:  # type: ignore[index]
                file = temporary / name
                file.parent.mkdir(parents=True, exist_ok=True)
                bucket.download(f"{folder}/{name}", file)
            problems = verify(temporary)
        if problems:
            return problems
        (temporary / FETCHED).write_text(mark, encoding="utf-8")
        if target.exists():
            _discard(target)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return []


def _sizes_differ(temporary: Path, sizes: Mapping[str, int]) -> list[str]:
    """Compare the record of a checkpoint with a listing, before anything large is downloaded."""
    record = read_record(temporary)
    if record is None:
        return [f"{DIGEST} is damaged"]
    problems = []
    for name, entry in record["files"].items():
        if not is_plain(name):
            problems.append(f"{name!r} is no name of a file")
        elif name not in sizes:
            problems.append(f"{name} is missing")
        elif sizes[name] != entry["size"]:
            problems.append(f"{name} has {sizes[name]} bytes instead of {entry['size']}")
    return problems


def same_seal(target: Path, digest: bytes) -> bool:
    """Return whether a complete checkpoint or policy of this machine has this very record."""
    try:
        return (target / DIGEST).read_bytes() == digest and read_checkpoint(target) is not None
    except OSError:
        return False


def _download_plain(bucket: Bucket, one: StoredObject, path: Path) -> None:
    """Bring a file, unless an equally large one of the same time is here; it keeps S3's time."""
    target = path / one.key
    with contextlib.suppress(OSError):
        status = target.stat()
        if status.st_size == one.size and abs(status.st_mtime - one.modified_at) < 1.0:
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.fetch")
    try:
        bucket.download(one.key, temporary)
        os.utime(temporary, (one.modified_at, one.modified_at))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _put_aside(bucket: Bucket, path: Path, found: Stored, mark: str, say: Callable[[str], None]) -> None:
    """Rename checkpoints and policies that the bucket does not have: the run went on without them.

    Those that it had, and pruned, stay for `_delete_pruned`.
    """
    here = [*list_checkpoints(path / CHECKPOINTS), *list_policies(path / BEST_FOLDER)]
    for one in here:
        folder = f"{one.path.parent.name}/{one.path.name}"
        digest = bucket.get(f"{folder}/{DIGEST}") if folder in found.sealed else None
        newest = max(found.recorded(one.path.parent.name), default="")
        if digest is None and folder < newest and _was_fetched(one.path, mark):
            continue
        if digest is None or not same_seal(one.path, digest.content):
            aside = _discard(one.path)
            say(f"{one.path.name} is not what the bucket has: put aside as {aside.name}")


def _delete_pruned(path: Path, found: Stored, mark: str) -> None:
    """Delete what an earlier fetch brought and the bucket has no longer, where something newer is here."""
    for here in (list_checkpoints(path / CHECKPOINTS), list_policies(path / BEST_FOLDER)):
        for one in here[:-1]:
            parent = one.path.parent.name
            if f"{parent}/{one.path.name}" not in found.recorded(parent) and _was_fetched(one.path, mark):
                remove_checkpoint(one.path)


def _was_fetched(path: Path, mark: str) -> bool:
    try:
        return (path / FETCHED).read_text(encoding="utf-8") == mark
    except (OSError, ValueError):
        return False


def _discard(path: Path) -> Path:
    number = 0
    aside = path.with_name(f"discarded-{path.name}")
    while aside.exists():
        number += 1
        aside = path.with_name(f"discarded-{number}-{path.name}")
    os.replace(path, aside)
    return aside


def _note_heartbeat(path: Path, age_seconds: float) -> None:
    """Let the copy of a living run say so, until its process would have given another sign."""
    file = path / HEARTBEAT
    file.touch()
    os.utime(file, (time.time() - age_seconds,) * 2)


# Which is newer -------------------------------------------------------------------------------------------


def sessions_ahead(directory: RunDirectory, remote: Mapping[str, Any], where: str, hint: str) -> int:
    """Return how many sessions another copy of a run has more than a directory; negative if it has fewer.

    Args:
        remote: the other copy's manifest.
        where: the other copy is, in words.
        hint: what to do if it is another run.

    Raises:
        RunExistsError: they are two runs, or one that went on in two places.
    """
    local = directory.manifest
    if local.get("created_at") != remote.get("created_at"):
        raise RunExistsError(f"{where} has another run of this name", str(directory.path), hint)
    ours, theirs = (
        [session.get("started_at") for session in one.get("sessions") or ()] for one in (local, remote)
    )
    common = min(len(ours), len(theirs))
    if ours[:common] != theirs[:common]:
        raise RunExistsError(
            f"this run went on here and in {where}, apart from each other",
            str(directory.path),
            "move one of the two away, then resume the other",
        )
    return len(theirs) - len(ours)


def _remote_is_newer(directory: RunDirectory, remote: Mapping[str, Any], found: Stored) -> bool:
    """Compare a run's directory with its copy: more sessions are newer, then a later checkpoint.

    Raises:
        RunExistsError: they are two runs, or one that went on in two places.
    """
    hint = "give this one another --name, or name another place with --mirror"
    ahead = sessions_ahead(directory, remote, "the bucket", hint)
    if ahead:
        return ahead > 0
    here = max((one.number for one in list_checkpoints(directory.checkpoints)), default=0)
    there = found.recorded(CHECKPOINTS)
    return int(there[-1].rpartition("_")[2]) > here if there else False


def _facts(bucket: Bucket, name: str) -> dict[str, Any] | None:
    try:
        manifest = read_manifest(bucket)
    except MirrorError as error:
        if error.code:
            raise
        return {"run": name, "url": bucket.url, "state": "damaged", "error": str(error), "created_at": None}
    if manifest is None:
        return None
    beat = read_heartbeat(bucket)
    state = str(manifest.get("state", CRASHED))
    if state in (CREATED, RUNNING) and (beat is None or not beat.alive):
        state = CRASHED
    return {
        "run": name,
        "url": bucket.url,
        "name": manifest.get("name"),
        "algorithm": manifest.get("algorithm"),
        "env": manifest.get("env"),
        "seed": next(iter(manifest.get("seeds") or []), None),
        "state": state,
        "env_steps": _last_env_steps(bucket),
        "created_at": manifest.get("created_at"),
        "heartbeat_age_seconds": None if beat is None else beat.age_seconds,
    }


def _last_env_steps(bucket: Bucket) -> int:
    """Read the end of the metrics only: they may be large."""
    tail = bucket.get(RESULTS, last_bytes=_TAIL_BYTES)
    for line in reversed((tail.content if tail else b"").splitlines()):
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            return int(json.loads(line).get("env_steps") or 0)
    return 0


def _checked(name: str, url: str) -> str:
    if not name or "/" in name or not is_plain(name):
        raise RunNotFoundError(f"{name!r} is no name of a run", url)
    return name
