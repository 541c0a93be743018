"""The address of whoever calls: asked, checked, and never guessed."""

from __future__ import annotations

import io
from typing import Any

import pytest

from rlx.cluster import address
from rlx.cluster.address import covers, own_address
from rlx.cluster.errors import ClusterError


def tell(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(address, "open_address", lambda url: io.BytesIO(text))


def test_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, b"198.51.100.23\n")
    assert own_address() == "198.51.100.23/32"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"<html>log in to this hotel</html>", "expected an IPv4 address, was told '<html>log in"),
        (b"2001:db8::1\n", "expected an IPv4 address, was told '2001:db8::1'"),
        (b"0.0.0.0", "0.0.0.0 is no address on the internet"),
        (b"", "expected an IPv4 address, was told ''"),
    ],
)
def test_what_is_no_address(monkeypatch: pytest.MonkeyPatch, text: bytes, problem: str) -> None:
    tell(monkeypatch, text)
    with pytest.raises(ClusterError, match=problem):
        own_address()


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float]] = []

    def silent(url: str, timeout: float) -> Any:
        asked.append((url, timeout))
        raise TimeoutError("timed out")

    monkeypatch.undo()
    monkeypatch.setattr("urllib.request.urlopen", silent)
    with pytest.raises(ClusterError, match=r"cannot be asked \(timed out\); write your address into"):
        own_address()
    assert asked == [("https://checkip.amazonaws.com", 5.0)]


def test_networks() -> None:
    assert covers("203.0.113.0/24", "203.0.113.7/32")
    assert not covers("203.0.113.8/32", "203.0.113.7/32")
