"""The C library's allocator, told to keep the memory of one update for the next."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h: parameters of mallopt.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

LARGEST_KEPT_BYTES = 64 * 2**20
"""Larger blocks (replay rings) are mapped one by one, as before, and go back to the system when freed."""
KEPT_BYTES = 512 * 2**20
"""Freed memory at the end of the heap that is kept before any of it goes back to the system."""


def keep_freed_memory() -> bool:
    """Stop glibc from giving the memory of activations back to the system after each use.

    An update frees and takes the same megabytes again, and each time the system hands out fresh pages and
    fills them with zeros: 1,900 page faults in an update of Ape-X on Pong with 42x42 frames and batch 64.
    Without them it takes 17.4 ms instead of 20.4 (f32, one core), see docs/benchmarks.md.

    Returns:
        Whether it was done; False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    done = mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(done)
