"""The versions that nodes get are those of this machine, and what a checkout pins."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import pytest

import rlx
from rlx.cluster.errors import ClusterError
from rlx.cluster.versions import checkout, local_versions, pinned_ray

ROOT = Path(__file__).resolve().parents[2]


def test_this_machine() -> None:
    found = local_versions()
    assert (found.python, found.rlx) == (platform.python_version(), rlx.__version__)
    assert found.ray == metadata.version("ray")
    assert checkout() == ROOT
    assert pinned_ray(ROOT) == found.ray


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no checkout of rlx"),
        ("[project", "no checkout of rlx"),
        ('[project]\nname = "other"\ndependencies = []\n', "a checkout of other, not of rlx"),
    ],
)
def test_other_folders(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ClusterError, match=message):
        pinned_ray(tmp_path)


def test_no_pin(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "rlx"\ndependencies = ["ray[rllib]>=2"]\n')
    assert pinned_ray(tmp_path) == ""
