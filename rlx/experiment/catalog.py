"""Find experiments by name: the user's own files, then those shipped with the package."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlx.experiment.problems import ExperimentError, Location, Problem

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class ShippedExperiment:
    """One shipped experiment.

    Attributes:
        name: what `rlx train` takes.
        path: its file.
        header: its comment: what it reaches, on what hardware, in how long.
    """

    name: str
    path: Path
    header: str


def shipped_folder() -> Path | None:
    """Return the folder of the shipped experiments: of a source checkout, or of an installed package."""
    for folder in (_PACKAGE.parent / "experiments", _PACKAGE / "_experiments"):
        if (folder / "schema.json").is_file():
            return folder
    return None


def shipped_experiments() -> list[ShippedExperiment]:
    """List the shipped experiments by name."""
    folder = shipped_folder()
    files = sorted(folder.glob("*.yaml")) if folder else []
    return [ShippedExperiment(file.stem, file, header_comment(file.read_text("utf-8"))) for file in files]


def find_experiment(name: str) -> Path:
    """Find an experiment by path, or by the name of a shipped one.

    `experiments/<name>.yaml` also finds a shipped one where the working directory has no such file.

    Raises:
        ExperimentError: there is none; with the nearest names.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {item.name: item.path for item in shipped_experiments()}
    plain = path.name.removesuffix(".yaml").removesuffix(".yml")
    ours = os.path.dirname(name) in ("", "experiments")
    if ours and plain in shipped:
        return shipped[plain]
    near = difflib.get_close_matches(plain, shipped, n=3, cutoff=0.5)
    raise ExperimentError([Problem(Location(name), "", _missing(path), _hint(near, sorted(shipped)))])


def header_comment(text: str) -> str:
    """Return the comment at the head of a file, without marks and without editors' lines."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment = line.removeprefix("#").strip()
        if not comment.startswith("yaml-language-server:"):
            lines.append(comment)
    return "\n".join(lines).strip()


def _missing(path: Path) -> str:
    return "is a directory, not an experiment" if path.is_dir() else "no such file or shipped experiment"


def _hint(near: Sequence[str], known: Sequence[str]) -> str:
    if near:
        return f"did you mean {' or '.join(repr(name) for name in near)}?"
    return f"shipped: {', '.join(known)}" if known else ""
