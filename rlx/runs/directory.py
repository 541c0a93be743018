"""The run directory: its layout, its manifest, its lock and its state.

Layout (a contract; everything downstream reads only this):

    runs/<name>-<env>-seed<k>/
      manifest.json             resolved spec, versions, commit, hardware, seeds, units, protocol, sessions,
                                state
      params.json               the resolved spec alone (the name Tune gave it)
      progress.csv result.json  one row per iteration
      events.out.tfevents.*     the same for TensorBoard; the step is `env_steps`
      evaluations.jsonl         one row per evaluation, with every episode's return
      *.discarded.*             rows recorded after the checkpoint that a resume went back to
      checkpoints/checkpoint_000001/
      best/policy_000001/       the network of the best evaluation
      train.log                 log lines and the noise of libraries
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import rlx
from rlx.runs import provenance
from rlx.runs.errors import (
    RunDirectoryError,
    RunExistsError,
    RunLockedError,
    RunNotFoundError,
    RunSpecChangedError,
)
from rlx.runs.files import is_disk_full, plain, write_json_atomic
from rlx.runs.policies import BEST_FOLDER

CREATED, RUNNING, FINISHED = "created", "running", "finished"
STOPPED, FAILED, CRASHED = "stopped", "failed", "crashed"

#: A run of another host without a sign of life for so long is taken for dead.
HEARTBEAT_LIMIT_SECONDS = 120.0
HEARTBEAT_PERIOD_SECONDS = 15.0

#: What may differ between the sessions of one run: nothing here changes what is learned from what.
RESUMABLE_SECTIONS = frozenset(
    {
        "stop",
        "checkpointing",
        "evaluation",
        "reporting",
        "resources",
        "fault_tolerance",
        "debugging.log_level",
    }
)

UNITS = {
    "env_steps": "agent steps",
    "env_frames": "emulator frames (4 x env_steps on Atari with frame skip 4, else as many)",
    "updates": "learner updates",
    "samples": "replay windows learned from",
    "seconds": "wall-clock seconds of the run loop over all sessions, building the engine excluded",
    "return": "undiscounted sum of raw rewards of one episode",
}


def effective_state(path: Path, manifest: Mapping[str, Any]) -> str:
    """Return the state a run is in: a `running` one whose process is gone has `crashed`."""
    state = str(manifest.get("state", CRASHED))
    if state not in (CREATED, RUNNING):
        return state
    sessions = manifest.get("sessions") or []
    alive = provenance.process_alive(sessions[-1]) if sessions else False
    if alive is None:
        alive = _heartbeat_age_seconds(path) < HEARTBEAT_LIMIT_SECONDS
    return state if alive else CRASHED


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a run's manifest.

    Raises:
        RunNotFoundError: there is none.
        RunDirectoryError: it is not valid JSON.
    """
    file = path / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RunNotFoundError(
            "not a run directory (no manifest.json)", str(path), "rlx ls lists runs"
        ) from None
    except OSError as error:
        raise RunDirectoryError(f"cannot be read ({error.strerror})", str(file)) from None
    except ValueError as error:
        raise RunDirectoryError(f"damaged manifest ({error})", str(file)) from None
    if not isinstance(manifest, dict):
        raise RunDirectoryError("damaged manifest (not a mapping)", str(file))
    return manifest


class RunDirectory:
    """One run on disk. Reading needs no lock; `locked()` is held while training."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._manifest: dict[str, Any] | None = None
        self._lock_handle: Any = None
        self._heartbeat_stop = threading.Event()

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Where the network of the best evaluation is kept."""
        return self.path / BEST_FOLDER

    @property
    def log_file(self) -> Path:
        """Where log lines go."""
        return self.path / "train.log"

    @property
    def exists(self) -> bool:
        """Whether a run was recorded here."""
        return (self.path / "manifest.json").exists()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as last read or written by this object."""
        if self._manifest is None:
            self._manifest = read_manifest(self.path)
        return self._manifest

    @property
    def state(self) -> str:
        """The state with dead processes accounted for."""
        return effective_state(self.path, self.manifest)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to write here; the kernel gives it back however this process ends.

        Raises:
            RunLockedError: another process has it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = open(self.path / ".lock", "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise RunDirectoryError(
                f"cannot write here ({error.strerror})", str(self.path), "see --out"
            ) from None
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                handle.seek(0)
                holder = handle.read().strip() or "another process"
                raise RunLockedError(
                    f"{holder} is training in this run",
                    str(self.path),
                    "stop it first, or use another --name",
                ) from None
            handle.seek(0)
            with contextlib.suppress(OSError):
                handle.truncate()
                handle.write(f"process {os.getpid()}")
                handle.flush()
            self._manifest = None
            yield

    def wait_until_silent(
        self, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Wait until it is known that no other host trains here: that one may have died a moment ago.

        Returns at once unless the run is `running` on a host that cannot be asked; then after at most the
        limit of its heartbeat.

        Raises:
            RunLockedError: it gave another sign of life.
        """
        first, told = _heartbeat(self.path), False
        while self.exists and effective_state(self.path, read_manifest(self.path)) in (CREATED, RUNNING):
            identity = (read_manifest(self.path).get("sessions") or [{}])[-1]
            if provenance.process_alive(identity) is not None or _heartbeat(self.path) > first:
                host = identity.get("host", "another host")
                raise RunLockedError(f"the run is still running on {host}", str(self.path))
            left = HEARTBEAT_LIMIT_SECONDS - _heartbeat_age_seconds(self.path)
            if left > 0 and not told:
                told = True
                say(
                    f"{identity.get('host', 'another host')} gave a sign of life "
                    f"{HEARTBEAT_LIMIT_SECONDS - left:.0f} s ago in {self.path}: waiting up to {left:.0f} s "
                    "to see whether it still trains there"
                )
            sleep(1.0)

    def prepare(self, spec: Any, if_exists: str = "fail", protocol: Mapping[str, Any] | None = None) -> bool:
        """Make the directory ready for a session, under the lock.

        Args:
            spec: the resolved spec of one run (one env, one seed): a pydantic model or a mapping.
            if_exists: `fail`, `resume` or `overwrite`.
            protocol: how the environment is played, with nothing left open; by default what the spec says.

        Returns:
            Whether an existing run goes on.

        Raises:
            RunExistsError, RunSpecChangedError, RunDirectoryError, RunLockedError.
        """
        new = plain(spec)
        if not self.exists:
            self._refuse_foreign_content()
            self._create(new, protocol)
            return False
        if if_exists == "overwrite":
            self._clear()
            self._create(new, protocol)
            return False
        if if_exists != "resume":
            raise RunExistsError(
                f"a run is already here ({self.state})",
                str(self.path),
                f"rlx resume {self.path}, or --if-exists resume|overwrite, or another --name",
            )
        if self.state == RUNNING:
            raise RunLockedError("the run is still running on another host", str(self.path))
        self._take_over(new)
        return True

    def begin_session(self, **facts: Any) -> None:
        """Record that a process starts to train here: who, where, when, from what."""
        session = {
            "started_at": time.time(),
            "command": provenance.command_line(),
            **provenance.process_identity(),
            "versions": provenance.versions(),
            "git": provenance.git_state(Path.cwd()),
            **facts,
        }
        self.manifest.setdefault("sessions", []).append(plain(session))
        self.manifest.pop("error", None)
        self.set_state(RUNNING)
        self._start_heartbeat()

    def update_session(self, **facts: Any) -> bool:
        """Add facts to the record of the present session. Returns False if the disk is full."""
        self.manifest["sessions"][-1].update(plain(facts))
        return self.save()

    def end_session(self, state: str, *, error: Mapping[str, Any] | None = None, **facts: Any) -> None:
        """Record how the session ended."""
        self._heartbeat_stop.set()
        self.manifest["sessions"][-1].update(plain({"ended_at": time.time(), **facts}))
        if error is not None:
            self.manifest["error"] = plain(error)
        self.set_state(state, reason=None if error is None else str(error.get("what", "")))

    def set_state(self, state: str, reason: str | None = None) -> None:
        """Change the state and remember when."""
        entry: dict[str, Any] = {"state": state, "at": time.time()}
        if reason:
            entry["reason"] = reason
        self.manifest["state"] = state
        self.manifest.setdefault("state_history", []).append(entry)
        self.save()

    def save(self) -> bool:
        """Write the manifest. Returns False if the disk is full (the next call writes it)."""
        try:
            write_json_atomic(self.path / "manifest.json", self.manifest)
        except OSError as error:
            if is_disk_full(error):
                return False
            raise
        return True

    def _create(self, spec: Mapping[str, Any], protocol: Mapping[str, Any] | None) -> None:
        now = time.time()
        self._manifest = {
            "format": 1,
            "run": self.path.name,
            "name": spec.get("name"),
            "algorithm": spec.get("algorithm"),
            "env": spec.get("env"),
            "seeds": spec.get("seeds"),
            "state": CREATED,
            "created_at": now,
            "rlx_version": rlx.__version__,
            "versions": provenance.versions(),
            "git": provenance.git_state(Path.cwd()),
            "hardware": provenance.hardware(),
            "units": UNITS,
            "protocol": {
                "environment": plain(protocol or spec.get("environment")),
                "evaluation": spec.get("evaluation"),
            },
            "command": provenance.command_line(),
            "spec": dict(spec),
            "state_history": [{"state": CREATED, "at": now}],
            "sessions": [],
        }
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            write_json_atomic(self.path / "params.json", spec)
            write_json_atomic(self.path / "manifest.json", self._manifest)
        except OSError as error:
            raise RunDirectoryError(f"cannot write here ({error.strerror})", str(self.path)) from None

    def _take_over(self, new: Mapping[str, Any]) -> None:
        changes = dict(spec_changes(self.manifest.get("spec", {}), new))
        refused = [key for key in changes if not _may_change(key)]
        if refused:
            listed = ", ".join(f"{key}: {changes[key][0]} -> {changes[key][1]}" for key in refused[:5])
            more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
            raise RunSpecChangedError(
                f"the experiment differs from the one this run began with ({listed}{more})",
                str(self.path),
                "use another --name, or rlx resume to go on with the recorded one",
            )
        if self.manifest.get("state") in (CREATED, RUNNING):
            self.manifest["state_history"].append(
                {"state": CRASHED, "at": time.time(), "reason": "found dead"}
            )
        if changes:
            self.manifest["spec"] = dict(new)
            self.manifest.setdefault("spec_changes", []).append(
                {"at": time.time(), "changes": plain(changes)}
            )
            write_json_atomic(self.path / "params.json", new)
        (self.checkpoints).mkdir(exist_ok=True)

    def _refuse_foreign_content(self) -> None:
        content = [entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")]
        if set(content) - {"checkpoints", "params.json", "train.log"}:
            raise RunDirectoryError(
                "the directory holds other files and no run", str(self.path), "choose another --name or --out"
            )

    def _clear(self) -> None:
        for entry in self.path.iterdir():
            if entry.name == ".lock":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        self._manifest = None

    def _start_heartbeat(self) -> None:
        self._heartbeat_stop = threading.Event()
        file, stop = self.path / ".heartbeat", self._heartbeat_stop

        def beat() -> None:
            while True:
                # Touching needs no space, so a full disk does not make a run look dead.
                with contextlib.suppress(OSError):
                    file.touch()
                if stop.wait(HEARTBEAT_PERIOD_SECONDS):
                    return

        threading.Thread(target=beat, name="rlx-heartbeat", daemon=True).start()


def spec_changes(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield `(dotted path, (old, new))` for every leaf that differs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            path = f"{prefix}.{key}" if prefix else str(key)
            yield from spec_changes(old.get(key), new.get(key), path)
    elif old != new:
        yield prefix, (old, new)


def _may_change(path: str) -> bool:
    return any(path == section or path.startswith(section + ".") for section in RESUMABLE_SECTIONS)


def _heartbeat_age_seconds(path: Path) -> float:
    beat = _heartbeat(path)
    return time.time() - beat if beat else float("inf")


def _heartbeat(path: Path) -> float:
    """Return when a run last gave a sign of life; 0 if it never did."""
    try:
        return (path / ".heartbeat").stat().st_mtime
    except OSError:
        return 0.0
