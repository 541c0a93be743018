"""Jobs: handed in, found, followed over broken connections, stopped."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlx.cluster import jobs
from rlx.cluster.api import HeadApi, head_api
from rlx.cluster.errors import ClusterError, ClusterUsageError
from rlx.cluster.jobs import find_job, follow, jobs_of, quoted, resume_command, stop, submit, train_command
from tests.cluster.head import Lab, lab

__all__ = ["lab"]  # fixture


@pytest.fixture
def api(lab: Lab) -> Iterator[HeadApi]:
    with head_api(lab.head, lab.token) as found:
        yield found


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_RETRY_SECONDS", 0.01)


def test_a_job_gets_its_folder_and_its_words_as_they_are(lab: Lab, api: HeadApi) -> None:
    odd = "name='a b'; $(touch made) `id` \\ \"x\" ü"
    command = train_command(lab.spec, "-my exp.yaml", ["--set", odd, "--stop", "updates=1"])
    id = submit(lab.head, api, name="a b/c", command=command, files={"-my exp.yaml": "text: ü\n"}, now=0.0)
    assert id == "a-b-c-19700101-000000"
    folder = lab.home_of("127.0.1.1") / "rlx-jobs" / id
    assert [path.name for path in folder.iterdir()] == ["-my exp.yaml"]
    assert (folder / "-my exp.yaml").read_text() == "text: ü\n"
    (job,) = jobs_of(api)
    assert (job.id, job.state, job.ended, job.metadata) == (id, "RUNNING", False, {"name": "a b/c"})
    # The shell that Ray starts gives the program exactly these words.
    environment = lab.home_of("127.0.1.1")
    lab.program(Path(command[0]), 'printf "%s\\n" "$PWD" "$@"')
    ran = subprocess.run(
        ["sh", "-c", job.command],
        env={"HOME": str(environment), "PATH": "/usr/bin:/bin"},
        capture_output=True,
    )
    assert ran.stdout.decode().splitlines() == [
        str(folder), "train", "./-my exp.yaml", "--out", lab.spec.storage, "--plain",
        "--set", odd, "--stop", "updates=1",
    ]  # fmt: skip


def test_a_second_job_of_a_second_does_not_touch_the_first(lab: Lab, api: HeadApi) -> None:
    submit(lab.head, api, name="x", command=["a"], files={"e.yaml": "first"}, now=0.0)
    with pytest.raises(ClusterError, match="File exists"):
        submit(lab.head, api, name="x", command=["a"], files={"e.yaml": "second"}, now=0.0)
    (file,) = lab.home_of("127.0.1.1").rglob("e.yaml")
    assert file.read_text() == "first"


def test_ids_are_words_of_a_command_line(lab: Lab, api: HeadApi) -> None:
    for number, name in enumerate(("-x", "/runs/x y", "ü", "x" * 90)):
        id = submit(lab.head, api, name=name, command=["a"], files={}, now=float(number))
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,39}-19700101-00000\d", id)


def test_a_refusal_is_worded(lab: Lab, api: HeadApi) -> None:
    lab.dashboard.answers["/api/jobs/"] = (500, "Traceback\nValueError: no agent")
    with pytest.raises(ClusterError, match="500 ValueError: no agent"):
        submit(lab.head, api, name="x", command=["a"], files={})


def test_quoted() -> None:
    assert quoted("~/rlx runs") == "~/'rlx runs'"
    assert quoted("~root") == shlex.quote("~root") != "~root"
    assert quoted("a b") == "'a b'"


def test_a_bucket_is_the_mirror(lab: Lab) -> None:
    spec = lab.spec.model_copy(update={"storage": "s3://b/p"})
    words = resume_command(spec, "run", ["--stop", "x=1"])[1:]
    assert " ".join(words) == "resume run --out ~/rlx-runs --mirror s3://b/p --plain --stop x=1"


def test_find_job(lab: Lab, api: HeadApi) -> None:
    with pytest.raises(ClusterUsageError, match="no job was handed in"):
        find_job(api, None)
    lab.dashboard.add_job("a-1", "SUCCEEDED")
    lab.dashboard.add_job("a-12", "RUNNING")
    lab.dashboard.add_job("b", "FAILED")
    assert [job.id for job in jobs_of(api)] == ["b", "a-12", "a-1"]
    assert find_job(api, None).id == "a-12"  # the newest that runs
    assert find_job(api, "a-1").id == "a-1"  # whole, though another begins so
    assert find_job(api, "b").id == "b"
    with pytest.raises(ClusterUsageError, match="several jobs begin with 'a-'"):
        find_job(api, "a-")
    with pytest.raises(ClusterUsageError, match="no job 'c'"):
        find_job(api, "c")
    lab.dashboard.jobs["a-12"]["status"] = "STOPPED"
    assert find_job(api, None).id == "b"


@pytest.mark.parametrize("breaks", [[], [0], [10], [10, 3, 25, 25], [50]])
def test_nothing_is_lost_and_nothing_comes_twice(lab: Lab, breaks: list[int]) -> None:
    lab.dashboard.add_job("a")
    lab.dashboard.logs = "".join(f"line {number} ü\n" for number in range(10))
    lab.dashboard.breaks = list(breaks)
    written: list[str] = []
    job = follow(lab.head, lab.token, "a", written.append, lab.said.append)
    assert "".join(written) == lab.dashboard.logs
    assert job.state == "SUCCEEDED"
    assert sum("does not answer" in text for text in lab.said) == len(breaks)
    assert sum("answers again" in text for text in lab.said) == len(breaks)


def test_a_stream_that_is_over_before_the_job_is_taken_up_again(lab: Lab) -> None:
    lab.dashboard.add_job("a")
    lab.dashboard.stages = [("one\n", "RUNNING"), ("one\ntwo\n", "FAILED")]
    written: list[str] = []
    assert follow(lab.head, lab.token, "a", written.append, lab.said.append).state == "FAILED"
    assert "".join(written) == "one\ntwo\n"
    assert lab.said == []


def test_a_head_that_does_not_come_back(lab: Lab) -> None:
    lab.dashboard.add_job("a")
    lab.unreachable("127.0.1.1")
    with pytest.raises(ClusterError, match=r"no answer for 0 s; rlx cluster logs -f a"):
        follow(lab.head, lab.token, "a", print, lab.said.append, lost_seconds=0.05)
    assert len(lab.said) == 1
    assert "the job goes on without this terminal" in lab.said[0]


def test_a_dashboard_that_is_gone_behind_an_open_tunnel(lab: Lab) -> None:
    # ssh answers, nobody behind it does: no endless "answers again".
    lab.dashboard.add_job("a")
    (lab.folder / "port").write_text("1")
    with pytest.raises(ClusterError, match="no answer for 0 s"):
        follow(lab.head, lab.token, "a", print, lab.said.append, lost_seconds=0.3)
    assert len(lab.said) == 1


def test_following_a_job_that_is_forgotten_says_so_at_once(lab: Lab) -> None:
    lab.dashboard.add_job("b")
    with pytest.raises(ClusterUsageError, match="no job 'a'"):
        follow(lab.head, lab.token, "a", print, lab.said.append)


def test_ctrl_c_while_following_is_ctrl_c(lab: Lab) -> None:
    lab.dashboard.add_job("a")
    lab.dashboard.answers["/api/jobs/a/logs/tail"] = (0, "5")
    threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        follow(lab.head, lab.token, "a", print, lab.said.append)


def test_stop(lab: Lab, api: HeadApi, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.dashboard.add_job("a")
    assert stop(api, "a", wait_seconds=5, say=lab.said.append).state == "STOPPED"
    assert "its checkpoint" in lab.said[0]
    lab.dashboard.add_job("b")
    lab.dashboard.answers["/api/jobs/b/stop"] = (200, '{"stopped": true}')
    with pytest.raises(ClusterError, match="b has not ended within 0 s"):
        stop(api, "b", wait_seconds=0, say=lab.said.append)
