"""Commands on a node, tunnels to it and files from it, by the ssh and rsync of this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlx.cluster.errors import ClusterError

#: ssh itself could not do it: no route, refused, wrong key. Everything else is the command's own code.
SSH_FAILED = 255


@dataclass(frozen=True)
class Answer:
    """What a command on a node gave back."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether it went well."""
        return self.code == 0

    @property
    def reason(self) -> str:
        """Return the last thing that it said."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.code}"


@dataclass(frozen=True)
class Node:
    """How a node is reached.

    Attributes:
        address: as this machine sees it.
        user: on the node.
        key: private key; None for what ssh finds itself.
        known_hosts: what ssh remembers of this cluster's hosts; a new one is trusted, a changed one not.
    """

    address: str
    user: str
    key: Path | None
    known_hosts: Path

    def options(self, *, timeout_seconds: int = 10) -> list[str]:
        """Return ssh's options: never a question, an end to every wait."""
        key = [] if self.key is None else ["-i", str(self.key.expanduser()), "-o", "IdentitiesOnly=yes"]
        return [
            *key,
            "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=accept-new",
            "-o", f'UserKnownHostsFile="{self.known_hosts}"',
            "-o", f"ConnectTimeout={timeout_seconds}",
            "-o", "ServerAliveInterval=5",
            "-o", "ServerAliveCountMax=3",
            "-o", "LogLevel=ERROR",
            # What the user's ~/.ssh/config may ask for, and would keep tunnels open or run something else.
            "-o", "ControlMaster=no",
            "-o", "ControlPath=none",
            "-o", "RemoteCommand=none",
            "-o", "ForwardAgent=no",
            "-o", "ForwardX11=no",
        ]  # fmt: skip

    @property
    def target(self) -> str:
        """Return what ssh calls it."""
        return f"{self.user}@{self.address}"

    def command(self, *remote: str, options: Sequence[str] = (), timeout_seconds: int = 10) -> list[str]:
        """Return the whole ssh command."""
        ssh = _program("ssh")
        return [ssh, *self.options(timeout_seconds=timeout_seconds), *options, self.target, *remote]

    def run(self, script: str, *, timeout_seconds: float = 60, stdin: str | None = None) -> Answer:
        """Run a shell script on the node and wait for it; `stdin` is what it reads.

        A node that cannot be reached is an answer with code 255, not an error.
        """
        self.known_hosts.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            done = subprocess.run(
                self.command(f"bash -c {shlex.quote(script)}"),
                input=stdin or "",
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_seconds,
            )
        except subprocess.TimeoutExpired:
            return Answer(SSH_FAILED, "", f"no answer within {timeout_seconds:.0f} s")
        return Answer(done.returncode, done.stdout, done.stderr)

    def need(self, script: str, *, timeout_seconds: float = 60, stdin: str | None = None) -> str:
        """Run like `run` and return the output.

        Raises:
            ClusterError: it failed; names the node and the reason.
        """
        answer = self.run(script, timeout_seconds=timeout_seconds, stdin=stdin)
        if not answer.ok:
            raise ClusterError(answer.reason, self.address)
        return answer.out

    def replace_this_process(self, script: str, *, terminal: bool) -> None:
        """Become an ssh that runs `script`, or a shell, on the node."""
        options = ["-t"] if terminal else []
        remote = [f"bash -lc {shlex.quote(script)}"] if script else []
        command = self.command(*remote, options=options)
        os.execv(command[0], command)

    @contextlib.contextmanager
    def tunnel(self, *ports: int, wait_seconds: float = 20) -> Iterator[list[int]]:
        """Reach ports of the node's loopback at ports of this machine's loopback, which are yielded.

        Raises:
            ClusterError: the node cannot be reached.
        """
        local = [free_port() for _ in ports]
        forwards = [
            part
            for here, there in zip(local, ports, strict=True)
            for part in ("-L", f"127.0.0.1:{here}:127.0.0.1:{there}")
        ]
        self.known_hosts.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = self.command(options=["-N", "-o", "ExitOnForwardFailure=yes", *forwards])
        # A session of its own: Ctrl-C in this terminal is for this process, which then ends the tunnel.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        try:
            self._wait_until_open(process, local, wait_seconds)
            yield local
        finally:
            _end(process)

    def _wait_until_open(self, process: subprocess.Popen[str], ports: list[int], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not all(answers(port) for port in ports):
            self._check_alive(process)
            if time.monotonic() > until:
                raise ClusterError(f"no tunnel within {seconds:.0f} s", self.address)
            time.sleep(0.1)
        # Else somebody else listens there.
        self._check_alive(process)

    def _check_alive(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is not None:
            said = (process.stderr.read() if process.stderr else "").strip().splitlines()
            raise ClusterError(said[-1] if said else "ssh ended", self.address)

    def copy_from(self, there: str, here: Path, *, exclude: Sequence[str] = ()) -> None:
        """Copy a folder's contents from the node with rsync; what is here already is not sent again.

        Raises:
            ClusterError: it failed.
        """
        here.mkdir(parents=True, exist_ok=True)
        shell = " ".join(shlex.quote(part) for part in [_program("ssh"), *self.options()])
        excluded = [f"--exclude={pattern}" for pattern in exclude]
        # A run that goes on changes its files while they are copied: each arrives whole, by its last state.
        # -s: odd signs in the path are not for a shell there. rsync before 3.0 does not know it.
        odd = ["-s"] if shlex.quote(there) != there else []
        command = [_program("rsync"), "-az", *odd, "--timeout=60", "-e", shell, *excluded]
        done = subprocess.run(
            [*command, f"{self.target}:{there.rstrip('/')}/", f"{here.resolve()}/"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
        if done.returncode not in (0, 24):  # 24: files vanished meanwhile
            raise ClusterError(Answer(done.returncode, "", done.stderr).reason, self.address)


def free_port() -> int:
    """Return a port of the loopback that nobody uses at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(port: int) -> bool:
    """Return whether somebody listens at a port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stderr:
        process.stderr.close()


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ClusterError(f"no {name} on this machine", "", "install it: openssh-client, rsync")
    return found
