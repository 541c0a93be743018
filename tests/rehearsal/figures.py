"""Seconds that a rehearsal took for its steps, kept for the documents."""

from __future__ import annotations

import json
import os
from pathlib import Path


def record(where: str, what: str, seconds: float) -> None:
    """Print a figure, and add it to the file that RLX_REHEARSAL_FIGURES names, if it does."""
    print(f"{where}: {what}: {seconds:.1f} s")
    if file := os.environ.get("RLX_REHEARSAL_FIGURES"):
        with Path(file).open("a", encoding="utf-8") as written:
            written.write(json.dumps({"where": where, "what": what, "seconds": round(seconds, 1)}) + "\n")
