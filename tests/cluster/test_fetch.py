"""Runs come from the storage to this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rlx.cluster.errors import ClusterUsageError
from rlx.cluster.fetch import choose, fetch
from tests.cluster.head import Lab, lab

__all__ = ["lab"]  # fixture


def test_choose() -> None:
    there = ["a-seed0", "a-seed1", "a-seed10", "b"]
    assert choose(there, [], "/x") == there
    assert choose(there, ["a-seed1"], "/x") == ["a-seed1"]
    assert choose(there, ["b", "a", "a-seed1"], "/x") == ["b", "a-seed0", "a-seed1", "a-seed10"]
    with pytest.raises(ClusterUsageError, match="no run 'c' in /x; there are a-seed0, "):
        choose(there, ["c"], "/x")
    with pytest.raises(ClusterUsageError, match="there are none"):
        choose([], ["c"], "/x")


@pytest.fixture
def runs(lab: Lab) -> Any:
    """Have runs on the head: names below the storage, or (name, path)."""
    if shutil.which("rsync") is None:
        pytest.skip("no rsync on this machine")

    def have(*there: str) -> None:
        rows = []
        for below in there:
            path = Path(lab.spec.storage) / below
            for checkpoint in ("checkpoint_000001", "checkpoint_000002", ".tmp-checkpoint_000003"):
                (path / "checkpoints" / checkpoint).mkdir(parents=True)
                (path / "checkpoints" / checkpoint / "x").write_text("x")
            (path / ".heartbeat").write_text("")
            (path / "result.json").write_text("{}\n")
            rows.append({"run": path.name, "path": str(path)})
        lab.program(Path(str(lab.spec.environment)) / "bin/rlx", f"cat <<'X'\n{json.dumps(rows)}\nX")

    return have


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("checkpoints", "numbers"),
    [("none", []), ("last", ["000002"]), ("all", ["000001", "000002"])],
)
def test_checkpoints(lab: Lab, runs: Any, tmp_path: Path, checkpoints: str, numbers: list[str]) -> None:
    odd = "a 'b' $(touch made) *"
    runs(odd, "other")
    (folder,) = fetch(lab.spec, lab.hosts, ["a"], tmp_path / "fetched", checkpoints=checkpoints)
    assert folder == tmp_path / "fetched" / odd
    assert files(folder) == [*(f"checkpoints/checkpoint_{number}/x" for number in numbers), "result.json"]
    assert not list(tmp_path.rglob("made"))


def test_a_run_in_a_folder_of_runs(lab: Lab, runs: Any, tmp_path: Path) -> None:
    runs("sweep/a", "b")
    fetch(lab.spec, lab.hosts, [], tmp_path / "fetched")
    assert files(tmp_path / "fetched/a") == ["checkpoints/checkpoint_000002/x", "result.json"]
    assert files(tmp_path / "fetched/b") == ["checkpoints/checkpoint_000002/x", "result.json"]


def test_what_grew_meanwhile_comes_the_second_time(lab: Lab, runs: Any, tmp_path: Path) -> None:
    runs("a")
    fetch(lab.spec, lab.hosts, [], tmp_path / "fetched")
    (Path(lab.spec.storage) / "a/result.json").write_text("{}\n{}\n")
    fetch(lab.spec, lab.hosts, [], tmp_path / "fetched")
    assert (tmp_path / "fetched/a/result.json").read_text() == "{}\n{}\n"


@pytest.mark.parametrize("name", ["../x", "/etc", "..", ".", ""])
def test_a_head_cannot_name_a_place_elsewhere(lab: Lab, tmp_path: Path, name: str) -> None:
    rows = json.dumps([{"run": name, "path": "/nowhere"}])
    lab.program(Path(str(lab.spec.environment)) / "bin/rlx", f"echo '{rows}'")
    assert fetch(lab.spec, lab.hosts, [], tmp_path / "fetched") == []
    assert not (tmp_path / "fetched").exists()
