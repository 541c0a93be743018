"""The way to the head's dashboard: what it says, what it refuses, what it does not say."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from rlx.cluster.api import HeadApi, head_api
from rlx.cluster.errors import ClusterError
from rlx.cluster.ssh import free_port
from tests.cluster.head import Lab, lab

__all__ = ["lab"]  # fixture


@pytest.fixture
def api(lab: Lab) -> HeadApi:
    return HeadApi(lab.dashboard.port, lab.token)


def test_nodes_are_read_the_head_first(lab: Lab, api: HeadApi) -> None:
    lab.dashboard.addresses = ["10.0.0.7", "10.0.0.10", "10.0.0.9"]
    nodes = api.nodes()
    assert [node.address for node in nodes] == ["10.0.0.7", "10.0.0.9", "10.0.0.10"]
    assert (nodes[0].head, nodes[0].cpus, nodes[0].memory_bytes) == (True, 4.0, 8_000_000_000)


def test_neither_ray_s_variables_nor_a_proxy_lead_elsewhere(
    lab: Lab, api: HeadApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, nowhere)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    lab.dashboard.add_job("a")
    lab.dashboard.logs = "one\n"
    pieces: list[str] = []
    api.tail("a", pieces.append)
    assert len(api.nodes()) == 2
    assert [one["submission_id"] for one in api.jobs()] == ["a", None]
    assert "".join(pieces) == api.job_logs("a") == "one\n"


def test_a_wrong_token_is_named_and_not_shown(lab: Lab) -> None:
    lab.token.write_text("another-secret")
    with pytest.raises(ClusterError, match="refuses: 401 no") as refused:
        HeadApi(lab.dashboard.port, lab.token).nodes()
    assert "the token here is not the one" in str(refused.value)
    assert "another-secret" not in str(refused.value)
    with pytest.raises(ClusterError, match="401"):
        HeadApi(lab.dashboard.port, lab.token).tail("a", print)


@pytest.mark.parametrize(
    ("code", "text", "says"),
    [
        (200, "<html>", "does not answer"),
        (200, "[]", "answers nonsense"),
        (200, '{"data": {"result": {"result": [{"state": "ALIVE"}]}}}', "answers nonsense"),
        (200, '{"data": null}', "answers nonsense"),
        (500, "Traceback:\n  here\nKeyError: agent", "refuses: 500 KeyError: agent"),
        (503, "", "refuses: 503 Service Unavailable"),
    ],
)
def test_nonsense_is_an_error_of_the_cluster(lab: Lab, api: HeadApi, code: int, text: str, says: str) -> None:
    lab.dashboard.answers["/api/v0/nodes"] = (code, text)
    with pytest.raises(ClusterError, match=says):
        api.nodes()


def test_every_wait_has_an_end(lab: Lab, api: HeadApi) -> None:
    lab.dashboard.answers["/api/jobs/"] = (0, "3")
    began = time.monotonic()
    with pytest.raises(ClusterError, match="timed out"):
        api.get("/api/jobs/", timeout_seconds=0.2)
    assert time.monotonic() - began < 2


def test_what_is_no_http_is_an_error_of_the_cluster(lab: Lab) -> None:
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            for _ in range(2):
                client, _ = server.accept()
                client.recv(4096)
                client.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")
                client.close()

        threading.Thread(target=speak, daemon=True).start()
        api = HeadApi(server.getsockname()[1], lab.token)
        with pytest.raises(ClusterError, match="does not answer"):
            api.nodes()
        with pytest.raises(ClusterError, match="does not answer"):
            api.tail("a", print)


def test_what_is_done_with_the_text_may_fail_by_itself(lab: Lab, api: HeadApi) -> None:
    # A closed terminal, e.g. `rlx cluster logs -f | head`, is no lost connection.
    lab.dashboard.add_job("a")
    lab.dashboard.logs = "one\n"

    def closed(text: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        api.tail("a", closed)


def test_a_broken_stream_is_told_from_one_that_is_over(lab: Lab, api: HeadApi) -> None:
    lab.dashboard.add_job("a")
    lab.dashboard.logs, lab.dashboard.breaks = "0123456789", [5]
    pieces: list[str] = []
    with pytest.raises(ClusterError, match="the connection is lost"):
        api.tail("a", pieces.append)
    assert "".join(pieces) == "01234"


def test_no_token_here(lab: Lab) -> None:
    lab.token.unlink()
    with (
        pytest.raises(ClusterError, match="no token of this cluster on this machine"),
        head_api(lab.head, lab.token),
    ):
        pass
    assert lab.commands() == []


def test_through_a_tunnel(lab: Lab) -> None:
    with head_api(lab.head, lab.token) as api:
        assert len(api.nodes()) == 2
        address: Any = ("127.0.0.1", int(api.address.rpartition(":")[2]))
    with socket.socket() as probe:
        assert probe.connect_ex(address) != 0
