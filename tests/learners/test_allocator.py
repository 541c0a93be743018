"""Freed memory stays with the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from rlx.learners.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)
def allocate():
    torch.ones(48 * 2**20, dtype=torch.uint8)
for _ in range(10):
    allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(argument: str) -> int:
    command = [sys.executable, "-c", PROGRAM, argument]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallopt")
def test_memory_that_was_freed_is_not_faulted_in_again() -> None:
    # 48 MiB are above what glibc ever keeps by itself (32 MiB), so that it maps them anew each time. Pages
    # may be huge (2 MiB), so the comparison is with zero, not with the number of 4 KiB pages.
    assert faults("keep") < 10 < faults("leave")
