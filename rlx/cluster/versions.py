"""The versions that nodes get: those of this machine."""

from __future__ import annotations

import platform
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import rlx
from rlx.cluster.errors import ClusterError

#: Makes the environment on the nodes; any recent one does.
UV_VERSION = "0.13.9"


@dataclass(frozen=True)
class Versions:
    """What has to be equal everywhere, because processes of all nodes talk to each other."""

    python: str
    ray: str
    rlx: str


def local_versions() -> Versions:
    """Return the versions of this machine, without importing Ray."""
    try:
        ray = metadata.version("ray")
    except metadata.PackageNotFoundError:
        raise ClusterError("Ray is not installed", "", "pip install rlx") from None
    return Versions(platform.python_version(), ray, rlx.__version__)


def checkout() -> Path | None:
    """Return the source checkout that this rlx runs from; None if it is an installed package."""
    folder = Path(rlx.__file__).resolve().parents[1]
    return folder if (folder / "pyproject.toml").is_file() else None


def pinned_ray(source: Path) -> str:
    """Return the version of Ray that a checkout pins; empty if it pins none.

    Raises:
        ClusterError: the folder is no checkout of rlx.
    """
    try:
        project = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"]
        dependencies = [str(line) for line in project["dependencies"]]
        name = project["name"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise ClusterError(f"no checkout of rlx ({error})", str(source)) from None
    if name != "rlx":
        raise ClusterError(f"a checkout of {name}, not of rlx", str(source))
    pins = [line.partition("==")[2] for line in dependencies if line.startswith("ray[") and "==" in line]
    return pins[0] if pins else ""
