"""Keep what libraries print out of the terminal: it goes to the run's train.log."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

#: Set before Ray or torch are imported; what the user has set stays.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_COLOR_PREFIX": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONWARNINGS": "ignore::DeprecationWarning,ignore::FutureWarning",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def quiet_libraries() -> None:
    """Set the environment variables that make Ray and its processes quiet."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def captured(log_file: Path, *, level: str = "WARNING", terminal: bool = True) -> Iterator[None]:
    """Send log records, warnings, and all that is written to stderr or printed, to a file.

    A view that is to be seen must hold the stream it writes to from before.

    Args:
        log_file: appended to.
        level: least level of libraries' records; rlx's own are kept from INFO on.
        terminal: whether stderr (of this process and its children) and `print` go to the file too.
    """
    handler = logging.FileHandler(log_file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, ours = logging.getLogger(), logging.getLogger("rlx")
    before = (root.level, ours.level, logging.raiseExceptions)
    root.addHandler(handler)
    root.setLevel(level)
    ours.setLevel(min(logging.INFO, logging.getLevelName(level)))
    # A full disk must not turn every log line into a traceback.
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    try:
        with contextlib.ExitStack() as stack:
            if terminal:
                stack.enter_context(_redirected(log_file))
            stack.enter_context(warnings.catch_warnings())
            yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.setLevel(before[1])
        logging.raiseExceptions = before[2]
        handler.close()


@contextlib.contextmanager
def _redirected(log_file: Path) -> Iterator[None]:
    """Point file descriptor 2 and `sys.stdout` at a file; also what C++ code and children write."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(log_file, "a", encoding="utf-8", buffering=1) as stream:
        os.dup2(stream.fileno(), 2)
        try:
            with contextlib.redirect_stdout(stream):
                yield
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
