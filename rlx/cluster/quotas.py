"""Limits of an account on virtual CPUs, by family of instance types and by how they are bought."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

Bucket = tuple[str, bool]

#: (family, spot) -> code of the quota in AWS's Service Quotas, service `ec2`.
QUOTAS: Mapping[Bucket, str] = {
    ("standard", False): "L-1216C47A",
    ("standard", True): "L-34B43A08",
    ("G and VT", False): "L-DB2E81BA",
    ("G and VT", True): "L-3819A6DF",
    ("P", False): "L-417A185B",
    ("P", True): "L-7212CCBC",
}
_STANDARD = frozenset({*"acdhimrtz", "im", "is"})


def family(instance_type: str) -> str:
    """Return the family that an instance type counts in; empty for those with a quota of their own."""
    found = re.match(r"[a-z]+", instance_type)
    letters = found.group() if found else ""
    if letters in ("g", "gr", "vt"):
        return "G and VT"
    if letters == "p":
        return "P"
    return "standard" if letters in _STANDARD else ""


def count_vcpus(nodes: list[tuple[str, bool, int, int]]) -> Counter[Bucket]:
    """Add virtual CPUs up.

    Args:
        nodes: (instance type, spot, virtual CPUs of one, how many).
    """
    found: Counter[Bucket] = Counter()
    for instance_type, spot, vcpus, count in nodes:
        if name := family(instance_type):
            found[name, spot] += vcpus * count
    return found
