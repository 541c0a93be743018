"""Start a cluster and wait until every node that was asked for is in it.

Ray's launcher returns when the head runs; the workers come later, or never. What keeps one away stands in
logs on the head: they are read from there.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlx.cluster import names
from rlx.cluster.api import RayNode, head_api
from rlx.cluster.errors import ClusterError
from rlx.cluster.launcher import as_yaml, temporary_folder
from rlx.cluster.machines import HEAD, Hosts, Instances, Machine, place_of
from rlx.cluster.spec import AnyCluster
from rlx.cluster.ssh import Node

Say = Callable[[str], None]

STILL_RUNS = "what was started still runs: rlx cluster status shows it, rlx cluster down ends it"

_POLL_SECONDS = 3.0
_TROUBLE_SECONDS = 15.0
#: Lines of the launcher that say how far the head is: "[4/7] Running initialization commands".
_STEP = re.compile(r"\[(\d/7)\]\s+(.*)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: What in the autoscaler's logs tells why a node does not come.
_TELLING = re.compile(
    r"^rlx: |Insufficient|LimitExceeded|InvalidParameter|Unauthorized|AccessDenied|MaxSpotInstanceCount"
    r"|SpotMaxPriceTooLow|Unsupported|Permission denied|No route to host|Connection (refused|timed out)"
    r"|Host key verification failed|No such file|command not found|Could not resolve|exit code"
)

#: Lines that quote a command or the launcher file tell nothing by the words in them.
_QUOTES = re.compile(r"Full command is|Running `|StandardAutoscaler: {|setup_commands|updater.py:490")


@dataclass(frozen=True)
class Row:
    """One line of the live table.

    Attributes:
        group: `head`, or the group of workers.
        address: as the nodes see each other.
        state: in words: `in`, or what it does instead.
        ray: the node as Ray sees it, once it is in.
        machine: the instance or host; None while it was only asked for.
    """

    group: str
    address: str
    state: str
    ray: RayNode | None = None
    machine: Machine | None = None

    @property
    def is_in(self) -> bool:
        """Whether Ray counts on it."""
        return self.ray is not None and self.ray.alive


Show = Callable[[Sequence[Row], str], None]


class NotAllInError(ClusterError):
    """Some nodes did not come; what was started still runs.

    Attributes:
        rows: every node, as it was at the end.
    """

    def __init__(self, what: str, where: str, next: str, rows: Sequence[Row]) -> None:
        super().__init__(what, where, next)
        self.rows = list(rows)


def rows_of(wanted: Mapping[str, int], machines: Sequence[Machine], nodes: Sequence[RayNode]) -> list[Row]:
    """Put machines and Ray's nodes beside what was asked for: a row each, the head first.

    A machine that has ended is left out; a node that was asked for and has no machine yet has a row.
    """
    by_address = {node.address: node for node in nodes if node.alive}
    rows = []
    for machine in (one for one in machines if one.alive):
        node = by_address.get(machine.address) if machine.address else None
        state = (
            "in" if node else {"pending": "starting", "running": "setting up"}.get(machine.state, "not in")
        )
        rows.append(Row(machine.group, machine.address, state, node, machine))
    there = Counter(row.group for row in rows)
    for group, count in wanted.items():
        rows += [Row(group, "", "asked for")] * max(0, count - there[group])
    return sorted(
        rows,
        key=lambda row: (row.group != HEAD, list(wanted).index(row.group) if row.group in wanted else 99),
    )


def missing(wanted: Mapping[str, int], rows: Sequence[Row]) -> dict[str, int]:
    """Return how many nodes of each group are not in."""
    there = Counter(row.group for row in rows if row.is_in)
    return {group: count - there[group] for group, count in wanted.items() if there[group] < count}


def start(
    spec: AnyCluster,
    launcher: dict[str, Any],
    machines: Hosts | Instances,
    *,
    home: Path | None = None,
    show: Show = lambda rows, trouble: None,
    wait_seconds: float = 1200,
) -> list[Row]:
    """Run Ray's launcher and wait for every node.

    Args:
        spec: the cluster.
        launcher: the rendered launcher file.
        machines: its machines.
        show: called with the rows, and with what hinders them, whenever one changed.
        wait_seconds: for all of it.

    Returns:
        The rows, all of them in.

    Raises:
        ClusterError: the head did not start.
        NotAllInError: some node did not come in time.
    """
    home = home or Path.home()
    until = time.monotonic() + wait_seconds
    folder = names.state_folder(place_of(spec), spec.name, home)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / "launcher.yaml"
    file.write_text(as_yaml(launcher, "the cluster file"), "utf-8")
    _run_launcher(spec, file, machines, show, until)
    token = names.token_file(place_of(spec), spec.name, home)
    return _wait_for_all(spec, machines, token, show, until)


def _run_launcher(
    spec: AnyCluster, file: Path, machines: Hosts | Instances, show: Show, until: float
) -> None:
    log = file.with_name("up.log")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
    if spec.provider == "on-premise":
        # With the second autoscaler, which is Ray 2.60's default, some hosts never join.
        environment["RAY_UP_enable_autoscaler_v2"] = "0"
    command = [sys.executable, "-m", "ray.scripts.scripts", "up", "--yes", "--no-config-cache", str(file)]
    with log.open("w", encoding="utf-8") as written:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        )
        # Reading ends with the process: a timer ends that, so that no set-up can hang for ever.
        late = threading.Event()

        def end() -> None:
            late.set()
            _end_group(process)

        timer = threading.Timer(max(1.0, until - time.monotonic()), end)
        timer.start()
        try:
            _follow(process, written, machines, show)
            code = process.wait()
        finally:
            timer.cancel()
            _end_group(process)
    if code:
        hint = f"all that it said is in {log}; what was started still runs: rlx cluster down"
        what = "the head did not start in time" if late.is_set() else "the head did not start"
        raise ClusterError(f"{what}: {_last_words(log)}", f"cluster {spec.name}", hint)


def _follow(process: subprocess.Popen[str], written: Any, machines: Hosts | Instances, show: Show) -> None:
    """Write down what the launcher says, and show each step of the head."""
    assert process.stdout is not None
    wanted = machines.wanted
    others = [
        Row(group, "", "waits for the head")
        for group in wanted
        for _ in range(wanted[group])
        if group != HEAD
    ]
    show([Row(HEAD, "", "starting"), *others], "")
    for line in process.stdout:
        written.write(line)
        written.flush()
        if step := _STEP.search(_COLOURS.sub("", line)):
            show([Row(HEAD, "", f"step {step[1]}: {step[2].strip().lower()}"), *others], "")


def _end_group(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError):
        return


def _last_words(log: Path) -> str:
    """Return what the launcher said of its failure: the last telling line, or else the last one."""
    lines = [_COLOURS.sub("", line).strip() for line in log.read_text("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Shared connection", "!!!"))]
    telling = [line for line in lines if _TELLING.search(line) and not _QUOTES.search(line)]
    chosen = [line for line in telling if "VINFO" not in line and "INFO updater" not in line]
    return (chosen or lines or ["it said nothing"])[-1][:400]


def _wait_for_all(
    spec: AnyCluster, machines: Hosts | Instances, token: Path, show: Show, until: float
) -> list[Row]:
    head = machines.head()
    trouble, asked_at = "", 0.0
    while True:
        try:
            with head_api(head, token) as api:
                while True:
                    rows = rows_of(machines.wanted, machines.all(), api.nodes())
                    if not missing(machines.wanted, rows):
                        show(rows, "")
                        return rows
                    if time.monotonic() - asked_at > _TROUBLE_SECONDS:
                        asked_at = time.monotonic()
                        trouble = what_hinders(spec, head, rows)
                    show(rows, trouble)
                    if time.monotonic() > until:
                        raise _not_all_in(spec, machines, head, rows)
                    time.sleep(_POLL_SECONDS)
        except NotAllInError:
            raise
        except ClusterError as error:
            # The tunnel broke, or the dashboard is still starting.
            if time.monotonic() > until:
                raise ClusterError(f"the head does not answer: {error}", head.address, STILL_RUNS) from None
            time.sleep(_POLL_SECONDS)


def _not_all_in(
    spec: AnyCluster, machines: Hosts | Instances, head: Node, rows: Sequence[Row]
) -> NotAllInError:
    lacking = ", ".join(f"{count} of {group}" for group, count in missing(machines.wanted, rows).items())
    reasons = [f"{row.address or row.group}: {reason(spec, head, row)}" for row in rows if not row.is_in]
    gone = [f"{one.id} ({one.group}) ended: {one.why}" for one in machines.all() if not one.alive and one.why]
    told = "; ".join([*reasons, *gone[-3:]])
    return NotAllInError(
        f"not all nodes came: {lacking} missing. {told}", f"cluster {spec.name}", STILL_RUNS, rows
    )


def what_hinders(spec: AnyCluster, head: Node, rows: Sequence[Row]) -> str:
    """Return the newest telling line of the autoscaler's logs about nodes that are not in; empty if none."""
    addresses = [row.address for row in rows if not row.is_in and row.address]
    return _telling_line(spec, head, addresses)


def reason(spec: AnyCluster, head: Node, row: Row) -> str:
    """Say why a node is not in, as far as it can be known from here."""
    if row.machine is None:
        said = _telling_line(spec, head, [])
        return said or "no machine came; the autoscaler's logs on the head say nothing of it"
    probe = f"timeout 8 bash -c '</dev/tcp/{row.address}/22'"
    if not head.run(probe, timeout_seconds=20).ok:
        return f"the head does not reach its ssh (state {row.machine.state})"
    return _telling_line(spec, head, [row.address]) or "it answers by ssh, but its Ray has not joined"


def _telling_line(spec: AnyCluster, head: Node, addresses: Sequence[str]) -> str:
    folder = f"{temporary_folder(spec.name)}/session_latest/logs"
    logs = f"cd {folder} 2>/dev/null && tail -q -n 400 monitor*.out monitor*.log monitor*.err"
    said = head.run(f"{logs} 2>/dev/null; true", timeout_seconds=20).out
    lines = [_COLOURS.sub("", line).strip() for line in said.splitlines()]
    telling = [line for line in lines if _TELLING.search(line) and not _QUOTES.search(line)]
    about = [line for line in telling if any(_names(line, address) for address in addresses)]
    return (about or telling or [""])[-1][:300]


def _names(line: str, address: str) -> bool:
    """Return whether a line is about an address: 10.0.0.12 does not name 10.0.0.1."""
    return re.search(rf"(?<![\w.-]){re.escape(address)}(?![\w-]|\.\w)", line) is not None
