"""A cluster of hosts without hosts: an ssh that stays here, and a dashboard in a thread."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rlx.cluster import launcher, on_premise
from rlx.cluster.load import ClusterFile, load_cluster_text
from rlx.cluster.machines import Hosts
from rlx.cluster.names import token_file
from rlx.cluster.spec import OnPremiseCluster
from rlx.cluster.ssh import Node, free_port
from tests.cluster import fake_ssh

TOKEN = "secret-of-lab"


class Dashboard:
    """What of Ray's dashboard rlx uses.

    Attributes:
        addresses: of the nodes that are in; the first is the head.
        jobs: by id, as Ray words them.
        logs: what every job has written.
        breaks: after how many letters of the log the next connections break.
        answers: path -> (code, text) that is answered instead.
        log_is_over: job's state once its log was told to the end.
        stages: (logs, log_is_over) of the next connections.
    """

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.logs = ""
        self.breaks: list[int] = []
        self.answers: dict[str, tuple[int, str]] = {}
        self.log_is_over = "SUCCEEDED"
        self.stages: list[tuple[str, str]] = []
        self.seen: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = free_port()

    def __enter__(self) -> Dashboard:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(middlewares=[self._door])
        app.router.add_get("/api/v0/nodes", self._nodes)
        app.router.add_get("/api/jobs/", self._jobs)
        app.router.add_post("/api/jobs/", self._submit)
        app.router.add_post("/api/jobs/{id}/stop", self._stop)
        app.router.add_get("/api/jobs/{id}/logs", self._logs)
        app.router.add_get("/api/jobs/{id}/logs/tail", self._tail)
        runner = web.AppRunner(app, access_log=None)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        self._started.set()
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    @web.middleware
    async def _door(self, request: web.Request, handler: Any) -> Any:
        self.seen.append(f"{request.method} {request.path}")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401, text="no")
        if request.path in self.answers:
            code, text = self.answers[request.path]
            if code == 0:
                await asyncio.sleep(float(text))
            return web.Response(status=code or 200, text=text)
        return await handler(request)

    async def _nodes(self, request: web.Request) -> web.Response:
        nodes = [
            {
                "node_id": f"n{index}",
                "node_ip": address,
                "is_head_node": index == 0,
                "state": "ALIVE",
                "resources_total": {"CPU": 4.0, "memory": 8e9},
            }
            for index, address in enumerate(self.addresses)
        ]
        return web.json_response({"result": True, "data": {"result": {"result": nodes}}})

    async def _jobs(self, request: web.Request) -> web.Response:
        return web.json_response([*self.jobs.values(), {"submission_id": None, "type": "DRIVER"}])

    async def _submit(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.add_job(asked["submission_id"], entrypoint=asked["entrypoint"], metadata=asked["metadata"])
        return web.json_response({"submission_id": asked["submission_id"]})

    async def _stop(self, request: web.Request) -> web.Response:
        self.jobs[request.match_info["id"]]["status"] = "STOPPED"
        return web.json_response({"stopped": True})

    async def _logs(self, request: web.Request) -> web.Response:
        return web.json_response({"logs": self.logs})

    async def _tail(self, request: web.Request) -> Any:
        stream = web.WebSocketResponse()
        await stream.prepare(request)
        if self.stages:
            self.logs, self.log_is_over = self.stages.pop(0)
        limit = self.breaks.pop(0) if self.breaks else None
        text = self.logs if limit is None else self.logs[:limit]
        for begin in range(0, len(text), 7):  # not where others began
            await stream.send_str(text[begin : begin + 7])
        if limit is not None:
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.abort()
            return stream
        self.jobs[request.match_info["id"]]["status"] = self.log_is_over
        return stream

    def add_job(self, id: str, status: str = "RUNNING", **more: Any) -> None:
        """Know a job."""
        began = 1000 * (1 + len(self.jobs))
        facts = {"entrypoint": "x", "message": "", "start_time": began, "end_time": None, "metadata": {}}
        self.jobs[id] = {"submission_id": id, "status": status, **facts, **more}


@dataclass
class Lab:
    """A cluster of hosts at 127.0.1.1 and so on.

    Attributes:
        folder: of the fake ssh.
        home: of this machine's user.
        file: the cluster file.
    """

    folder: Path
    home: Path
    file: ClusterFile
    path: Path
    dashboard: Dashboard
    said: list[str] = field(default_factory=list)

    @property
    def spec(self) -> OnPremiseCluster:
        """The cluster."""
        assert isinstance(self.file.spec, OnPremiseCluster)
        return self.file.spec

    @property
    def hosts(self) -> Hosts:
        """Its machines."""
        return Hosts(self.spec, self.home)

    @property
    def head(self) -> Node:
        """The way to its head."""
        return self.hosts.head()

    @property
    def token(self) -> Path:
        """This machine's copy."""
        return token_file("on-premise", self.spec.name, self.home)

    def unreachable(self, host: str, error: str = "ssh: connect to host: No route to host") -> None:
        """Cut a host off."""
        (self.folder / host).mkdir(exist_ok=True)
        (self.folder / host / "error").write_text(error)

    def home_of(self, host: str) -> Path:
        """Return the home of a host."""
        home = self.folder / host / "home"
        home.mkdir(parents=True, exist_ok=True)
        return home

    def program(self, path: Path, script: str) -> None:
        """Write a program."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def commands(self, host: str = "") -> list[str]:
        """Return what was run on a host, or on all."""
        lines = (self.folder / "calls").read_text().splitlines() if (self.folder / "calls").exists() else []
        calls = [json.loads(line) for line in lines]
        return [one["command"] for one in calls if host in ("", one["host"])]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Two hosts, whose Ray's dashboard runs; names are this process's own, for others may test here too."""
    folder, home = tmp_path / "ssh", tmp_path / "user"
    for one in (folder / "bin", home, tmp_path / "runs of ours"):
        one.mkdir(parents=True)
    program = tmp_path / "here/ssh"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable} -SE\n{Path(fake_ssh.__file__).read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SSH", str(folder))
    monkeypatch.setenv("HOME", str(home))
    for module in (launcher, on_premise):
        monkeypatch.setattr(module, "MARK", f"RLX_TEST_{os.getpid()}")
    monkeypatch.setattr(on_premise, "PORT", free_port())
    (home / "key").write_text("a key")
    path = tmp_path / "lab.yaml"
    name = f"t{os.getpid()}"
    path.write_text(
        f"name: {name}\nprovider: on-premise\nhosts: [127.0.1.1, 127.0.1.2]\nssh_user: somebody\n"
        f"ssh_key: {home}/key\nenvironment: {tmp_path}/env\nstorage: {tmp_path}/runs of ours\n"
    )
    with Dashboard() as dashboard:
        dashboard.addresses = ["127.0.1.1", "127.0.1.2"]
        (folder / "port").write_text(str(dashboard.port))
        made = Lab(folder, home, load_cluster_text(path.read_text(), "lab.yaml"), path, dashboard)
        made.token.parent.mkdir(parents=True)
        made.token.write_text(f"{TOKEN}\n")
        made.program(folder / "bin/timeout", "exit 0")
        made.program(folder / "bin/pgrep", "echo 0")
        yield made
    shutil.rmtree(launcher.temporary_folder(name), ignore_errors=True)
