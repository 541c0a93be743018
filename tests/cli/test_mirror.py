"""`rlx train --mirror` and `rlx resume --mirror` as a user types them: a real, tiny run, and fake ones."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from rlx.cli.exit_codes import ExitCode
from rlx.runs import launch
from rlx.runs.checkpoints import list_checkpoints
from rlx.runs.directory import read_manifest
from rlx.runs.metrics import read_results
from rlx.runs.mirror import Mirror, MirrorOutcome
from tests.cli.commands import rlx
from tests.runs.fake_engine import FakeEngine

YAML = """\
name: tiny
algorithm: dqn
env: CartPole-v1
stop: {env_steps: 300}
env_runners: {num_envs_per_env_runner: 1, rollout_length_env_steps: 8}
replay: {capacity: 2000}
training: {learning_starts_env_steps: 100, batch_size: 16}
rl_module: {torso: mlp, hidden_sizes: [16]}
checkpointing: {interval_env_steps: 200, interval_seconds: null}
evaluation: {at_end: false}
debugging: {deterministic: true}
"""
RUN = "tiny-CartPole-v1-seed0"
MIRROR = ("--mirror", "s3://copies/rlx")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory with an experiment, and an S3 with one bucket."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(YAML)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="copies")
        yield


@pytest.fixture
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(spec: Any, run_dir: Path) -> FakeEngine:
        return FakeEngine()

    for verb in (launch.launch, launch.resume):
        monkeypatch.setattr(verb, "__kwdefaults__", {**verb.__kwdefaults__, "engine_factory": make})


def test_a_real_run_goes_on_on_another_machine() -> None:
    done = rlx("train", "tiny.yaml", "--out", "here", *MIRROR, "--json")
    assert done.exit_code == 0, done.output
    (first,) = json.loads(done.stdout)
    assert first["mirror"] == {"url": f"s3://copies/rlx/{RUN}", "complete": True, "problem": ""}
    assert f"{RUN}: all of the run is in s3://copies/rlx/{RUN}" in done.stderr
    shutil.rmtree("here")

    done = rlx("resume", "tiny", "--out", "there", "--stop", "env_steps=1500", *MIRROR, "--json")
    assert done.exit_code == 0, done.output
    (second,) = json.loads(done.stdout)
    assert second["state"] == "finished"
    assert second["env_steps"] >= 1500
    path = Path("there") / RUN
    session = read_manifest(path)["sessions"][1]
    assert session["env_steps_at_start"] == first["env_steps"]
    rows = read_results(path)
    assert [row["env_steps"] for row in rows] == sorted({row["env_steps"] for row in rows})
    assert {row["session"] for row in rows} == {1, 2}
    assert list_checkpoints(path / "checkpoints")[-1].env_steps == second["env_steps"]


@pytest.mark.usefixtures("_fake")
def test_a_name_that_is_in_the_bucket() -> None:
    assert rlx("train", "tiny.yaml", "--out", "here", *MIRROR).exit_code == 0
    refused = rlx("train", "tiny.yaml", "--out", "there", *MIRROR)
    assert refused.exit_code == ExitCode.RUN
    assert f"s3://copies/rlx/{RUN}: a run of this name is in the bucket" in refused.stderr
    assert not (Path("there") / RUN).exists()
    goes_on = rlx(
        *("train", "tiny.yaml", "--out", "there", "--if-exists", "resume", "--stop", "env_steps=700"), *MIRROR
    )
    assert goes_on.exit_code == 0
    assert len(read_manifest(Path("there") / RUN)["sessions"]) == 2
    assert rlx("train", "tiny.yaml", "--out", "there", "--if-exists", "overwrite", *MIRROR).exit_code == 0
    assert len(read_manifest(Path("there") / RUN)["sessions"]) == 1


@pytest.mark.usefixtures("_fake")
def test_a_run_that_could_not_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = MirrorOutcome(f"s3://copies/rlx/{RUN}", False, "there is no such bucket")
    monkeypatch.setattr(Mirror, "flush", lambda self, seconds=None: problem)
    done = rlx("train", "tiny.yaml", *MIRROR)
    assert done.exit_code == ExitCode.NOT_MIRRORED
    assert (
        f"rlx: {RUN}: NOT all of the run is in s3://copies/rlx/{RUN}: there is no such bucket" in done.stderr
    )


@pytest.mark.usefixtures("_fake")
def test_what_is_no_bucket() -> None:
    wrong = rlx("train", "tiny.yaml", "--mirror", "copies")
    assert wrong.exit_code == ExitCode.USAGE
    assert "rlx: copies: expected s3://bucket/prefix" in wrong.stderr
    missing = rlx("train", "tiny.yaml", "--mirror", "s3://other-copies")
    assert missing.exit_code == ExitCode.RUN
    assert "there is no such bucket; aws s3 mb s3://other-copies" in missing.stderr
    assert not Path("runs").exists()
    unknown = rlx("resume", "nothing", *MIRROR)
    assert unknown.exit_code == ExitCode.RUN
    assert "no such run in runs" in unknown.stderr
