"""Keep a copy of a run in S3 while it trains: in the background, whole or not there, never in training's way.

The order of uploads is the contract. A checkpoint's DIGEST.json goes up after its other files, the manifest
after the checkpoints that it names; what was pruned here is deleted there once something newer is whole in
its place. So a program that dies between two uploads leaves a copy that can be resumed from.
`remote.py` reads it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlx.runs import provenance
from rlx.runs.bucket import Bucket, ObjectChangedError, StoredObject
from rlx.runs.checkpoints import DIGEST, Checkpoint, list_checkpoints
from rlx.runs.directory import HEARTBEAT_LIMIT_SECONDS, HEARTBEAT_PERIOD_SECONDS
from rlx.runs.errors import MirrorError, RunLockedError
from rlx.runs.policies import BEST_FOLDER, list_policies
from rlx.runs.remote import CHECKPOINTS, FETCHED, HEARTBEAT, MANIFEST, read_heartbeat, stored

log = logging.getLogger(__name__)

#: How often changed files go up.
PERIOD_SECONDS = 30.0
#: How long the end of a session waits for the copy to be whole.
FLUSH_SECONDS = 600.0
#: The same where somebody wants it to end at once (a second Ctrl-C).
HURRIED_FLUSH_SECONDS = 10.0
#: How long a try that failed is waited for before the next, at the end of a session.
RETRY_SECONDS = 5.0
#: With an older sign of life it is not sure that the run is still ours: another host may take it over soon.
_SURE_SECONDS = HEARTBEAT_LIMIT_SECONDS / 2
_ENTER_SECONDS = 5.0


@dataclass(frozen=True)
class MirrorOutcome:
    """Whether all of a run is in the bucket at the end of a session; if not, why."""

    url: str
    complete: bool
    problem: str = ""

    def __str__(self) -> str:
        if self.complete:
            return f"all of the run is in {self.url}"
        return f"NOT all of the run is in {self.url}: {self.problem}"


class Mirror:
    """The copy of one run: a context in which the run is claimed, so that no other host trains in it.

    Args:
        url: `s3://bucket/prefix`; the copy is below it, under the run's name.
        path: the run directory.
        keep_last: how many of the newest checkpoints the bucket keeps, besides those that are here; None
            deletes none.
        claim: version of the heartbeat that the bucket had when it was looked at; None if it had none.
        period_seconds: between two looks for changed files.
        heartbeat_seconds: between two signs of life.

    Raises:
        MirrorUsageError, MirrorError: the URL is none, or boto3 is missing.
    """

    def __init__(
        self,
        url: str,
        path: Path,
        *,
        keep_last: int | None = 2,
        claim: str | None = None,
        period_seconds: float = PERIOD_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_PERIOD_SECONDS,
    ) -> None:
        self.bucket = Bucket(url).below(path.name)
        self.path = path
        self.keep_last = keep_last
        self.period_seconds, self.heartbeat_seconds = period_seconds, heartbeat_seconds
        self._etag = claim
        self._owner = secrets.token_hex(8)
        self._lost = ""
        self._released = False
        #: When the last sign of life that arrived was begun, by `_clock`.
        self._sign_at = 0.0
        #: One writes at a time, so that no sign of life that was on its way comes after the release.
        self._heartbeat_guard = threading.Lock()
        self._copy = _Copy(self.bucket, path, keep_last, self._still_ours)
        self._told: list[tuple[str, str]] = []
        self._workers: list[_Worker] = []
        self._failing: dict[str, str] = {}
        self._guard = threading.Lock()

    # The claim --------------------------------------------------------------------------------------------

    def __enter__(self) -> Mirror:
        """Claim the run.

        Raises:
            RunLockedError: somebody else has just claimed it.
            MirrorError: S3 refuses.
        """
        try:
            self._write_heartbeat(held=True)
        except ObjectChangedError:
            raise RunLockedError("another process has just begun to train in it", self.bucket.url) from None
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self._workers:
            worker.stop()
        self._released = True
        if not self._lost:
            release = threading.Thread(target=self._release, name="rlx-mirror-release", daemon=True)
            release.start()
            release.join(_ENTER_SECONDS)

    def _release(self) -> None:
        with contextlib.suppress(Exception), self._heartbeat_guard:
            self._write_heartbeat(held=False)

    def _write_heartbeat(self, *, held: bool) -> None:
        facts = {"owner": self._owner, "held": held, "at": time.time(), **provenance.process_identity()}
        body = json.dumps(facts).encode()
        began = _clock()
        condition = {"IfNoneMatch": "*"} if self._etag is None else {"IfMatch": self._etag}
        try:
            self._etag = self.bucket.put(HEARTBEAT, body, **condition)
        except MirrorError as error:
            if error.code not in ("NotImplemented", "501"):
                raise
            # A store without conditional writes: what is left is that the heartbeat was looked at before.
            self._etag = self.bucket.put(HEARTBEAT, body)
        self._sign_at = began

    def _beat(self) -> None:
        """Give a sign of life, unless another process has taken the run over while this one gave none."""
        with self._heartbeat_guard:
            if self._released:
                return
            found = read_heartbeat(self.bucket)
            if found is not None and found.facts.get("owner") != self._owner:
                self._lost = f"{found.host} has taken the run over, nothing more goes up from here"
            self._refuse_if_lost()
            # As it is now: it may have been deleted by hand, or written by a call whose answer was lost.
            self._etag = None if found is None else found.etag
            self._write_heartbeat(held=True)

    def _still_ours(self) -> None:
        """Make sure, before something is written or deleted, that no other host trains in the run.

        Raises:
            MirrorError: one does, or the claim was given back, or it cannot be known.
        """
        self._refuse_if_lost()
        if _clock() - self._sign_at > _SURE_SECONDS:
            self._beat()
            self._refuse_if_lost()

    def _refuse_if_lost(self) -> None:
        if self._lost:
            raise MirrorError(self._lost, self.bucket.url)
        if self._released:
            raise MirrorError("the session is over, nothing more goes up from it", self.bucket.url)

    # The session ------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Delete what the bucket has of a run that begins anew; the manifest first, so that no half is a run.

        Raises:
            MirrorError: S3 refuses.
        """
        keys = [one.key for one in self.bucket.objects() if one.key != HEARTBEAT]
        if MANIFEST in keys:
            self._still_ours()
            self.bucket.delete([MANIFEST])
        self._still_ours()
        self.bucket.delete([key for key in keys if key != MANIFEST])

    def start(self) -> None:
        """Begin to copy in the background."""
        acts: Sequence[tuple[str, float, Callable[[], None]]] = (
            ("heartbeat", self.heartbeat_seconds, self._beat),
            ("files", self.period_seconds, self._copy.send_files),
            ("checkpoints", self.period_seconds, self._copy.send_checkpoints),
        )
        self._workers = [_Worker(name, period, self._watched(name, act)) for name, period, act in acts]
        for worker in self._workers:
            worker.start()

    def poke(self) -> None:
        """Say that there is a new checkpoint."""
        for worker in self._workers:
            if worker.name == "checkpoints":
                worker.poke()

    @property
    def pinned(self) -> str | None:
        """Name of the checkpoint that goes up now, which must not be pruned until it is whole there."""
        return self._copy.uploading

    def drain(self) -> list[tuple[str, str]]:
        """Return (level, text) of what happened since the last call: an outage is told once, and its end."""
        with self._guard:
            told, self._told = self._told, []
        return told

    def flush(self, seconds: float | None = None) -> MirrorOutcome:
        """Copy what is missing, again and again for a time; heartbeats go on meanwhile.

        Args:
            seconds: how long at most; by default `FLUSH_SECONDS`.
        """
        seconds = FLUSH_SECONDS if seconds is None else seconds
        until = time.monotonic() + seconds
        for worker in self._workers:
            if worker.name != "heartbeat":
                worker.stop()
        problems: list[str] = [f"it was not done within {seconds:g} s"]
        done = threading.Event()

        def finish() -> None:
            while not done.is_set():
                # First whether it is still ours to write. The files before the checkpoints, because they are
                # small, and after, because they say how it went.
                files = self._copy.send_files
                acts = (self._beat, files, self._copy.send_checkpoints, files)
                failed = [reason for act in acts if (reason := _failure(act))]
                problems[:] = list(dict.fromkeys(failed))
                if not failed or self._lost:
                    done.set()
                done.wait(RETRY_SECONDS)

        # A thread of its own that may be left behind: a call to a dead network takes minutes to give up.
        threading.Thread(target=finish, name="rlx-mirror-flush", daemon=True).start()
        done.wait(max(0.0, until - time.monotonic()))
        done.set()
        return MirrorOutcome(self.bucket.url, not problems, "; ".join(problems))

    def _watched(self, name: str, act: Callable[[], None]) -> Callable[[], None]:
        """Let a failure be told once, and that it is over."""

        def run() -> None:
            reason = _failure(act)
            if reason:
                self._tell_failure(name, reason)
            else:
                self._tell_end(name)

        return run

    def _tell_failure(self, name: str, reason: str) -> None:
        with self._guard:
            if not self._failing:
                text = f"the copy in {self.bucket.url} is not kept up: {reason}; training goes on"
                self._told.append(("warning", text if self._lost else f"{text}, it is tried again"))
            self._failing[name] = reason

    def _tell_end(self, name: str) -> None:
        with self._guard:
            if self._failing.pop(name, None) is not None and not self._failing:
                self._told.append(("info", f"the copy in {self.bucket.url} is kept up again"))


class _Copy:
    """What goes up, and in which order."""

    def __init__(self, bucket: Bucket, path: Path, keep_last: int | None, check: Callable[[], None]) -> None:
        self.bucket, self.path, self.keep_last, self.check = bucket, path, keep_last, check
        self._sent: dict[str, tuple[int, int]] = {}
        self._whole: dict[str, bytes] | None = None
        self._torn: set[str] = set()
        #: Name of the checkpoint that goes up now.
        self.uploading: str | None = None
        self._manifest: bytes | None = None
        self._files_guard = threading.Lock()
        self._checkpoints_guard = threading.Lock()

    # Files that change ------------------------------------------------------------------------------------

    def send_files(self) -> None:
        """Upload every file that is no part of a checkpoint and has changed since it was uploaded."""
        with self._files_guard:
            failed: Exception | None = None
            for key, file in self._changing():
                self.check()
                try:
                    status = file.stat()
                    mark = (status.st_size, status.st_mtime_ns)
                    if self._sent.get(key) == mark:
                        continue
                    self.bucket.upload(key, file)
                    self._sent[key] = mark
                except FileNotFoundError:
                    continue
                except OSError as error:  # one file that cannot be read does not keep the others back
                    failed = error
            if failed is not None:
                raise failed

    def _changing(self) -> Iterator[tuple[str, Path]]:
        for folder, folders, names in os.walk(self.path):
            top = Path(folder) == self.path
            skipped = {CHECKPOINTS, BEST_FOLDER} if top else set()
            folders[:] = [name for name in folders if name not in skipped and not name.startswith(".")]
            for name in sorted(names):
                file = Path(folder) / name
                if name.startswith(".") or (top and name == MANIFEST) or file.is_symlink():
                    continue
                yield file.relative_to(self.path).as_posix(), file

    # Checkpoints, policies, manifest ----------------------------------------------------------------------

    def send_checkpoints(self) -> None:
        """Upload whole checkpoints and policies, the newest first; then the manifest; then delete old."""
        with self._checkpoints_guard:
            while not self._round():
                continue

    def _round(self) -> bool:
        """Go through all once. False if something was pruned here meanwhile: then a newer one is there."""
        # Read before the checkpoints are listed: all that it names are committed by then.
        manifest = (self.path / MANIFEST).read_bytes()
        checkpoints = list_checkpoints(self.path / CHECKPOINTS)
        policies = list_policies(self.path / BEST_FOLDER)
        there = self._known_there()
        for one in [*reversed(checkpoints), *reversed(policies)]:
            try:
                seal = (one.path / DIGEST).read_bytes()
                if there.get(_folder(one)) != seal:
                    self._send_sealed(one)
                    there[_folder(one)] = seal
            except FileNotFoundError:
                if one.path.exists():
                    raise
                return False
        if manifest != self._manifest:
            self.check()
            self.bucket.put(MANIFEST, manifest)
            self._manifest = manifest
        self._prune(checkpoints, policies, there)
        return True

    def _known_there(self) -> dict[str, bytes]:
        """Return the records of what the bucket has whole, by folder; looked up once, then remembered."""
        if self._whole is None:
            found = stored(self.bucket)
            whole = {folder: self._seal(folder, objects) for folder, objects in found.sealed.items()}
            self._torn = {folder for folder, seal in whole.items() if seal is None}
            self._whole = {folder: seal for folder, seal in whole.items() if seal is not None}
        return self._whole

    def _seal(self, folder: str, objects: Sequence[StoredObject]) -> bytes | None:
        """Return the record of a checkpoint of the bucket, if all its files have their sizes."""
        sizes = {one.key.removeprefix(f"{folder}/"): one.size for one in objects}
        found = self.bucket.get(f"{folder}/{DIGEST}") if DIGEST in sizes else None
        if found is None:
            return None
        try:
            files: Mapping[str, Mapping[str, int]] = json.loads(found.content)["record"]["files"]
            whole = all(sizes.get(name) == entry["size"] for name, entry in files.items())
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return found.content if whole else None

    def _send_sealed(self, one: Checkpoint) -> None:
        """Upload a checkpoint's files, its record last; what an earlier try left is deleted before."""
        folder = _folder(one)
        self.uploading = one.path.name
        try:
            names = sorted(
                file.relative_to(one.path).as_posix()
                for file in one.path.rglob("*")
                if file.is_file() and file.name != FETCHED
            )
            self._delete(folder)
            for name in [*(name for name in names if name != DIGEST), DIGEST]:
                self.check()
                self.bucket.upload(f"{folder}/{name}", one.path / name)
        finally:
            self.uploading = None
        self._torn.discard(folder)

    def _delete(self, folder: str) -> None:
        """Delete what there is below a folder; its record first, so that no half looks whole."""
        keys = [f"{folder}/{one.key}" for one in self.bucket.objects(folder)]
        record = f"{folder}/{DIGEST}"
        for some in ([key for key in keys if key == record], [key for key in keys if key != record]):
            if some:
                self.check()
                self.bucket.delete(some)

    def _prune(
        self, checkpoints: Sequence[Checkpoint], policies: Sequence[Checkpoint], there: dict[str, bytes]
    ) -> None:
        """Delete what is no longer here and has newer ones in its place there, and halves of old tries."""
        here = {_folder(one) for one in [*checkpoints, *policies]}
        doomed = [folder for folder in self._torn if folder not in here]
        if self.keep_last is not None:
            whole = sorted(folder for folder in there if folder.startswith(f"{CHECKPOINTS}/"))
            doomed += [folder for folder in whole[: -max(1, self.keep_last)] if folder not in here]
        if policies:
            doomed += [one for one in there if one.startswith(f"{BEST_FOLDER}/") and one not in here]
        for folder in doomed:
            self._delete(folder)
            there.pop(folder, None)
            self._torn.discard(folder)


class _Worker:
    """A thread that does one thing again and again."""

    def __init__(self, name: str, period_seconds: float, act: Callable[[], None]) -> None:
        self.name = name
        self._period_seconds, self._act = period_seconds, act
        self._wake, self._stopped = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name=f"rlx-mirror-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def poke(self) -> None:
        """Do it now."""
        self._wake.set()

    def stop(self) -> None:
        """Do it no more after this time."""
        self._stopped = True
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped:
            self._act()
            self._wake.wait(self._period_seconds)
            self._wake.clear()


def _clock() -> float:
    """Read a clock that nobody sets, and that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _folder(one: Checkpoint) -> str:
    return f"{one.path.parent.name}/{one.path.name}"


def _failure(act: Callable[[], None]) -> str:
    """Do something; why it failed, or nothing."""
    try:
        act()
    except Exception as error:
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, MirrorError) else f"{type(error).__name__}: {error}"
