"""What the head's dashboard tells, and Ray's Jobs API, through a tunnel and with the cluster's token."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlx.cluster.errors import ClusterError
from rlx.cluster.ssh import Node

DASHBOARD_PORT = 8265


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
        request = urllib.request.Request(f"{self.address}{path}", headers=self.headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace").strip()[:200]
            hint = ""
            if error.code in (401, 403):
                hint = "the token here is not the one that this cluster was started with"
            raise ClusterError(f"Ray's dashboard refuses: {error.code} {said}", path, hint) from None
        except (OSError, ValueError) as error:
            raise ClusterError(f"Ray's dashboard does not answer: {error}", path) from None

    def nodes(self) -> list[RayNode]:
        """Return the nodes, dead ones too, the head first."""
        found = self.get("/api/v0/nodes?limit=10000")["data"]["result"]["result"]
        nodes = [_node(one) for one in found]
        return sorted(nodes, key=lambda node: (not node.head, _by_number(node.address)))

    @property
    def jobs(self) -> Any:
        """Return Ray's client of the Jobs API. Imports Ray."""
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(self.address, headers=dict(self.headers))

    def tail(self, job: str) -> AsyncIterator[str]:
        """Yield what a job writes, from its beginning until it ends."""
        found: AsyncIterator[str] = self.jobs.tail_job_logs(job)
        return found


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
