"""Ray's dashboard and a TensorBoard of the runs, at this machine's loopback."""

from __future__ import annotations

import collections
import contextlib
import http.client
import socket
import subprocess
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path

from rlx.cluster.api import DASHBOARD_PORT
from rlx.cluster.errors import ClusterError
from rlx.cluster.jobs import quoted, runs_folder
from rlx.cluster.launcher import environment_of
from rlx.cluster.spec import AnyCluster
from rlx.cluster.ssh import Node, free_port

#: TensorBoard on the head: a port of its loopback.
_TENSORBOARD_PORT = 16006


def serve(
    spec: AnyCluster,
    head: Node,
    token: Path,
    ports: tuple[int, int],
    *,
    open_browser: bool,
    say: Callable[[str], None],
    wait_seconds: float = 60,
) -> None:
    """Hold the tunnels open until Ctrl-C.

    Args:
        ports: here, for the dashboard and for TensorBoard; taken ones are replaced by free ones.
        open_browser: whether to open both pages.

    Raises:
        ClusterError: the head cannot be reached, or the connection was lost.
    """
    dashboard, tensorboard = (port if _is_free(port) else free_port() for port in ports)
    # The same ssh that holds the tunnels runs TensorBoard, whose end is the terminal's: -tt hangs it up.
    runs = quoted(runs_folder(spec))
    script = (
        f"mkdir -p {runs}; exec {environment_of(spec)}/bin/tensorboard --logdir {runs} --host 127.0.0.1 "
        f"--port {_TENSORBOARD_PORT} --reload_interval 30"
    )
    forwards = [
        "-tt", "-o", "ExitOnForwardFailure=yes",
        "-L", f"127.0.0.1:{dashboard}:127.0.0.1:{DASHBOARD_PORT}",
        "-L", f"127.0.0.1:{tensorboard}:127.0.0.1:{_TENSORBOARD_PORT}",
    ]  # fmt: skip
    process = subprocess.Popen(
        head.command(script, options=forwards),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        _wait_for(process, head, (dashboard, tensorboard), wait_seconds)
        pages = (f"http://127.0.0.1:{dashboard}", f"http://127.0.0.1:{tensorboard}")
        say(f"Ray's dashboard  {pages[0]}  (token: {token})")
        say(f"TensorBoard      {pages[1]}")
        say("Ctrl-C ends both")
        if open_browser:
            for page in pages:
                webbrowser.open(page)
        # Read on: a full pipe would halt TensorBoard.
        assert process.stdout is not None
        last = collections.deque((line.strip() for line in process.stdout if line.strip()), maxlen=1)
        reason = last[0] if last else f"exit code {process.wait()}"
        raise ClusterError(f"the connection ended ({reason})", head.address)
    except KeyboardInterrupt:
        return
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        process.kill()


def _wait_for(process: subprocess.Popen[str], head: Node, ports: tuple[int, int], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not all(_speaks(port) for port in ports):
        if process.poll() is not None:
            said = (process.stdout.read() if process.stdout else "").strip().splitlines()
            raise ClusterError(said[-1] if said else "ssh ended", head.address)
        if time.monotonic() > until:
            raise ClusterError(f"no answer within {seconds:.0f} s", head.address)
        time.sleep(0.3)


def _speaks(port: int) -> bool:
    """Return whether a server answers behind a tunnel: ssh itself listens before there is one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
