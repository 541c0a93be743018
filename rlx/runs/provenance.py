"""Facts about where a run happened: versions, commit, hardware, process."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

_PACKAGES = ("rlx", "ray", "torch", "ale-py", "gymnasium", "numpy", "numba", "minatar", "popgym")


def versions() -> dict[str, str]:
    """Return the Python version and those of the packages that decide results (installed ones only)."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state(directory: Path) -> dict[str, Any] | None:
    """Return `commit` and `dirty` of the repository a directory is in; None outside of one."""
    commit = _output(["git", "-C", str(directory), "rev-parse", "HEAD"])
    if not commit:
        return None
    status = _output(["git", "-C", str(directory), "status", "--porcelain", "--untracked-files=no"])
    return {"commit": commit, "dirty": bool(status)}


def cpu_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hardware() -> dict[str, Any]:
    """Return CPU model, cores this process may use, memory in bytes, and GPUs as nvidia-smi names them."""
    import psutil

    gpus = _output(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"])
    return {
        "cpu": _cpu_model(),
        "cpu_cores": cpu_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpus.splitlines() if gpus else [],
        "platform": platform.platform(),
    }


def process_identity() -> dict[str, Any]:
    """Return what identifies this process beyond its id: host, boot, pid namespace and start time."""
    import psutil

    return {
        "host": socket.gethostname(),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        "pid_namespace": _link("/proc/self/ns/pid"),
        "pid": os.getpid(),
        "process_started_at": psutil.Process().create_time(),
    }


def process_alive(identity: dict[str, Any]) -> bool | None:
    """Return whether a process of this machine still runs; None if another machine would have to say."""
    import psutil

    here = process_identity()
    if identity.get("host") != here["host"] or identity.get("pid_namespace") != here["pid_namespace"]:
        return None
    if identity.get("boot_id") != here["boot_id"]:
        return False
    try:
        process = psutil.Process(int(identity["pid"]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # Process ids are reused: the start time tells whether it is still the same process.
        return bool(abs(process.create_time() - float(identity["process_started_at"])) < 2.0)
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def command_line() -> list[str]:
    """Return the command that started this process."""
    return list(sys.argv)


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
