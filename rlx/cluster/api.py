"""What the head's dashboard tells, and Ray's Jobs API, through a tunnel and with the cluster's token.

Plain HTTP, not Ray's own client: that goes elsewhere if RAY_ADDRESS is set, takes the proxy of the
environment for this machine's loopback, and waits without an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rlx.cluster.errors import ClusterError
from rlx.cluster.ssh import Node

DASHBOARD_PORT = 8265
#: A dashboard that says nothing for so long is taken for lost.
_SILENCE_SECONDS = 30.0


@dataclass(frozen=True)
class RayNode:
    """One node as Ray sees it.

    Attributes:
        id: Ray's.
        address: as the nodes see each other.
        head: whether it is the head.
        alive: whether Ray counts on it.
        why: why it is dead, by Ray.
        cpus, gpus: what Ray counts with.
        memory_bytes: the same.
        labels: as given at its start.
    """

    id: str
    address: str
    head: bool
    alive: bool
    why: str
    cpus: float
    gpus: float
    memory_bytes: int
    labels: dict[str, str]


class HeadApi:
    """The head's dashboard at a port of this machine.

    Args:
        port: of the loopback.
        token: file with the cluster's token.
    """

    def __init__(self, port: int, token: Path) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.headers = {"Authorization": f"Bearer {token.read_text('utf-8').strip()}"}

    def get(self, path: str, *, timeout_seconds: float = 20) -> Any:
        """Return the answer to a GET.

        Raises:
            ClusterError: no answer, or a refusal.
        """
        return self._ask(path, None, timeout_seconds)

    def post(self, path: str, body: Mapping[str, Any], *, timeout_seconds: float = 60) -> Any:
        """Return the answer to a POST.

        Raises:
            ClusterError: no answer, or a refusal.
        """
        return self._ask(path, body, timeout_seconds)

    def _ask(self, path: str, body: Mapping[str, Any] | None, timeout_seconds: float) -> Any:
        headers, data = self.headers, None
        if body is not None:
            headers, data = headers | {"Content-Type": "application/json"}, json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}{path}", data=data, headers=headers)
        # A proxy of the environment is not the way to this machine's loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout_seconds) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            lines = error.read().decode("utf-8", "replace").strip().splitlines()
            hint = ""
            if error.code in (401, 403):
                hint = "the token here is not the one that this cluster was started with"
            # Of a traceback, the last line says it.
            said = lines[-1][:200] if lines else error.reason
            raise ClusterError(f"Ray's dashboard refuses: {error.code} {said}", path, hint) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ClusterError(f"Ray's dashboard does not answer: {error or repr(error)}", path) from None

    def nodes(self) -> list[RayNode]:
        """Return the nodes, dead ones too, the head first.

        Raises:
            ClusterError: no answer, a refusal, or nonsense.
        """
        path = "/api/v0/nodes?limit=10000"
        answer = self.get(path)
        try:
            nodes = [_node(one) for one in answer["data"]["result"]["result"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"Ray's dashboard answers nonsense: {error!r}"
            raise ClusterError(message, path) from None
        return sorted(nodes, key=lambda node: (not node.head, _by_number(node.address)))

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs as Ray words them, those that nobody handed in too."""
        return list(self.get("/api/jobs/"))

    def submit_job(self, id: str, entrypoint: str, metadata: Mapping[str, str]) -> None:
        """Hand in a shell command."""
        body = {"submission_id": id, "entrypoint": entrypoint, "metadata": dict(metadata)}
        self.post("/api/jobs/", body)

    def stop_job(self, id: str) -> None:
        """Ask a job to stop."""
        self.post(f"/api/jobs/{quote(id, safe='')}/stop", {})

    def job_logs(self, id: str) -> str:
        """Return all that a job has written."""
        return str(self.get(f"/api/jobs/{quote(id, safe='')}/logs", timeout_seconds=120)["logs"])

    def tail(self, id: str, write: Callable[[str], None], opened: Callable[[], None] = lambda: None) -> None:
        """Write what a job writes, from its beginning until the head has no more of it.

        Args:
            write: gets the text, in pieces; what it raises is raised.
            opened: called once the head answers.

        Raises:
            ClusterError: the connection is lost.
        """
        asyncio.run(self._tail(f"/api/jobs/{quote(id, safe='')}/logs/tail", write, opened))

    async def _tail(self, path: str, write: Callable[[str], None], opened: Callable[[], None]) -> None:
        import aiohttp

        lost = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
        async with aiohttp.ClientSession(headers=self.headers) as session:
            try:
                # A line may be as long as it likes; the heartbeat notices a head that hangs.
                connecting = session.ws_connect(
                    f"{self.address}{path}", heartbeat=_SILENCE_SECONDS, max_msg_size=0
                )
                stream = await asyncio.wait_for(connecting, _SILENCE_SECONDS)
            except lost as error:
                raise ClusterError(f"Ray's dashboard does not answer: {error or repr(error)}", path) from None
            opened()
            while True:
                message = await stream.receive()
                if message.type is aiohttp.WSMsgType.TEXT:
                    write(message.data)
                    continue
                if message.type is aiohttp.WSMsgType.ERROR or stream.close_code in (
                    None,
                    aiohttp.WSCloseCode.ABNORMAL_CLOSURE,
                ):
                    raise ClusterError("the connection is lost", path)
                return


@contextlib.contextmanager
def head_api(head: Node, token: Path) -> Iterator[HeadApi]:
    """Reach the head's dashboard.

    Raises:
        ClusterError: the head cannot be reached, or there is no token here.
    """
    if not token.is_file():
        hint = "rlx cluster up makes it; the machine that started this cluster has it"
        raise ClusterError("no token of this cluster on this machine", str(token), hint)
    with head.tunnel(DASHBOARD_PORT) as (port,):
        yield HeadApi(port, token)


def _node(one: dict[str, Any]) -> RayNode:
    resources = one.get("resources_total") or {}
    return RayNode(
        id=one["node_id"],
        address=one["node_ip"],
        head=bool(one.get("is_head_node")),
        alive=one["state"] == "ALIVE",
        why=one.get("state_message") or "",
        cpus=float(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        memory_bytes=int(resources.get("memory", 0)),
        labels={str(key): str(value) for key, value in (one.get("labels") or {}).items()},
    )


def _by_number(address: str) -> tuple[Any, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in address.split("."))
