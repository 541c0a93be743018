"""The copy of a run in S3: the order of uploads, deaths between them, outages, going on elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import pytest
from moto import mock_aws

from rlx.runs import mirror as mirrors
from rlx.runs import remote
from rlx.runs.bucket import Bucket, split_url
from rlx.runs.checkpoints import list_checkpoints
from rlx.runs.directory import RunDirectory, read_manifest
from rlx.runs.errors import (
    MirrorError,
    MirrorUsageError,
    NoCheckpointError,
    RunExistsError,
    RunLockedError,
    RunNotFoundError,
)
from rlx.runs.loop import RunResult, train
from rlx.runs.metrics import read_results
from rlx.runs.mirror import Mirror
from rlx.runs.policies import list_policies
from rlx.runs.remote import fetch_run, list_runs
from rlx.runs.summary import summarize
from tests.runs.fake_engine import FakeEngine, RecordingView, make_spec

# AWS's descriptions of its services are large: read once, not for each client.
_LOADER = botocore.loaders.create_loader()

URL = "s3://copies/rlx"
SECONDS = {"period_seconds": 0.02, "heartbeat_seconds": 0.05}


@pytest.fixture(autouse=True)
def _s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 in this process, with one bucket."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(mirrors, "FLUSH_SECONDS", 20.0)
    monkeypatch.setattr(mirrors, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0.05)

    def session() -> Any:
        core = botocore.session.get_session()
        core.register_component("data_loader", _LOADER)
        return real(botocore_session=core)

    real = boto3.Session
    monkeypatch.setattr(boto3, "Session", session)
    with mock_aws():
        s3().create_bucket(Bucket="copies")
        yield


def s3() -> Any:
    return boto3.Session().client("s3", region_name="us-east-1")


def keys(name: str = "run") -> set[str]:
    """Return what the bucket has of a run."""
    return {one.key for one in Bucket(URL).below(name).objects()}


def run(
    root: Path, spec: Any = None, engine: FakeEngine | None = None, if_exists: str = "fail", **options: Any
) -> tuple[RunResult, FakeEngine, RecordingView]:
    """Train a fake engine with a copy in the bucket."""
    engine, view, spec = engine or FakeEngine(), RecordingView(), spec or make_spec()
    path = root / "run"
    claim = remote.wait_until_free(Bucket(URL).below("run"), print)
    copy = Mirror(URL, path, keep_last=spec.checkpointing.keep_last, claim=claim, **{**SECONDS, **options})
    result = train(
        spec,
        RunDirectory(path),
        lambda spec, run_dir: engine,
        view,
        if_exists=if_exists,
        tensorboard=False,
        mirror=copy,
    )
    return result, engine, view


def resume(root: Path, spec: Any = None, **options: Any) -> tuple[RunResult, FakeEngine, RecordingView]:
    """Go on with the bucket's run, as another machine would."""
    remote.bring(URL, RunDirectory(root / "run"), say=lambda text: None)
    return run(root, spec, if_exists="resume", **options)


class Recorder:
    """Keep the keys in the order in which they are written and deleted; fail where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, str]] = []
        self.before: Any = lambda act, key: None
        for act in ("put", "upload"):
            self._wrap(monkeypatch, act)
        real_delete = Bucket.delete

        def delete(bucket: Bucket, gone: list[str]) -> None:
            for key in gone:
                self.before("delete", key)
                self.done.append(("delete", key))
            real_delete(bucket, gone)

        monkeypatch.setattr(Bucket, "delete", delete)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
        real = getattr(Bucket, act)

        def call(bucket: Bucket, key: str, *arguments: Any, **more: Any) -> Any:
            self.before(act, key)
            answer = real(bucket, key, *arguments, **more)
            self.done.append((act, key))
            return answer

        monkeypatch.setattr(Bucket, act, call)

    def position(self, act: str, key: str) -> int:
        return self.done.index((act, key))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


def test_all_of_a_run_is_in_the_bucket_at_its_end(tmp_path: Path) -> None:
    result, _, view = run(tmp_path, make_spec(evaluation={"at_end": True}))
    assert result.mirror is not None
    assert result.mirror.complete
    assert str(result.mirror) == "all of the run is in s3://copies/rlx/run"
    assert ("info", str(result.mirror)) in view.events
    names = {
        path.relative_to(result.path).as_posix()
        for path in result.path.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    assert keys() == names | {".heartbeat"}
    for name in names:
        stored = s3().get_object(Bucket="copies", Key=f"rlx/run/{name}")["Body"].read()
        assert stored == (result.path / name).read_bytes(), name
    assert read_manifest(result.path)["sessions"][0]["mirror"] == "s3://copies/rlx/run"
    (listed,) = list_runs(URL)
    assert (listed["run"], listed["state"], listed["env_steps"]) == ("run", "finished", 500)


def test_the_record_goes_up_last_and_the_manifest_after_it(tmp_path: Path, recorder: Recorder) -> None:
    run(tmp_path)
    for number in (2, 3):
        folder = f"checkpoints/checkpoint_{number:06d}"
        ours = [key for act, key in recorder.done if act == "upload" and key.startswith(folder)]
        assert ours[-1] == f"{folder}/DIGEST.json"
        assert set(ours) == {f"{folder}/{name}" for name in ("state.json", "replay/rows.bin", "DIGEST.json")}
    last = len(recorder.done) - 1 - recorder.done[::-1].index(("put", "manifest.json"))
    assert last > recorder.position("upload", "checkpoints/checkpoint_000003/DIGEST.json")
    assert not any(".tmp-" in key or key == ".lock" for _, key in recorder.done)


def test_no_manifest_names_a_checkpoint_that_is_not_there(tmp_path: Path, recorder: Recorder) -> None:
    """Whenever a manifest goes up, its last checkpoint is whole in the bucket."""
    seen: list[str] = []

    def look(act: str, key: str) -> None:
        if (act, key) == ("upload", "checkpoints/checkpoint_000002/DIGEST.json"):
            time.sleep(0.1)  # a slow network: the run goes on meanwhile

    recorder.before = look
    real = Bucket.put

    def put(bucket: Bucket, key: str, content: bytes, **more: str) -> str:
        answer = real(bucket, key, content, **more)
        if key == "manifest.json":
            named = json.loads(content)["sessions"][-1].get("last_checkpoint")
            if named:
                seen.append(named)
                assert f"checkpoints/{named}/DIGEST.json" in keys()
        return answer

    Bucket.put = put  # type: ignore[method-assign]
    try:
        result, *_ = run(tmp_path, engine=FakeEngine(seconds_per_iteration=0.03))
    finally:
        Bucket.put = real  # type: ignore[method-assign]
    assert result.mirror is not None
    assert result.mirror.complete
    assert seen[-1] == "checkpoint_000003"


def test_pruned_ones_go_only_when_newer_ones_are_whole_there(tmp_path: Path, recorder: Recorder) -> None:
    run(tmp_path, make_spec(stop={"env_steps": 1200}), FakeEngine(seconds_per_iteration=0.05))
    here = [one.path.name for one in list_checkpoints(tmp_path / "run/checkpoints")]
    assert len(here) == 2
    there = {key.split("/")[1] for key in keys() if key.startswith("checkpoints/")}
    assert there == set(here)
    deleted = [key for act, key in recorder.done if act == "delete" and key.endswith("DIGEST.json")]
    assert deleted
    for key in deleted:
        number = int(key.split("/")[1].rpartition("_")[2])
        at = recorder.position("delete", key)
        whole = [
            key
            for act, key in recorder.done[:at]
            if act == "upload" and key.startswith("checkpoints/") and key.endswith("DIGEST.json")
        ]
        newer = [key for key in whole if int(key.split("/")[1].rpartition("_")[2]) > number]
        assert len(newer) >= 2
        folder = key.removesuffix("DIGEST.json")
        rest = [at for at, (act, one) in enumerate(recorder.done) if act == "delete" and folder in one]
        assert at == min(rest)


def test_what_goes_up_is_not_pruned_meanwhile(tmp_path: Path, recorder: Recorder) -> None:
    """A network slower than the checkpoints: one is copied whole all the same, and no failure is told."""
    first = "checkpoints/checkpoint_000001/"
    begun, go_on, there = threading.Event(), threading.Event(), threading.Event()

    def before(act: str, key: str) -> None:
        if act == "upload" and key.startswith(first):
            begun.set()
            assert go_on.wait(20)
        if act == "put" and key == "manifest.json" and ("upload", f"{first}DIGEST.json") in recorder.done:
            there.set()

    def six_are_pruned_meanwhile() -> None:
        here = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
        assert here == {"checkpoint_000001", "checkpoint_000007"}
        go_on.set()
        assert there.wait(20)

    recorder.before = before
    engine = FakeEngine()
    engine.hooks[2] = lambda: begun.wait(20)
    engine.hooks[8] = six_are_pruned_meanwhile
    spec = make_spec(stop={"env_steps": 1500}, checkpointing={"interval_env_steps": 100, "keep_last": 1})
    result, _, view = run(tmp_path, spec, engine)
    assert result.mirror is not None
    assert result.mirror.complete
    assert view.warnings() == []
    copied = {key.split("/")[1] for key in keys() if key.startswith("checkpoints/")}
    assert copied == {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    assert "checkpoint_000015" in copied
    assert "checkpoint_000001" not in copied


class Died(BaseException):
    """The program ends here."""


@pytest.mark.parametrize(
    "dies_before",
    [
        ("upload", "checkpoints/checkpoint_000003/state.json"),
        ("upload", "checkpoints/checkpoint_000003/DIGEST.json"),
        ("put", "manifest.json"),
        ("delete", "checkpoints/checkpoint_000001/DIGEST.json"),
        ("delete", "checkpoints/checkpoint_000001/state.json"),
    ],
)
def test_a_death_between_uploads_leaves_a_run_that_goes_on(
    tmp_path: Path, recorder: Recorder, dies_before: tuple[str, str]
) -> None:
    """Each step of a copy is the last one; another machine goes on from what is there, as if undisturbed."""
    whole, *_ = run(tmp_path / "whole", make_spec(stop={"env_steps": 1000}))
    Bucket(URL).delete([f"run/{key}" for key in keys()])
    path = tmp_path / "here" / "run"
    train(make_spec(), RunDirectory(path), lambda *_: FakeEngine(), RecordingView(), tensorboard=False)
    # As a program leaves it: two checkpoints are there, then a third is made and the first is pruned.
    copy = mirrors._Copy(Bucket(URL).below("run"), path, 2, lambda: None)
    copy.send_files()
    newest, oldest = path / "checkpoints/checkpoint_000003", path / "checkpoints/checkpoint_000001"
    moved = shutil.move(newest, tmp_path / "newest")
    engine = FakeEngine()
    engine.restore(path / "checkpoints/checkpoint_000002")
    shutil.copytree(path / "checkpoints/checkpoint_000002", oldest)
    copy.send_checkpoints()
    shutil.move(moved, newest)
    shutil.rmtree(oldest)
    manifest = read_manifest(path)
    (path / "manifest.json").write_text(json.dumps({**manifest, "changed": True}))
    recorder.done.clear()

    def die(act: str, key: str) -> None:
        if (act, key) == dies_before:
            raise Died

    recorder.before = die
    with pytest.raises(Died):
        copy.send_checkpoints()
    recorder.before = lambda act, key: None

    result, engine, _ = resume(tmp_path / "there", make_spec(stop={"env_steps": 1000}))
    assert result.state == "finished"
    restored = engine.restored_from
    assert restored is not None
    expected = "checkpoint_000002" if dies_before[1].startswith(f"checkpoints/{newest.name}") else newest.name
    assert restored.name == expected
    assert (engine.env_steps, engine.updates) == (1000, 100)
    rows = [row["env_steps"] for row in read_results(result.path)]
    assert rows == [row["env_steps"] for row in read_results(whole.path)]
    assert result.mirror is not None
    assert result.mirror.complete
    # No half of an old try is left.
    folders = {key.rpartition("/")[0] for key in keys() if key.startswith("checkpoints/checkpoint")}
    digests = {key.rpartition("/")[0] for key in keys() if key.endswith("DIGEST.json")}
    assert {folder.removesuffix("/replay") for folder in folders} <= digests


def test_an_empty_folder_goes_on_with_equal_counters(tmp_path: Path) -> None:
    spec = make_spec(stop={"env_steps": 400}, evaluation={"at_end": True})
    first, before, _ = run(tmp_path / "here", spec)
    whole, _, _ = run_alone(tmp_path / "whole")
    result, engine, _ = resume(tmp_path / "there", make_spec(stop={"env_steps": 1000}))
    assert engine.restored_from is not None
    assert engine.weights == whole.weights
    assert [row["env_steps"] for row in read_results(result.path)] == list(range(100, 1001, 100))
    assert result.row["training_iteration"] == 10
    assert len(read_manifest(result.path)["sessions"]) == 2
    # The policy came along.
    assert list_policies(first.path / "best")
    assert [one.info for one in list_policies(result.path / "best")] == [
        one.info for one in list_policies(first.path / "best")
    ]
    assert before.env_steps == 400


def run_alone(path: Path) -> tuple[FakeEngine, RunResult, RecordingView]:
    engine, view = FakeEngine(), RecordingView()
    spec = make_spec(stop={"env_steps": 1000})
    return (
        engine,
        train(spec, RunDirectory(path), lambda *_: engine, view, tensorboard=False),
        view,
    )


@pytest.mark.parametrize("damage", ["no record", "another content", "another size"])
def test_a_torn_checkpoint_in_the_bucket_is_passed_over(tmp_path: Path, damage: str) -> None:
    run(tmp_path / "here")
    newest = "rlx/run/checkpoints/checkpoint_000003/"
    if damage == "no record":
        s3().delete_object(Bucket="copies", Key=f"{newest}DIGEST.json")
    else:
        text = s3().get_object(Bucket="copies", Key=f"{newest}state.json")["Body"].read().decode()
        changed = text.replace("5", "6") if damage == "another content" else f"{text} "
        s3().put_object(Bucket="copies", Key=f"{newest}state.json", Body=changed)
    said: list[str] = []
    path = fetch_run(URL, "run", tmp_path / "there", say=said.append)
    assert [one.path.name for one in list_checkpoints(path / "checkpoints")] == ["checkpoint_000002"]
    (sentence,) = said
    words = {
        "no record": "not whole in the bucket",
        "another content": "state.json has changed content",
        "another size": "bytes instead of",
    }
    assert words[damage] in sentence
    assert not list((path / "checkpoints").glob(".tmp-*"))
    # Going on from the one before replaces the torn one in the bucket.
    result, engine, _ = resume(tmp_path / "there", make_spec(stop={"env_steps": 700}))
    assert engine.restored_from is not None
    assert engine.restored_from.name == "checkpoint_000002"
    assert result.mirror is not None
    assert result.mirror.complete
    again = fetch_run(URL, "run", tmp_path / "third", checkpoints="all", say=said.append)
    assert [one.env_steps for one in list_checkpoints(again / "checkpoints")][-1] == 700
    assert len(said) == 1


def test_if_every_checkpoint_is_damaged_nothing_begins_anew(tmp_path: Path) -> None:
    run(tmp_path / "here")
    for number in (2, 3):
        s3().put_object(
            Bucket="copies", Key=f"rlx/run/checkpoints/checkpoint_{number:06d}/state.json", Body=""
        )
    with pytest.raises(NoCheckpointError, match="every checkpoint in the bucket is damaged"):
        fetch_run(URL, "run", tmp_path / "there", say=print)
    assert not RunDirectory(tmp_path / "there/run").exists


def test_none_last_or_all_checkpoints(tmp_path: Path) -> None:
    run(tmp_path / "here")
    for wanted, count in (("none", 0), ("last", 1), ("all", 2)):
        path = fetch_run(URL, "run", tmp_path / wanted, checkpoints=wanted)
        assert len(list_checkpoints(path / "checkpoints")) == count
        assert summarize(path)["state"] == "finished"
        assert summarize(path)["env_steps"] == 500
    with pytest.raises(RunNotFoundError, match="the bucket has no such run"):
        fetch_run(URL, "other", tmp_path)
    with pytest.raises(RunNotFoundError, match="is no name of a run"):
        fetch_run(URL, "../other", tmp_path)


def test_what_is_pruned_while_it_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on between the listing and the downloads: the fetch begins anew with what is there now."""
    run(tmp_path / "here")
    real, left = Bucket.download, [1]

    def download(bucket: Bucket, key: str, file: Path) -> None:
        if left and key.startswith("checkpoints/"):
            left.clear()
            resume(tmp_path / "there", make_spec(stop={"env_steps": 1500}))
        real(bucket, key, file)

    monkeypatch.setattr(Bucket, "download", download)
    path = fetch_run(URL, "run", tmp_path / "copy")
    assert [one.env_steps for one in list_checkpoints(path / "checkpoints")] == [1500]
    assert summarize(path)["env_steps"] == 1500


# Outages ----------------------------------------------------------------------------------------------------


def refuse(act: str, key: str) -> None:
    if key != ".heartbeat":
        raise MirrorError("S3 does not permit PutObject (AccessDenied)", "s3://copies/rlx/run", code="403")


def test_a_bucket_that_refuses_stops_no_training(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "FLUSH_SECONDS", 0.3)
    recorder.before = refuse
    result, _, view = run(tmp_path, engine=FakeEngine(seconds_per_iteration=0.05))
    assert result.state == "finished"
    assert result.mirror is not None
    assert not result.mirror.complete
    told = [text for text in view.warnings() if "is not kept up" in text]
    assert len(told) == 1  # once, though it is tried again and again
    assert "does not permit PutObject" in told[0]
    assert "training goes on" in told[0]
    assert view.warnings()[-1].startswith("NOT all of the run is in s3://copies/rlx/run: ")
    assert [row["env_steps"] for row in read_results(result.path)] == [100, 200, 300, 400, 500]


def test_a_network_that_comes_back(tmp_path: Path, recorder: Recorder) -> None:
    recorder.before = refuse
    engine = FakeEngine(seconds_per_iteration=0.1)

    def come_back() -> None:
        recorder.before = lambda act, key: None

    engine.hooks[4] = come_back
    result, _, view = run(tmp_path, engine=engine)
    texts = [text for _, text in view.events]
    assert any("is not kept up" in text for text in texts)
    assert "the copy in s3://copies/rlx/run is kept up again" in texts
    assert result.mirror is not None
    assert result.mirror.complete


def test_a_network_that_hangs_at_the_end(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "FLUSH_SECONDS", 0.2)
    monkeypatch.setattr(mirrors, "_ENTER_SECONDS", 0.1)
    engine = FakeEngine()
    engine.hooks[5] = lambda: setattr(recorder, "before", lambda act, key: time.sleep(8))
    began = time.monotonic()
    result, _, _ = run(tmp_path, engine=engine)
    assert time.monotonic() - began < 6
    assert result.mirror is not None
    assert result.mirror.problem == "it was not done within 0.2 s"


def test_who_wants_it_to_end_at_once_waits_little(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlx.runs.signals import StopNow

    asked: list[float | None] = []
    real = Mirror.flush

    def flush(copy: Mirror, seconds: float | None = None) -> mirrors.MirrorOutcome:
        asked.append(seconds)
        return real(copy, seconds)

    def stop_now() -> None:
        raise StopNow("SIGINT")

    monkeypatch.setattr(Mirror, "flush", flush)
    engine = FakeEngine()
    engine.hooks[3] = stop_now
    result, _, _ = run(tmp_path, engine=engine)
    assert result.interrupted
    assert asked == [10.0]
    assert list_runs(URL)[0]["state"] == "stopped"


def test_giving_the_waiting_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flush(copy: Mirror, seconds: float | None = None) -> mirrors.MirrorOutcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(Mirror, "flush", flush)
    result, _, view = run(tmp_path)
    assert result.state == "finished"
    assert view.warnings() == ["NOT all of the run is in s3://copies/rlx/run: given up (Ctrl-C)"]


def test_no_bucket_at_all(tmp_path: Path) -> None:
    copy = Mirror("s3://other-copies/rlx", tmp_path / "run")
    with pytest.raises(MirrorError, match=r"no such bucket; aws s3 mb s3://other-copies"):
        copy.__enter__()


@pytest.mark.parametrize("url", ["copies", "s3://", "s3://UPPER/x", "s3://copies/a//b", "s3://copies/../b"])
def test_what_is_no_place(url: str) -> None:
    with pytest.raises(MirrorUsageError):
        split_url(url)


def test_without_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MirrorError, match=r"boto3 is not installed; pip install 'rlx\[aws\]'"):
        Bucket(URL)


def test_importing_it_loads_no_boto3_ray_or_torch() -> None:
    code = "import sys, rlx.runs.mirror, rlx.runs.remote; print({'boto3', 'ray', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Two hosts --------------------------------------------------------------------------------------------------


def other_host(*, held: bool = True) -> None:
    """Let another machine give a sign of life."""
    facts = {"owner": "theirs", "held": held, "host": "far-away", "at": time.time(), "pid_namespace": "x"}
    Bucket(URL).below("run").put(".heartbeat", json.dumps(facts).encode())


def test_a_name_that_the_bucket_has_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "here")
    with pytest.raises(RunExistsError, match="a run of this name is in the bucket"):
        remote.refuse_existing(URL, ["fine", "run"])
    remote.refuse_existing(URL, ["fine"])


def test_a_run_that_lives_elsewhere_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "here")
    other_host()
    said: list[str] = []
    beats = iter([None, None, 1])

    def sleep(seconds: float) -> None:
        if next(beats) is not None:
            other_host()

    with pytest.raises(RunLockedError, match="far-away is training in this run; stop it there first"):
        remote.bring(URL, RunDirectory(tmp_path / "there/run"), say=said.append, sleep=sleep)
    assert re.match(r"far-away gave a sign of life [0-3] s ago .* waiting up to 1(20|1\d) s", said[0])
    assert not (tmp_path / "there/run/manifest.json").exists()


def test_a_run_whose_host_died_goes_on_after_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "here")
    other_host()
    waited: list[float] = []
    real = remote.read_heartbeat

    def aged(bucket: Bucket) -> Any:
        found = real(bucket)
        assert found is not None
        return remote.Heartbeat(found.facts, found.etag, found.age_seconds + sum(waited))

    monkeypatch.setattr(remote, "LOOK_SECONDS", 50.0)
    monkeypatch.setattr(remote, "read_heartbeat", aged)
    remote.bring(URL, RunDirectory(tmp_path / "there/run"), say=print, sleep=waited.append)
    assert 115 < sum(waited) < 121
    assert RunDirectory(tmp_path / "there/run").state == "finished"


def test_another_host_of_the_same_name_is_waited_for(tmp_path: Path) -> None:
    """Names of hosts repeat in a cloud: a process that is not here may live there."""
    from rlx.runs.provenance import process_identity

    facts = {**process_identity(), "owner": "theirs", "held": True, "boot_id": "another", "pid": 999_999_999}
    Bucket(URL).below("run").put(".heartbeat", json.dumps(facts).encode())
    found = remote.read_heartbeat(Bucket(URL).below("run"))
    assert found is not None
    assert found.alive


def test_a_dead_process_of_this_machine_is_not_waited_for(tmp_path: Path) -> None:
    from rlx.runs.provenance import process_identity

    run(tmp_path / "here")
    facts = {**process_identity(), "owner": "dead", "held": True, "process_started_at": 1.0}
    Bucket(URL).below("run").put(".heartbeat", json.dumps(facts).encode())
    remote.bring(
        URL, RunDirectory(tmp_path / "there/run"), say=print, sleep=lambda seconds: pytest.fail("waited")
    )


def test_of_two_that_start_at_once_one_is_refused(tmp_path: Path) -> None:
    first, second = (Mirror(URL, tmp_path / folder / "run") for folder in "ab")
    with first, pytest.raises(RunLockedError, match="another process has just begun to train in it"):
        second.__enter__()


def test_no_sign_of_life_comes_after_the_release(tmp_path: Path, recorder: Recorder) -> None:
    slow = threading.Event()

    def before(act: str, key: str) -> None:
        if key == ".heartbeat" and threading.current_thread().name == "rlx-mirror-heartbeat":
            slow.set()
            time.sleep(0.3)

    (tmp_path / "run").mkdir()
    with Mirror(URL, tmp_path / "run", **SECONDS) as copy:
        recorder.before = before
        copy.start()
        assert slow.wait(5)
    time.sleep(0.4)
    found = remote.read_heartbeat(Bucket(URL).below("run"))
    assert found is not None
    assert not found.facts["held"]


def test_who_was_taken_over_writes_no_more(tmp_path: Path) -> None:
    """A host that was cut off for long comes back, while the run goes on elsewhere."""
    engine = FakeEngine(seconds_per_iteration=0.1)
    engine.hooks[2] = other_host
    result, _, view = run(tmp_path, engine=engine)
    assert result.state == "finished"
    assert result.mirror is not None
    assert not result.mirror.complete
    assert "far-away has taken the run over" in result.mirror.problem
    assert any("far-away has taken the run over" in text for text in view.warnings())
    assert "checkpoints/checkpoint_000003/DIGEST.json" not in keys()
    found = remote.read_heartbeat(Bucket(URL).below("run"))
    assert found is not None
    assert found.facts["owner"] == "theirs"


def trained(root: Path) -> Path:
    """Return the directory of a run that was trained without a copy."""
    train(make_spec(), RunDirectory(root), lambda *_: FakeEngine(), RecordingView(), tensorboard=False)
    return root


def test_who_gave_no_sign_of_life_for_long_looks_before_writing(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that slept writes at once when it wakes, before its next sign of life."""
    path, clock = trained(tmp_path / "run"), [0.0]
    monkeypatch.setattr(mirrors, "_clock", lambda: clock[0])
    with Mirror(URL, path) as copy:
        clock[0] = 59.0
        copy._copy.send_files()
        assert ("put", ".heartbeat") not in recorder.done[1:]
        clock[0] = 61.0
        copy._copy.send_checkpoints()  # still ours: a new sign of life, then the checkpoints
        assert recorder.done.count(("put", ".heartbeat")) == 2
        assert "manifest.json" in keys()
        shutil.rmtree(path / "checkpoints/checkpoint_000002")
        (path / "result.json").write_text("changed")
        other_host()
        clock[0] = 122.0
        before = len(recorder.done)
        acts = (
            copy._copy.send_files,
            copy._copy.send_checkpoints,
            copy.clear,
            lambda: copy._copy._delete("checkpoints/checkpoint_000003"),
        )
        for act in acts:
            if act is acts[1]:
                (path / "manifest.json").write_text("{}")
            with pytest.raises(MirrorError, match="far-away has taken the run over"):
                act()
    assert recorder.done[before:] == []


def test_of_two_signs_of_life_at_once_the_later_writes_nothing(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken over between the look and the sign: the conditional write tells."""
    path, clock = trained(tmp_path / "run"), [0.0]
    monkeypatch.setattr(mirrors, "_clock", lambda: clock[0])
    with Mirror(URL, path) as copy:
        clock[0] = 61.0

        def take_over(act: str, key: str) -> None:
            recorder.before = lambda act, key: None
            other_host()

        recorder.before = take_over
        with pytest.raises(MirrorError, match="somebody else wrote there"):
            copy._copy.send_checkpoints()
        with pytest.raises(MirrorError, match="far-away has taken the run over"):
            copy._copy.send_checkpoints()
    assert keys() == {".heartbeat"}


def test_a_copy_left_behind_writes_nothing_after_the_release(tmp_path: Path, recorder: Recorder) -> None:
    path, others = trained(tmp_path / "run"), set(threading.enumerate())
    begun, go_on = threading.Event(), threading.Event()

    def hang(act: str, key: str) -> None:
        if key.startswith("checkpoints/"):
            begun.set()
            assert go_on.wait(20)

    with Mirror(URL, path) as copy:
        recorder.before = hang
        outcome: list[mirrors.MirrorOutcome] = []
        ends = threading.Thread(target=lambda: outcome.append(copy.flush(1.0)))
        ends.start()
        assert begun.wait(20)
        (left,) = [one for one in set(threading.enumerate()) - others if one.name == "rlx-mirror-flush"]
        ends.join()
        assert not outcome[0].complete
    go_on.set()
    left.join(20)
    assert not left.is_alive()
    after = recorder.done[len(recorder.done) - recorder.done[::-1].index(("put", ".heartbeat")) :]
    assert len(after) == 1  # what was on its way
    assert "manifest.json" not in keys()
    found = remote.read_heartbeat(Bucket(URL).below("run"))
    assert found is not None
    assert not found.facts["held"]


def test_what_the_bucket_pruned_goes_here_too(tmp_path: Path) -> None:
    """A living run that is fetched again and again does not fill the disk."""
    spec, there = make_spec(evaluation={"at_end": True}), tmp_path / "there"
    here = tmp_path / "copy/run"

    def fetched(**options: Any) -> list[str]:
        said: list[str] = []
        fetch_run(URL, "run", tmp_path / "copy", say=said.append, **options)
        assert said == []
        return sorted(path.name for path in (here / "checkpoints").iterdir())

    run(there, spec)
    assert fetched() == ["checkpoint_000003"]
    run(there, make_spec(stop={"env_steps": 1000}, evaluation={"at_end": True}), if_exists="resume")
    assert fetched(checkpoints="none") == ["checkpoint_000003"]  # nothing has come in its place
    run(there, make_spec(stop={"env_steps": 1500}, evaluation={"at_end": True}), if_exists="resume")
    newest = list_checkpoints(there / "run/checkpoints")[-1].path.name
    assert fetched() == [newest]
    assert not [path for path in (here / "best").iterdir() if path.name.startswith("discarded-")]
    # The mark of what was fetched stays here.
    another = Bucket("s3://copies/another").below("run")
    mirrors._Copy(another, here, 2, lambda: None).send_checkpoints()
    copied = [one.key for one in another.objects()]
    assert f"checkpoints/{newest}/DIGEST.json" in copied
    assert not [key for key in copied if key.endswith(remote.FETCHED)]


def test_what_was_not_fetched_is_put_aside(tmp_path: Path) -> None:
    """A checkpoint that was made here is not deleted, even where the bucket has pruned it."""
    run(tmp_path / "here")
    resume(tmp_path / "there", make_spec(stop={"env_steps": 1500}))
    said: list[str] = []
    path = fetch_run(URL, "run", tmp_path / "here", say=said.append)
    assert len(said) == 2
    aside = sorted(one.name for one in (path / "checkpoints").iterdir() if one.name.startswith("disc"))
    assert aside == ["discarded-checkpoint_000002", "discarded-checkpoint_000003"]


def test_where_the_directory_is_newer_it_wins(tmp_path: Path) -> None:
    run(tmp_path / "here")
    spec = make_spec(stop={"env_steps": 900})
    path = tmp_path / "here/run"
    train(
        spec,
        RunDirectory(path),
        lambda *_: FakeEngine(),
        RecordingView(),
        if_exists="resume",
        tensorboard=False,
    )
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    remote.bring(URL, RunDirectory(path), say=print)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    run(tmp_path / "here", spec, if_exists="resume")
    assert next(iter(list_runs(URL)))["env_steps"] == 900


def test_where_the_bucket_is_newer_it_wins_and_nothing_is_lost(tmp_path: Path) -> None:
    run(tmp_path / "here")
    resume(tmp_path / "there", make_spec(stop={"env_steps": 900}))
    said: list[str] = []
    remote.bring(URL, RunDirectory(tmp_path / "here/run"), say=said.append)
    path = tmp_path / "here/run"
    assert [row["env_steps"] for row in read_results(path)][-1] == 900
    assert [one.env_steps for one in list_checkpoints(path / "checkpoints")][-1] == 900
    aside = [entry.name for entry in (path / "checkpoints").iterdir() if entry.name.startswith("discarded-")]
    assert len(aside) == len([one for one in said if "put aside" in one])


def test_what_went_on_in_two_places_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "here")
    spec = make_spec(stop={"env_steps": 900})
    resume(tmp_path / "there", spec)
    path = tmp_path / "here/run"
    engine = FakeEngine()
    train(spec, RunDirectory(path), lambda *_: engine, RecordingView(), if_exists="resume", tensorboard=False)
    with pytest.raises(RunExistsError, match="went on here and in the bucket, apart from each other"):
        remote.bring(URL, RunDirectory(path), say=print)
    shutil.rmtree(path)
    train(spec, RunDirectory(path), lambda *_: FakeEngine(), RecordingView(), tensorboard=False)
    with pytest.raises(RunExistsError, match="the bucket has another run of this name"):
        remote.bring(URL, RunDirectory(path), say=print)


def test_overwrite_deletes_the_copy_too(tmp_path: Path) -> None:
    run(tmp_path, make_spec(evaluation={"at_end": True}))
    assert any(key.startswith("best/") for key in keys())
    run(tmp_path, make_spec(stop={"env_steps": 200}), if_exists="overwrite")
    assert not any(key.startswith("best/") for key in keys())
    assert "checkpoints/checkpoint_000003/DIGEST.json" not in keys()


def test_a_living_run_that_is_fetched_says_so(tmp_path: Path) -> None:
    run(tmp_path / "here")
    manifest = read_manifest(tmp_path / "here/run")
    manifest["state"] = "running"
    manifest["sessions"][-1]["host"] = "far-away"
    Bucket(URL).below("run").put("manifest.json", json.dumps(manifest).encode())
    assert list_runs(URL)[0]["state"] == "crashed"
    other_host()
    assert list_runs(URL)[0]["state"] == "running"
    assert RunDirectory(fetch_run(URL, "run", tmp_path / "there", checkpoints="none")).state == "running"


def test_names_of_the_bucket(tmp_path: Path) -> None:
    for name in ("pong-seed1", "pong-seed10"):
        Bucket(URL).below(name).put("manifest.json", b"{}")
    assert remote.find_name(URL, "pong-seed1") == "pong-seed1"
    assert remote.find_name(URL, "runs/pong-seed10") == "pong-seed10"
    assert remote.find_name(URL, "breakout") is None
    with pytest.raises(RunNotFoundError, match="several runs begin so"):
        remote.find_name(URL, "pong")
    s3().put_object(Bucket="copies", Key="rlx/pong-seed1/../../etc/passwd", Body=b"")
    assert keys("pong-seed1") == {"manifest.json"}
