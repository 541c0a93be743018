"""The address that this machine has on the internet: `allowed_address: auto` asks for it.

Source: Amazon EC2 User Guide, which names checkip.amazonaws.com for this.
"""

from __future__ import annotations

import ipaddress
import urllib.error
import urllib.request
from typing import Any

from rlx.cluster.errors import ClusterError
from rlx.cluster.spec import AUTO, AwsCluster

WHERE = "https://checkip.amazonaws.com"
_SECONDS = 5.0
_MOST_BYTES = 64


def own_address() -> str:
    """Ask for the IPv4 address that calls from here come from; as a network of one, e.g. 203.0.113.7/32.

    Raises:
        ClusterError: nobody answers within 5 s, or the answer is no public IPv4 address.
    """
    hint = "write your address into the cluster file, e.g. allowed_address: 203.0.113.7/32"
    try:
        with open_address(WHERE) as answer:
            text = answer.read(_MOST_BYTES).decode("ascii", "replace").strip()
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise ClusterError(f"this machine's address cannot be asked ({reason})", WHERE, hint) from None
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise ClusterError(f"expected an IPv4 address, was told {text!r}", WHERE, hint) from None
    if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
        raise ClusterError(f"{address} is no address on the internet", WHERE, hint)
    return f"{address}/32"


def open_address(url: str) -> Any:
    """Open the page that tells the address."""
    return urllib.request.urlopen(url, timeout=_SECONDS)


def with_address(spec: AwsCluster) -> AwsCluster:
    """Return the cluster with this machine's address in place of `auto`.

    Raises:
        ClusterError: it cannot be asked.
    """
    if spec.allowed_address != AUTO:
        return spec
    return spec.model_copy(update={"allowed_address": own_address()})


def covers(network: str, address: str) -> bool:
    """Return whether a network has an address, both as a.b.c.d/n."""
    return ipaddress.IPv4Network(address).subnet_of(ipaddress.IPv4Network(network))
