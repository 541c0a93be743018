"""Hosts of one's own: what is asked of them, what is ended on them, and what is not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlx.cluster import launcher
from rlx.cluster.check import Report
from rlx.cluster.launcher import find_script, stop_script, temporary_folder
from rlx.cluster.load import ClusterFile, load_cluster_text
from rlx.cluster.on_premise import check_hosts, look_at_hosts, take_down_hosts
from rlx.cluster.versions import Versions
from rlx.experiment.problems import ExperimentError
from tests.cluster.head import Lab, lab

__all__ = ["lab"]  # fixture

VERSIONS = Versions("3.11.7", "2.60.0", "0.1.0")
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def run() -> Iterator[Start]:
    """Start processes, which the test's end ends."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str, mark: str = "", stdout: Path | None = None) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.environ["PATH"]} | ({launcher.MARK: mark} if mark else {})
        with open(stdout or os.devnull, "wb") as out:
            words = command or ("sleep", "60")
            started.append(subprocess.Popen(words, env=environment, stdout=out, stdin=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def ours(cluster: str) -> set[int]:
    """Return what the script finds."""
    done = subprocess.run(["bash", "-c", f"{find_script(cluster)}; ours"], capture_output=True, text=True)
    return {int(pid) for pid in done.stdout.split()}


def test_only_this_cluster_s_processes_are_found_and_ended(lab: Lab, run: Start) -> None:
    name, folder = lab.spec.name, Path(temporary_folder(lab.spec.name))
    other = Path(temporary_folder(f"{name}-2"))
    for one in (folder, other):
        one.mkdir()
    try:
        mine = [run(mark=name), run(stdout=folder / "log")]
        reader = run("tail", "-f", str(folder / "log"))
        theirs = [
            reader, run(), run(mark=f"{name}-2"), run(mark=f"x{name}"), run(mark=f"a\n{name}"),
            run(mark=f"a\n{launcher.MARK}={name}\n"), run(stdout=other / "log"),
        ]  # fmt: skip
        assert ours(name) == {process.pid for process in mine}
        subprocess.run(["bash", "-c", stop_script(name)], check=True, timeout=20)
        for process in mine:
            assert process.wait(timeout=5) < 0
        assert all(process.poll() is None for process in theirs)
    finally:
        (other / "log").unlink(missing_ok=True)
        other.rmdir()


def test_who_does_not_listen_is_killed(lab: Lab, run: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = run("bash", "-c", "trap '' TERM; while :; do sleep 0.1; done", mark=lab.spec.name)
    script = stop_script(lab.spec.name).replace("sleep 0.5", "sleep 0.01")
    subprocess.run(["bash", "-c", script], check=True, timeout=20)
    assert deaf.wait(timeout=5) == -9


def test_nothing_to_end_is_fine(lab: Lab) -> None:
    assert subprocess.run(["bash", "-c", stop_script(lab.spec.name)], timeout=20).returncode == 0


def test_down_ends_what_is_ours_on_every_host(lab: Lab, run: Start) -> None:
    head, worker = lab.home_of("127.0.1.1"), lab.home_of("127.0.1.2")
    name = lab.spec.name
    for home in (head, worker):
        (home / ".rlx").mkdir()
        (home / f".rlx/token-{name}").write_text("t")
        (home / f".rlx/token-{name}-2").write_text("t")
    (head / "ray_bootstrap_config.yaml").write_text(f'{{"cluster_name": "{name}", "max_workers": 1}}')
    (head / "ray_bootstrap_key.pem").write_text("k")
    # Of a Ray of the same user that is not ours.
    (worker / "ray_bootstrap_config.yaml").write_text(f'{{"cluster_name": "{name}-2", "max_workers": 1}}')
    (worker / "ray_bootstrap_key.pem").write_text("k")
    process = run("bash", "-c", "while :; do sleep 0.1; done # \nfile=x\n", mark=name)
    before = look_at_hosts(lab.spec, lab.home)
    assert [len(state.files) for state in before] == [3, 1]
    assert before[0].processes[0].startswith(f"{process.pid} bash -c while")
    down = take_down_hosts(lab.spec, home=lab.home, say=lab.said.append)
    assert down.standing == []
    assert process.wait(timeout=5) < 0
    assert sorted(path.name for path in head.rglob("*")) == [".rlx", f"token-{name}-2"]
    assert {"ray_bootstrap_config.yaml", "ray_bootstrap_key.pem"} <= {path.name for path in worker.iterdir()}
    assert not lab.token.exists()


def test_down_with_a_host_that_cannot_be_reached(lab: Lab) -> None:
    (lab.home_of("127.0.1.1") / ".rlx").mkdir()
    left = lab.home_of("127.0.1.1") / f".rlx/token-{lab.spec.name}"
    left.write_text("t")
    lab.unreachable("127.0.1.2")
    down = take_down_hosts(lab.spec, home=lab.home, say=lab.said.append)
    assert not left.exists()
    assert [(state.host, "No route" in state.error) for state in down.standing] == [("127.0.1.2", True)]
    assert lab.token.exists()  # down is not over: it is needed again
    assert any("127.0.1.2: cannot be reached" in text for text in lab.said)


@pytest.fixture
def fit(lab: Lab) -> Lab:
    """Hosts with which nothing is wrong."""
    environment = Path(str(lab.spec.environment))
    lab.program(environment / "bin/python", "echo 3.11.7 2.60.0 0.1.0")
    lab.program(lab.folder / "bin/df", "echo; echo 'x 9 9 99000000 1% /'")
    lab.program(lab.folder / "bin/rsync", "")
    return lab


def check(lab: Lab, file: ClusterFile | None = None) -> tuple[Report, str]:
    report = check_hosts(file or lab.file, VERSIONS, None, home=lab.home)
    return report, "\n".join(str(problem) for problem in report.problems)


def test_a_check_that_finds_nothing(fit: Lab) -> None:
    # The head's look at the worker's ssh speaks of names that are reached.
    report, problems = check(fit)
    assert problems == ""
    facts = dict(report.facts)
    assert facts["storage"].endswith("all of 2 hosts see the same")
    assert {"head 127.0.1.1", "worker 127.0.1.2", "nodes need"} <= set(facts)
    assert list(Path(fit.spec.storage).iterdir()) == []
    assert fit.token.exists()


def test_a_check_says_everything_at_once(fit: Lab) -> None:
    fit.unreachable("127.0.1.2", "Permission denied (publickey).")
    fit.program(Path(str(fit.spec.environment)) / "bin/python", "echo 3.10.1 2.60.0 0.1.0")
    fit.program(fit.folder / "bin/df", "echo; echo 'x 9 9 1000000 1% /'")
    fit.program(fit.folder / "bin/timeout", "exit 1")
    fit.program(fit.folder / "bin/pgrep", "echo 3")
    _, problems = check(fit)
    for said in (
        "lab.yaml:3:20: hosts.1: 127.0.1.2: cannot be asked: Permission denied (publickey).",
        "127.0.1.1: /tmp has 1.0 GB free, 5 GB are needed",
        "127.0.1.1: versions of python, ray, rlx are 3.10.1 2.60.0 0.1.0 there, 3.11.7 2.60.0 0.1.0 here",
        "127.0.1.1: a Ray that is not this cluster's runs there",
        "127.0.1.2: the head 127.0.1.1 does not reach its ssh",
    ):
        assert said in problems


def test_a_host_of_another_cluster(fit: Lab, run: Start) -> None:
    run(mark="other")
    assert "127.0.1.1: cluster other of rlx runs there; a host serves one cluster" in check(fit)[1]


def test_our_own_processes_are_a_fact(fit: Lab, run: Start) -> None:
    run(mark=fit.spec.name)
    report, problems = check(fit)
    assert problems == ""
    assert ("head 127.0.1.1", "1 processes of this cluster run there") in report.facts


def test_another_user_s_cluster_of_this_name(fit: Lab) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives a folder away")
    folder = Path(temporary_folder(fit.spec.name))
    folder.mkdir()
    os.chown(folder, 1, 1)
    assert f"{folder} is daemon's, not somebody's; another user has a cluster of this name" in check(fit)[1]


def test_something_at_ray_s_port(fit: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlx.cluster.on_premise.PORT", fit.dashboard.port)
    problems = check(fit)[1]
    assert "127.0.1.1: something listens there" in problems
    assert "127.0.1.2" not in problems


def test_storage_that_hosts_do_not_share(fit: Lab) -> None:
    fit.program(
        fit.folder / "bin/cat", 'case "$HOME" in *127.0.1.2*) echo other;; *) exec /bin/cat "$@";; esac'
    )
    assert "127.0.1.2: " in check(fit)[1]
    assert "is not the folder that 127.0.1.1 sees" in check(fit)[1]
    assert list(Path(fit.spec.storage).iterdir()) == []


def test_storage_that_jobs_will_make(fit: Lab) -> None:
    storage = Path(fit.spec.storage)
    storage.rmdir()
    before = set(storage.parent.iterdir())
    report, problems = check(fit)
    assert problems == ""
    text = f"{storage}: will be made; all of 2 hosts see the same {storage.parent}"
    assert dict(report.facts)["storage"] == text
    assert set(storage.parent.iterdir()) == before


def test_storage_that_is_not_there(fit: Lab) -> None:
    storage = Path(fit.spec.storage)
    storage.rmdir()
    text = fit.path.read_text().replace(str(storage), f"{storage}/of a mount/runs")
    problems = check(fit, load_cluster_text(text, "lab.yaml"))[1]
    assert f"no folder {storage}/of a mount/runs on 127.0.1.1, and no {storage}/of a mount" in problems
    assert f"make it there (mkdir -p '{storage}/of a mount/runs'), or mount it" in problems
    assert not storage.exists()


def test_a_folder_beside_storage_that_hosts_do_not_share(fit: Lab) -> None:
    Path(fit.spec.storage).rmdir()
    before = set(Path(fit.spec.storage).parent.iterdir())
    fit.program(fit.folder / "bin/cat", "echo other")
    assert f"{Path(fit.spec.storage).parent} is not the folder that 127.0.1.1 sees" in check(fit)[1]
    assert set(Path(fit.spec.storage).parent.iterdir()) == before


def test_storage_that_cannot_be_written(fit: Lab) -> None:
    Path(fit.spec.storage).rmdir()
    Path(fit.spec.storage).write_text("")
    assert f"127.0.1.1 cannot write to {fit.spec.storage}" in check(fit)[1]


def test_no_key(fit: Lab) -> None:
    (fit.home / "key").unlink()
    assert "ssh_key: no private key" in check(fit)[1]
    assert fit.commands() == []


@pytest.mark.parametrize("host", ["a b", "-oProxyCommand=x", "$(x)", "::1", "x;y", ""])
def test_a_host_is_a_word(lab: Lab, host: str) -> None:
    text = lab.path.read_text().replace("127.0.1.2", f"'{host}'")
    with pytest.raises(ExperimentError) as error:
        load_cluster_text(text, "lab.yaml")
    assert "hosts.1" in str(error.value.problems[0])
