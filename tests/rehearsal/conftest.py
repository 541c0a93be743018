"""Rehearsals start everything themselves, as root; where namespaces are not allowed they are skipped."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rehearsal.hosts import why_not

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for one run of a module at a time, outside of what hosts have for themselves."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with open(f"/var/lock/rlx-{request.module.__name__}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # addresses and bridges are fixed
        folder = Path(tempfile.mkdtemp(prefix="rlx-rehearsal-", dir="/var/tmp"))
        folder.chmod(0o755)
        yield folder
        if not os.environ.get("RLX_REHEARSAL_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
