"""Hosts out of Linux namespaces: each with an address, a root's home, processes and an ssh server of its own.

A host shares the machine's processors and its file system, but for /root, /tmp, /run and /dev/shm. It can
lose its power, and its network can be cut. Needs root, Debian's openssh-server, rsync and iproute2, and a
kernel that permits namespaces: `why_not()` says what is missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PRIVATE = ("/root", "/tmp", "/run")
_PROGRAMS = ("ip", "unshare", "nsenter", "mount", "rsync", "ssh", "ssh-keygen", "/usr/sbin/sshd")

_INIT = """\
set -e
mount --make-rprivate /
{binds}
mount --rbind {folder}/root /root
mount -t proc proc /proc
mount -t tmpfs -o size={shm},mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd
mount --rbind {folder}/tmp /tmp
hostname {name}
ip link set lo up
exec /usr/sbin/sshd -D -e -f /dev/null -o PidFile=none -o UsePAM=no -o PasswordAuthentication=no \
 -o MaxStartups=100 -o PermitRootLogin=prohibit-password -o StrictModes=no -o HostKey={hostkey}
"""


class RehearsalError(Exception):
    """A host did not do as told."""


def why_not() -> str:
    """Return why hosts cannot be had here; empty if they can."""
    if os.geteuid() != 0:
        return "hosts out of namespaces need root"
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"hosts out of namespaces need {', '.join(missing)} (Debian: openssh-server rsync iproute2)"
    tried = subprocess.run(
        [
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "mount",
            "-t",
            "proc",
            "proc",
            "/proc",
        ],
        capture_output=True,
        text=True,
    )
    if tried.returncode:
        return f"this machine permits no namespaces: {tried.stderr.strip()}"
    return ""


@dataclass
class Host:
    """One host. `pid` is the machine's number of its first process, 0 while it has no power."""

    name: str
    address: str
    folder: Path
    pid: int = 0
    outer: Any = None


class Hosts:
    """The hosts on one bridge.

    Args:
        folder: where their homes are kept; made new.
        network: first three numbers of a /24, or first two of a /16; the bridge itself gets the last address.
        bridge: name of the bridge.
        visible: folders that every host sees although they lie below a private one.
        shm: size of /dev/shm of each host.
    """

    def __init__(
        self,
        folder: Path,
        *,
        network: str = "10.77.0",
        bridge: str = "rlxlab0",
        visible: Sequence[Path] = (),
        shm: str = "1g",
    ) -> None:
        self.folder = folder
        self.network = network
        self.bridge = bridge
        self.shm = shm
        self.prefix = 24 if network.count(".") == 2 else 16
        self.gateway = f"{network}.254" if self.prefix == 24 else f"{network}.255.254"
        self.visible = [Path(sys.prefix), Path(sys.base_prefix), *visible]
        self.key = folder / "id_ed25519"
        self.all: dict[str, Host] = {}

    def __enter__(self) -> Hosts:
        self._sweep()
        self.folder.mkdir(parents=True, exist_ok=True)
        for key in (self.key, self.folder / "hostkey"):
            if not key.exists():
                _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        _call("ip", "link", "add", self.bridge, "type", "bridge")
        _call("ip", "addr", "add", f"{self.gateway}/{self.prefix}", "dev", self.bridge)
        _call("ip", "link", "set", self.bridge, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.all):
            self.remove(name)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what a rehearsal that was killed left behind."""
        for name in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.split():
            if name.startswith(f"{self.bridge}-"):
                pids = subprocess.run(
                    ["ip", "netns", "pids", name], capture_output=True, text=True
                ).stdout.split()
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                _call("ip", "netns", "del", name)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)

    def add(self, name: str, address: str, *, public_key: str | None = None, profile: str = "") -> Host:
        """Start a host.

        Args:
            name: at most 10 letters and digits.
            address: in the network.
            public_key: who may log in; default: this rehearsal's key.
            profile: lines for root's .bashrc.
        """
        host = Host(name, address, self.folder / name)
        for below in ("root/.ssh", "tmp"):
            (host.folder / below).mkdir(parents=True, exist_ok=True)
        (host.folder / "tmp").chmod(0o1777)
        (host.folder / "root").chmod(0o700)
        (host.folder / "root/.ssh").chmod(0o700)
        (host.folder / "root/.ssh/authorized_keys").write_text(
            public_key or self.key.with_suffix(".pub").read_text()
        )
        (host.folder / "root/.bashrc").write_text(profile)
        (host.folder / "root/.bash_profile").write_text("[ -f ~/.bashrc ] && . ~/.bashrc\n")
        space, link = self._space(name), f"v{name}"
        _call("ip", "netns", "add", space)
        _call("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        _call("ip", "link", "set", link, "master", self.bridge, "up")
        _call("ip", "-n", space, "addr", "add", f"{address}/{self.prefix}", "dev", "eth0")
        _call("ip", "-n", space, "link", "set", "lo", "up")
        self.all[name] = host
        self.power_on(name)
        return host

    def power_on(self, name: str) -> None:
        """Start a host that is there; what is on its disk is still on it."""
        host = self.all[name]
        self.link(name, up=True)
        init = host.folder / "init.sh"
        text = _INIT.format(
            binds="\n".join(self._binds(host)),
            folder=host.folder,
            shm=self.shm,
            name=name,
            hostkey=self.folder / "hostkey",
        )
        init.write_text(text)
        inner = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "bash", str(init)]
        log = open(host.folder / "console.log", "ab")  # noqa: SIM115
        host.outer = subprocess.Popen(
            ["ip", "netns", "exec", self._space(name), *inner],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": "/root", "LANG": "C.UTF-8"},
        )
        log.close()
        children = Path(f"/proc/{host.outer.pid}/task/{host.outer.pid}/children")
        for _ in range(200):
            pids = children.read_text().split() if children.exists() else []
            if pids and Path(f"/proc/{pids[0]}/comm").read_text().strip() == "sshd":
                host.pid = int(pids[0])
                return
            if host.outer.poll() is not None:
                break
            time.sleep(0.05)
        raise RehearsalError(f"{name} did not start: {(host.folder / 'console.log').read_text()[-500:]}")

    def power_off(self, name: str) -> None:
        """Take a host's power: everything on it ends without a word."""
        host = self.all[name]
        self.link(name, up=False)
        if host.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(host.pid, signal.SIGKILL)  # the first process: the kernel ends all others with it
            host.outer.wait(timeout=20)
        host.pid = 0

    def link(self, name: str, *, up: bool) -> None:
        """Cut a host's network, or mend it."""
        space = self._space(name)
        _call("ip", "-n", space, "link", "set", "eth0", "up" if up else "down")
        if up:
            _call("ip", "-n", space, "route", "replace", "default", "via", self.gateway)

    def remove(self, name: str) -> None:
        """End a host and forget its disk."""
        self.power_off(name)
        host = self.all.pop(name)
        subprocess.run(["ip", "link", "del", f"v{name}"], capture_output=True)
        subprocess.run(["ip", "netns", "del", self._space(name)], capture_output=True)
        shutil.rmtree(host.folder, ignore_errors=True)

    def run(self, name: str, *command: str, check: bool = True) -> str:
        """Run a command on a host, as root, past ssh; its output."""
        inside = ["nsenter", "-t", str(self.all[name].pid), "-m", "-n", "-p", "-u", "-i", "--", *command]
        done = subprocess.run(
            inside, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "HOME": "/root"}, cwd="/"
        )
        if check and done.returncode:
            raise RehearsalError(f"{name}: {' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def processes(self, name: str, pattern: str) -> list[str]:
        """Return the command lines of a host's processes that match a pattern."""
        return self.run(name, "pgrep", "-af", pattern, check=False).splitlines()

    def kill(self, name: str, program: str) -> None:
        """End the processes of a host that have this name (at most 15 letters), without a word."""
        self.run(name, "pkill", "-9", "-x", program)

    def _space(self, name: str) -> str:
        return f"{self.bridge}-{name}"

    def _binds(self, host: Host) -> Iterator[str]:
        """Keep what is below a private folder visible, at its own place."""
        for path in sorted({path.resolve() for path in self.visible}):
            for private in _PRIVATE:
                if path.is_relative_to(private):
                    there = host.folder / private.strip("/") / path.relative_to(private)
                    yield f"mkdir -p {there}; mount --rbind {path} {there}"


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RehearsalError(f"{' '.join(command)}: {done.stderr.strip()}")
