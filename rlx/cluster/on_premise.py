"""Hosts of one's own: what would go wrong, ending what runs on them, and what is left there."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rlx.cluster import names
from rlx.cluster.check import Report
from rlx.cluster.errors import ClusterError
from rlx.cluster.launcher import (
    MARK,
    PORT,
    environment_of,
    find_script,
    stop_script,
    temporary_folder,
    token_on_nodes,
)
from rlx.cluster.load import ClusterFile
from rlx.cluster.machines import Hosts
from rlx.cluster.spec import OnPremiseCluster
from rlx.cluster.ssh import SSH_FAILED, Answer
from rlx.cluster.versions import Versions

Say = Callable[[str], None]

#: Shell that tells what a host has; the limit is that of a container.
_RESOURCES = (
    "echo host=$(hostname)",
    "echo cpus=$(nproc)",
    "echo memory_kb=$(awk '/MemTotal/ {print $2}' /proc/meminfo)",
    "echo available_kb=$(awk '/MemAvailable/ {print $2}' /proc/meminfo)",
    "echo limit=$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
    " | head -n 1)",
    "echo gpus=$(nvidia-smi -L 2>/dev/null | grep -c ^GPU)",
    "echo shm_kb=$(df -kP /dev/shm 2>/dev/null | awk 'NR==2 {print $4}')",
)
#: Least room for Ray's sessions (/tmp) and for the environment.
_LEAST_FREE_GB = 5


def check_hosts(
    cluster: ClusterFile, versions: Versions, source: Path | None, *, home: Path | None = None
) -> Report:
    """Ask every host about all that would go wrong, and say it at once. Changes nothing.

    Args:
        cluster: with an on-premise spec.
        versions: that the hosts are to have.
        source: checkout that they get; None where they have an environment.
    """
    spec = cluster.spec
    assert isinstance(spec, OnPremiseCluster)
    report = Report()
    hosts = Hosts(spec, home or Path.home())
    key = Path(spec.ssh_key).expanduser()
    if not key.is_file():
        report.problems.append(cluster.problem(("ssh_key",), f"no private key {key}"))
        return report
    _check_versions(cluster, report, versions, source)
    script = _probe(spec)
    found = _on_all(hosts, spec.hosts, script)
    facts = {host: _facts(answer) for host, answer in found.items()}
    for index, host in enumerate(spec.hosts):
        _check_host(cluster, report, index, found[host], facts[host], versions)
    if len(spec.hosts) > 1 and found[spec.hosts[0]].ok:
        _check_roads(cluster, report, hosts)
    _check_storage(cluster, report, hosts, [host for host in spec.hosts if found[host].ok])
    return report


def _check_versions(cluster: ClusterFile, report: Report, versions: Versions, source: Path | None) -> None:
    text = f"python {versions.python}, ray {versions.ray}, rlx {versions.rlx}"
    if cluster.spec.environment is not None:
        report.facts.append(("nodes need", f"{text} in {cluster.spec.environment}"))
    elif source is None:
        hint = "run rlx from a checkout, name one with --source, or name an environment"
        report.problems.append(cluster.problem(("environment",), "no checkout of rlx for the hosts", hint))
    else:
        report.facts.append(("nodes get", f"{text}, from {source}"))


def _probe(spec: OnPremiseCluster) -> str:
    """Write what asks a host for everything; it prints `key=value` lines."""
    python, folder = f"{environment_of(spec)}/bin/python", temporary_folder(spec.name)
    ask = (
        "import platform; from importlib.metadata import version as v; "
        'print(platform.python_version(), v("ray"), v("rlx"))'
    )
    # The mark of any cluster: a host serves one.
    others = f"cat /proc/[0-9]*/environ 2>/dev/null | grep -asz '^{MARK}=' | tr '\\0' '\\n' | sort -u"
    return "; ".join(
        [
            *_RESOURCES,
            "echo tmp_kb=$(df -kP /tmp | awk 'NR==2 {print $4}')",
            "echo home_kb=$(df -kP ~ | awk 'NR==2 {print $4}')",
            "echo time=$(date +%s)",
            "echo rsync=$(command -v rsync)",
            "echo curl=$(command -v curl)",
            f"echo python=$([ -x {python} ] && echo there)",
            f"echo versions=$({python} -c {shlex.quote(ask)} 2>&1 | tail -n 1)",
            f"echo rlx=$({others} | cut -d= -f2 | paste -sd,)",
            f"{find_script(spec.name)}; echo ours=$(ours | wc -l)",
            f"echo owner=$([ ! -e {folder} ] || [ -O {folder} ] || stat -c %U {folder})",
            "echo raylets=$(pgrep -cx raylet)",
            f"echo port=$( (exec 3<>/dev/tcp/127.0.0.1/{PORT}) 2>/dev/null && echo taken)",
        ]
    )


@dataclass(frozen=True)
class HostResources:
    """What a host has for Ray.

    Attributes:
        cpus, gpus: all of them.
        available_bytes: of memory at this moment, of the container's if there is one.
        shared_bytes: free in /dev/shm, where the object store is.
    """

    cpus: int
    gpus: int
    available_bytes: int
    shared_bytes: int


def host_resources(spec: OnPremiseCluster, *, home: Path | None = None) -> dict[str, HostResources]:
    """Ask every host what it has, the head first. Changes nothing.

    Raises:
        ClusterError: a host cannot be asked.
    """
    if not Path(spec.ssh_key).expanduser().is_file():
        raise ClusterError("no private key of the hosts here", spec.ssh_key)
    answers = _on_all(Hosts(spec, home or Path.home()), spec.hosts, "; ".join(_RESOURCES))
    return {host: _resources_of(host, answer) for host, answer in answers.items()}


def _resources_of(host: str, answer: Answer) -> HostResources:
    facts = _facts(answer)
    if not answer.ok or not facts.get("available_kb"):
        raise ClusterError(f"cannot be asked what it has: {answer.reason}", host, "rlx cluster check")
    available = int(facts["available_kb"]) * 1024
    if facts["limit"].isdigit():
        available = min(available, int(facts["limit"]))
    return HostResources(
        cpus=int(facts["cpus"]),
        gpus=int(facts["gpus"] or 0),
        available_bytes=available,
        shared_bytes=int(facts["shm_kb"] or 0) * 1024,
    )


def _facts(answer: Answer) -> dict[str, str]:
    lines = (line.partition("=") for line in answer.out.splitlines() if "=" in line)
    return {key: value.strip() for key, _, value in lines}


def _check_host(
    cluster: ClusterFile,
    report: Report,
    index: int,
    answer: Answer,
    facts: dict[str, str],
    versions: Versions,
) -> None:
    spec = cluster.spec
    assert isinstance(spec, OnPremiseCluster)
    host, where = spec.hosts[index], ("hosts", str(index))

    def problem(message: str, hint: str = "") -> None:
        report.problems.append(cluster.problem(where, f"{host}: {message}", hint))

    if not answer.ok or "raylets" not in facts:
        hint = (
            f"does `ssh -i {spec.ssh_key} {spec.ssh_user}@{host}` work?" if answer.code == SSH_FAILED else ""
        )
        problem(f"cannot be asked: {answer.reason}", hint)
        return
    gib = int(facts["memory_kb"] or 0) / 2**20
    role = "head" if index == 0 else "worker"
    counted = "" if spec.num_cpus is None else f", of which Ray counts {spec.num_cpus}"
    text = f"{facts['host']}: {facts['cpus']} CPUs{counted}, {gib:.3g} GiB, {facts['gpus'] or 0} GPUs"
    report.facts.append((f"{role} {host}", text))
    if not facts["rsync"]:
        problem("has no rsync, which Ray's launcher needs", "apt install rsync")
    for name, path in (("tmp_kb", "/tmp"), ("home_kb", "~")):
        free = int(facts[name] or 0) / 1e6
        if free < _LEAST_FREE_GB:
            problem(f"{path} has {free:.1f} GB free, {_LEAST_FREE_GB} GB are needed")
    if spec.object_store_gb is not None and int(facts["shm_kb"] or 0) / 1e6 < spec.object_store_gb:
        free = int(facts["shm_kb"] or 0) / 1e6
        problem(f"/dev/shm has {free:.1f} GB free, object_store_gb is {spec.object_store_gb:g}")
    if spec.environment is None:
        if not facts["curl"]:
            problem("has no curl, which set-up needs to get uv", "apt install curl")
    elif not facts["python"]:
        problem(f"there is no {spec.environment}/bin/python", "environment must be there on every host")
    else:
        wanted = f"{versions.python} {versions.ray} {versions.rlx}"
        if facts["versions"] != wanted:
            message = f"versions of python, ray, rlx are {facts['versions']} there, {wanted} here"
            problem(message, f"install those of this machine in {spec.environment}")
    others = sorted(set(facts["rlx"].split(",")) - {"", spec.name})
    if others:
        problem(f"cluster {', '.join(others)} of rlx runs there", "a host serves one cluster")
    elif facts["owner"]:
        message = f"{temporary_folder(spec.name)} is {facts['owner']}'s, not {spec.ssh_user}'s"
        problem(message, "another user has a cluster of this name: give this one another name")
    elif int(facts["ours"] or 0):
        report.facts.append((f"{role} {host}", f"{facts['ours']} processes of this cluster run there"))
    elif int(facts["raylets"] or 0) or (index == 0 and facts["port"]):
        what = "a Ray that is not this cluster's runs" if int(facts["raylets"] or 0) else "something listens"
        problem(f"{what} there (port {PORT})", "end it, or take another host")


def _check_roads(cluster: ClusterFile, report: Report, hosts: Hosts) -> None:
    """Look whether the head reaches the other hosts' ssh: its autoscaler starts Ray there."""
    spec = hosts.spec
    workers = spec.hosts[1:]
    tries = "; ".join(
        f"timeout 5 bash -c '</dev/tcp/{host}/22' 2>/dev/null && echo {host}=reached" for host in workers
    )
    reached = _facts(hosts.head().run(f"{tries}; true", timeout_seconds=10 + 6 * len(workers)))
    for index, host in enumerate(workers, start=1):
        if host not in reached:
            message = f"{host}: the head {spec.hosts[0]} does not reach its ssh"
            report.problems.append(cluster.problem(("hosts", str(index)), message))


def _check_storage(cluster: ClusterFile, report: Report, hosts: Hosts, there: Sequence[str]) -> None:
    """Look whether all hosts see the same folder: what one writes, the others read. Leaves nothing."""
    spec = hosts.spec
    if spec.storage.startswith("s3://") or not there:
        report.facts.append(("storage", f"{spec.storage}: only the nodes can tell whether it may be written"))
        return
    head, path = hosts.node(there[0]), PurePosixPath(spec.storage)
    folder, parent = shlex.quote(str(path)), shlex.quote(str(path.parent))
    ask = f"[ -e {folder} ] && echo itself; [ -d {parent} ] && echo parent; echo asked"
    found = head.run(ask).out.split()
    if found == ["asked"]:
        message = f"no folder {path} on {there[0]}, and no {path.parent}"
        hint = f"make it there (mkdir -p {folder}), or mount it"
        report.problems.append(cluster.problem(("storage",), message, hint))
        return
    # Where jobs will make the folder, what counts is the one that it will be in.
    seen = path if "itself" in found else path.parent
    probe = shlex.quote(str(seen / f".rlx-check-{spec.name}"))
    try:
        written = head.run(f"mktemp -u XXXXXXXX | tee {probe}")
        if not written.ok:
            message = f"{there[0]} cannot write to {seen}: {written.reason}"
            report.problems.append(cluster.problem(("storage",), message))
            return
        read = _on_all(hosts, there, f"cat {probe}")
    finally:
        head.run(f"rm -f {probe}")
    blind = [host for host, answer in read.items() if answer.out != written.out]
    if blind:
        message = f"{', '.join(blind)}: {seen} is not the folder that {there[0]} sees"
        hint = "mount one file system on all hosts (NFS), or use s3://"
        report.problems.append(cluster.problem(("storage",), message, hint))
    elif seen == path:
        report.facts.append(("storage", f"{path}: all of {len(there)} hosts see the same"))
    else:
        text = f"{path}: will be made; all of {len(there)} hosts see the same {seen}"
        report.facts.append(("storage", text))


@dataclass
class HostState:
    """What of a cluster is on one host.

    Attributes:
        host: its address.
        processes: their command lines, shortened.
        files: what Ray's launcher put there.
        error: why it could not be asked.
    """

    host: str
    processes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def clean(self) -> bool:
        """Whether it was asked and has nothing."""
        return not (self.processes or self.files or self.error)


@dataclass
class HostsDown:
    """What `down` did on hosts.

    Attributes:
        before, after: what was on each, and what is.
    """

    cluster: str
    before: list[HostState]
    after: list[HostState]

    @property
    def standing(self) -> list[HostState]:
        """Hosts with something left, or that could not be asked."""
        return [state for state in self.after if not state.clean]


def look_at_hosts(spec: OnPremiseCluster, home: Path) -> list[HostState]:
    """List what of a cluster is on its hosts."""
    hosts = Hosts(spec, home)
    files = f"$(mine) {token_on_nodes(spec.name)} {temporary_folder(spec.name)}"
    script = (
        f"{find_script(spec.name)}; {_mine_script(spec.name)}; for p in $(ours); do "
        'echo "process=$p $(tr "\\0\\n" "  " < /proc/$p/cmdline | cut -c1-120)"; done; '
        f'for f in {files}; do [ -e "$f" ] && echo "file=$f"; done; echo done='
    )
    states = []
    for host, answer in _on_all(hosts, spec.hosts, script).items():
        if not answer.ok or "done=" not in answer.out:
            states.append(HostState(host, error=answer.reason))
            continue
        found: dict[str, list[str]] = {"process": [], "file": [], "done": []}
        for line in answer.out.splitlines():
            key, _, value = line.partition("=")
            found.get(key, []).append(value)
        states.append(HostState(host, found["process"], found["file"]))
    return states


def take_down_hosts(
    spec: OnPremiseCluster, *, home: Path | None = None, say: Say = lambda text: None
) -> HostsDown:
    """End everything of a cluster on its hosts, the head first, and look again.

    The head first, because its autoscaler would start the workers again. Only processes that bear this
    cluster's mark are ended. Runs in `storage` and the environment stay, logs of Ray do not.
    """
    home = home or Path.home()
    hosts = Hosts(spec, home)
    before = look_at_hosts(spec, home)
    for group in (spec.hosts[:1], spec.hosts[1:]):
        for host, answer in _on_all(hosts, group, _removal(spec.name)).items():
            state = next(one for one in before if one.host == host)
            if answer.code == SSH_FAILED:
                say(f"{host}: cannot be reached: {answer.reason}")
            elif state.processes:
                say(f"{host}: {len(state.processes)} processes ended")
    after = look_at_hosts(spec, home)
    if all(state.clean for state in after):
        _forget(spec.name, home)
    return HostsDown(spec.name, before, after)


def _removal(cluster: str) -> str:
    """Write what ends a cluster's processes on a host and removes what was copied there."""
    state = " ".join(f"/tmp/ray/cluster-{cluster}.{kind}" for kind in ("state", "lock"))
    return (
        f"{stop_script(cluster)}; {_mine_script(cluster)}; rm -f $(mine); "
        f"rm -rf {temporary_folder(cluster)}; rm -f {token_on_nodes(cluster)} {state}"
    )


def _mine_script(cluster: str) -> str:
    """Write shell code that defines `mine`: print what Ray's launcher put on the head for this cluster.

    It is the launcher file and a copy of the private key, under names that all of Ray's clusters share.
    """
    config, key = "~/ray_bootstrap_config.yaml", "~/ray_bootstrap_key.pem"
    return (
        f'mine() {{ [ -e {config} ] && ! grep -Eq \'cluster_name"?: *"?{cluster}("|,|$)\' {config} || '
        f"echo {config} {key}; }}"
    )


def _forget(cluster: str, home: Path) -> None:
    """Remove what this machine keeps of a cluster: token, files for ssh and the launcher, Ray's own state."""
    import shutil

    shutil.rmtree(names.state_folder("on-premise", cluster, home), ignore_errors=True)
    for path in (Path("/tmp/ray") / f"cluster-{cluster}.{kind}" for kind in ("state", "lock")):
        with contextlib.suppress(OSError):  # another user's, of a cluster of the same name
            path.unlink(missing_ok=True)


def _on_all(hosts: Hosts, there: Iterable[str], script: str) -> dict[str, Answer]:
    """Run a script on hosts, all at the same time."""
    there = list(there)
    with ThreadPoolExecutor(max_workers=max(1, min(32, len(there)))) as pool:
        answers = pool.map(lambda host: hosts.node(host).run(script, timeout_seconds=60), there)
        return dict(zip(there, answers, strict=True))
