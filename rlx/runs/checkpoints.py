"""Checkpoints on disk: written beside and renamed, with a digest; damaged ones are recognised.

checkpoints/.tmp-checkpoint_000003/   being written
checkpoints/checkpoint_000003/        complete: the engine's files and DIGEST.json, which is written last
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlx.runs.engine import CheckpointJob, Engine
from rlx.runs.files import fsync_path, is_disk_full, plain

log = logging.getLogger(__name__)

DIGEST = "DIGEST.json"
_NAME = re.compile(r"^(?:\.tmp-)?checkpoint_(\d{6,})$")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint. `info` has the counters and the state of the run loop."""

    path: Path
    number: int
    size_bytes: int
    created_at: float
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def env_steps(self) -> int:
        """Env steps at the time of the checkpoint."""
        return int(self.info.get("env_steps") or 0)

    @property
    def row_env_steps(self) -> int:
        """Env steps of the row of metrics it was begun at; runners may have added some since."""
        return int((self.info.get("row") or self.info).get("env_steps") or 0)


@dataclass(frozen=True)
class CheckpointFailure:
    """A checkpoint that could not be written; its files are gone, training goes on."""

    number: int
    error: Exception
    message: str
    disk_full: bool


#: What ended: a committed checkpoint or a failure.
CheckpointOutcome = Checkpoint | CheckpointFailure


@dataclass
class _Pending:
    number: int
    path: Path
    job: CheckpointJob
    info: dict[str, Any]
    thread: threading.Thread | None = None
    result: Checkpoint | None = None
    error: Exception | None = None


class CheckpointStore:
    """Write, verify, find and prune the checkpoints of one run. One is under way at a time.

    Args:
        directory: `<run>/checkpoints`; made if missing.
        keep_last: how many of the newest to keep; None keeps all. The one with the best evaluation stays too.
    """

    def __init__(self, directory: Path, keep_last: int | None = 2) -> None:
        self.directory = directory
        self.keep_last = keep_last
        #: Evaluation result by the env steps of the row it was made at; decides which checkpoint is the best.
        self.ratings: dict[int, float] = {}
        #: Name of a checkpoint that somebody reads now, which is not pruned meanwhile; None if there is none.
        self.pinned: Callable[[], str | None] = lambda: None
        self._pending: _Pending | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is under way."""
        return self._pending is not None

    def remove_leftovers(self) -> list[str]:
        """Delete half-written checkpoints of a dead process (call under the run's lock); their names."""
        left = [path for path in self.directory.iterdir() if path.name.startswith(".tmp-checkpoint_")]
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        return sorted(path.name for path in left)

    def begin(self, engine: Engine, info: Mapping[str, Any]) -> CheckpointFailure | None:
        """Start a checkpoint; small states are written before this returns.

        Args:
            engine: writes its state into a temporary directory.
            info: facts of the run loop to keep with it.

        Returns:
            None, or why it failed at once.
        """
        if self._pending is not None:
            raise RuntimeError("a checkpoint is already under way")
        number = self._next_number()
        path = self.directory / f".tmp-checkpoint_{number:06d}"
        try:
            path.mkdir()
            job = engine.begin_checkpoint(path)
        except Exception as error:
            return self._failed(number, path, error)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        self._pending = _Pending(number, path, job, dict(info))
        return None

    def poll(self) -> CheckpointOutcome | None:
        """Drive the checkpoint under way without blocking; what came of it once it has ended."""
        pending = self._pending
        if pending is None:
            return None
        if pending.thread is None:
            try:
                if not pending.job.done():
                    return None
                pending.job.wait()
            except Exception as error:
                self._pending = None
                return self._failed(pending.number, pending.path, error)
            # Digests of a large replay take seconds: not in the training thread.
            pending.thread = threading.Thread(
                target=_commit, args=(pending,), name="rlx-checkpoint", daemon=True
            )
            pending.thread.start()
        if pending.thread.is_alive():
            return None
        return self._ended(pending)

    def finish(self) -> CheckpointOutcome | None:
        """Block until the checkpoint under way has ended; what came of it."""
        pending = self._pending
        if pending is None:
            return None
        try:
            if pending.thread is None:
                pending.job.wait()
        except Exception as error:
            self._pending = None
            return self._failed(pending.number, pending.path, error)
        outcome = self.poll()
        while outcome is None and self._pending is not None:
            if pending.thread is not None:
                pending.thread.join(0.1)
            outcome = self.poll()
        return outcome

    def abandon(self) -> None:
        """Forget the checkpoint under way and remove its files."""
        pending, self._pending = self._pending, None
        if pending is not None:
            if pending.thread is not None:
                pending.thread.join(30.0)
            shutil.rmtree(pending.path, ignore_errors=True)

    def complete(self) -> list[Checkpoint]:
        """Return the checkpoints whose files all have the recorded sizes, oldest first; reads no content."""
        found = [read_checkpoint(path) for _, path in self._directories()]
        return [checkpoint for checkpoint in found if checkpoint is not None]

    def latest_valid(self, report: Callable[[str], None] = log.warning) -> Checkpoint | None:
        """Return the newest checkpoint whose digests are right, or None.

        Args:
            report: called with one sentence for each damaged one that is passed over.
        """
        for _, path in reversed(self._directories()):
            problems = verify(path)
            checkpoint = None if problems else read_checkpoint(path)
            if checkpoint is not None:
                return checkpoint
            listed = "; ".join(problems[:3] or ["unreadable"])
            report(f"checkpoint {path.name} is damaged ({listed}) and is passed over")
        return None

    def _ended(self, pending: _Pending) -> CheckpointOutcome:
        self._pending = None
        if pending.error is not None:
            return self._failed(pending.number, pending.path, pending.error)
        assert pending.result is not None
        self._prune()
        return pending.result

    def _failed(self, number: int, path: Path, error: Exception) -> CheckpointFailure:
        needed = _size(path)
        shutil.rmtree(path, ignore_errors=True)
        full = is_disk_full(error)
        last = self.complete()[-1:]
        kept = f"the last good checkpoint is {last[0].path.name}" if last else "there is no checkpoint yet"
        if full:
            needed = max(needed, last[0].size_bytes if last else 0)
            free = _free_bytes(self.directory)
            about = f"at least {_mebibytes(needed)} needed, {_mebibytes(free)} free now"
            reason = f"disk full in {self.directory} ({about})"
        else:
            reason = f"{type(error).__name__}: {error}"
            log.error("checkpoint_%06d failed", number, exc_info=error)
        message = f"checkpoint_{number:06d} was not written: {reason}; training goes on, {kept}"
        return CheckpointFailure(number, error, message, full)

    def _prune(self) -> None:
        """Delete what is older than the newest `keep_last` complete ones, except the best one."""
        if self.keep_last is None:
            return
        complete = self.complete()
        keep = complete[-max(1, self.keep_last) :]
        names = {checkpoint.path.name for checkpoint in keep}
        best = best_checkpoint(complete, self.ratings)
        if best is not None:
            names.add(best.path.name)
        if (pinned := self.pinned()) is not None:
            names.add(pinned)
        for number, path in self._directories():
            if keep and number < keep[0].number and path.name not in names:
                remove_checkpoint(path)

    def _directories(self) -> list[tuple[int, Path]]:
        found = []
        for path in self.directory.iterdir() if self.directory.is_dir() else ():
            match = _NAME.match(path.name)
            if match and not path.name.startswith(".") and path.is_dir():
                found.append((int(match.group(1)), path))
        return sorted(found)

    def _next_number(self) -> int:
        matches = [_NAME.match(path.name) for path in self.directory.iterdir()]
        return 1 + max([int(match.group(1)) for match in matches if match], default=0)


def best_checkpoint(checkpoints: list[Checkpoint], ratings: Mapping[int, float]) -> Checkpoint | None:
    """Return the one with the highest evaluation made at its own env steps (the newest of equals)."""
    rated = [(ratings[c.row_env_steps], c.number, c) for c in checkpoints if c.row_env_steps in ratings]
    return max(rated, key=lambda entry: entry[:2], default=(None, None, None))[2]


def list_checkpoints(directory: Path) -> list[Checkpoint]:
    """Return the complete checkpoints of a `checkpoints/` directory, oldest first, changing nothing."""
    store = CheckpointStore.__new__(CheckpointStore)
    store.directory = directory
    return store.complete()


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint. Renamed first: one half-deleted by a crash must not look like a damaged one."""
    doomed = path.with_name(f".tmp-{path.name}")
    os.replace(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def newest_directory(directory: Path) -> Path | None:
    """Return the newest directory with a checkpoint's name, whole or not; None if there is none."""
    store = CheckpointStore.__new__(CheckpointStore)
    store.directory = directory
    return next((path for _, path in reversed(store._directories())), None)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint's record; None if it is torn or a file is missing or has another size."""
    record = read_record(path)
    if record is None:
        return None
    for name, entry in record["files"].items():
        try:
            if (path / name).stat().st_size != entry["size"]:
                return None
        except OSError:
            return None
    match = _NAME.match(path.name)
    return Checkpoint(
        path=path,
        number=int(match.group(1)) if match else 0,
        size_bytes=sum(int(entry["size"]) for entry in record["files"].values()),
        created_at=float(record.get("created_at", 0.0)),
        info=dict(record.get("info", {})),
    )


def verify(path: Path, part: str = "") -> list[str]:
    """Compare every file with its recorded size and digest; one sentence per problem.

    Args:
        path: the checkpoint.
        part: only files whose names in it begin so, e.g. `learner_group/`.
    """
    record = read_record(path)
    if record is None:
        return [f"{DIGEST} is missing or damaged"]
    problems = []
    for name, entry in record["files"].items():
        if not name.startswith(part):
            continue
        file = path / name
        try:
            size = file.stat().st_size
            if size != entry["size"]:
                problems.append(f"{name} has {size} bytes instead of {entry['size']}")
            elif _digest(file) != entry["digest"]:
                problems.append(f"{name} has changed content")
        except OSError as error:
            problems.append(f"{name}: {error.strerror}")
    return problems


def _commit(pending: _Pending) -> None:
    try:
        pending.result = commit(pending.path, {**pending.info, **plain(dict(pending.job.info))})
    except Exception as error:
        pending.error = error


def commit(temporary: Path, info: Mapping[str, Any]) -> Checkpoint:
    """Seal a temporary checkpoint: digest and flush each file, write the record, rename."""
    files = {}
    for file in sorted(path for path in temporary.rglob("*") if path.is_file()):
        files[file.relative_to(temporary).as_posix()] = {
            "size": file.stat().st_size,
            "digest": _digest(file),
        }
        fsync_path(file)
    record = {
        "algorithm": "blake2b-256",
        "created_at": time.time(),
        "info": plain(dict(info)),
        "files": files,
    }
    with open(temporary / DIGEST, "w", encoding="utf-8") as handle:
        handle.write(_sealed(json.dumps(record, sort_keys=True)))
        handle.flush()
        os.fsync(handle.fileno())
    for folder in [path for path in temporary.rglob("*") if path.is_dir()] + [temporary]:
        fsync_path(folder)
    final = temporary.with_name(temporary.name.removeprefix(".tmp-"))
    os.replace(temporary, final)
    fsync_path(final.parent)
    checkpoint = read_checkpoint(final)
    if checkpoint is None:
        raise OSError(f"{final.name} changed while it was written")
    return checkpoint


def _sealed(record: str) -> str:
    """Put a record's digest before it. It is over the text: two texts can be the same float."""
    return f'{{"digest": "{_text_digest(record)}", "record": {record}}}\n'


def read_record(path: Path) -> dict[str, Any] | None:
    """Read the record of a checkpoint's files; None if it is missing, torn or changed."""
    try:
        text = (path / DIGEST).read_text(encoding="utf-8")
        record = json.loads(text)["record"]
        if text != _sealed(text[text.index('"record": ') + len('"record": ') : -2]):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("files"), dict) else None


def _digest(file: Path) -> str:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def _size(path: Path) -> int:
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return total


def _free_bytes(path: Path) -> int:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
