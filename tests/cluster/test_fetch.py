"""Runs come from the storage to this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rlx.cluster.errors import ClusterUsageError
from rlx.cluster.fetch import choose, fetch
from rlx.runs.checkpoints import commit
from rlx.runs.directory import RunDirectory
from rlx.runs.errors import RunExistsError, RunLockedError
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
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.name != ".lock")


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


def manifest(path: Path, created_at: float, *sessions: float) -> None:
    """Give a run a manifest."""
    began = [{"started_at": at} for at in sessions]
    (path / "manifest.json").write_text(json.dumps({"created_at": created_at, "sessions": began}))


def test_another_run_of_the_name_is_left_alone(lab: Lab, runs: Any, tmp_path: Path) -> None:
    runs("a")
    manifest(Path(lab.spec.storage) / "a", 2.0)
    here = tmp_path / "fetched/a"
    here.mkdir(parents=True)
    manifest(here, 1.0)
    (here / "result.json").write_text("precious")
    said = f"{here}: the cluster has another run of this name; fetch into another folder with --out"
    with pytest.raises(RunExistsError) as error:
        fetch(lab.spec, lab.hosts, [], tmp_path / "fetched")
    assert str(error.value) == said
    assert files(here) == ["manifest.json", "result.json"]
    assert (here / "result.json").read_text() == "precious"


def test_a_run_that_went_on_here_is_left_alone(lab: Lab, runs: Any, tmp_path: Path) -> None:
    runs("a")
    there, here, said = Path(lab.spec.storage) / "a", tmp_path / "fetched/a", list[str]()
    manifest(there, 1.0, 1.0)
    fetch(lab.spec, lab.hosts, [], tmp_path / "fetched")
    manifest(here, 1.0, 1.0, 2.0)
    (here / "result.json").write_text("precious")
    fetch(lab.spec, lab.hosts, [], tmp_path / "fetched", say=said.append)
    assert said[-1] == "a went on here since: nothing is fetched"
    manifest(there, 1.0, 1.0, 3.0)
    with pytest.raises(RunExistsError, match="went on here and in the cluster, apart from each other"):
        fetch(lab.spec, lab.hosts, [], tmp_path / "fetched")
    assert (here / "result.json").read_text() == "precious"


def test_a_run_in_which_a_process_trains_is_left_alone(lab: Lab, runs: Any, tmp_path: Path) -> None:
    runs("a")
    with RunDirectory(tmp_path / "fetched/a").locked(), pytest.raises(RunLockedError, match="is training"):
        fetch(lab.spec, lab.hosts, [], tmp_path / "fetched")
    assert files(tmp_path / "fetched/a") == []


def test_what_the_head_pruned_goes_here_too(lab: Lab, runs: Any, tmp_path: Path) -> None:
    runs("a")
    there, here = Path(lab.spec.storage) / "a/checkpoints", tmp_path / "fetched/a/checkpoints"

    def names() -> list[str]:
        fetch(lab.spec, lab.hosts, [], tmp_path / "fetched")
        return sorted(path.name for path in here.iterdir())

    def whole(number: int) -> None:
        temporary = there / f".tmp-checkpoint_{number:06d}"
        temporary.mkdir(exist_ok=True)
        (temporary / "state").write_text(str(number))
        commit(temporary, {})

    assert names() == ["checkpoint_000002"]
    whole(3)
    assert names() == ["checkpoint_000002", "checkpoint_000003"]  # the head has both
    shutil.rmtree(there / "checkpoint_000002")
    assert names() == ["checkpoint_000003"]
    # What is not whole replaces nothing.
    (there / "checkpoint_000003").rename(there / "checkpoint_000004")
    (there / "checkpoint_000004/DIGEST.json").unlink()
    assert names() == ["checkpoint_000003", "checkpoint_000004"]


@pytest.mark.parametrize("name", ["../x", "/etc", "..", ".", ""])
def test_a_head_cannot_name_a_place_elsewhere(lab: Lab, tmp_path: Path, name: str) -> None:
    rows = json.dumps([{"run": name, "path": "/nowhere"}])
    lab.program(Path(str(lab.spec.environment)) / "bin/rlx", f"echo '{rows}'")
    assert fetch(lab.spec, lab.hosts, [], tmp_path / "fetched") == []
    assert not (tmp_path / "fetched").exists()
