"""Read the data files: rows of text, and numbers of which some are missing."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from functools import cache
from pathlib import Path

from rlx.reference.errors import ReferenceDataError

DATA = Path(__file__).parent / "data"

Row = dict[str, str]


def read_table(name: str) -> list[Row]:
    """Read a `.csv` or `.csv.gz` of the package.

    Raises:
        ReferenceDataError: the file is missing or damaged.
    """
    path = DATA / name
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ReferenceDataError(f"cannot be read: {error}", str(path), "install rlx again") from error
    return list(csv.DictReader(io.StringIO(text, newline="")))


@cache
def cached_table(name: str) -> tuple[Row, ...]:
    """Read a small table once; its rows are not to be changed."""
    return tuple(read_table(name))


def number(cell: str) -> float | None:
    """Return a cell as a number; None when it is empty, which is never 0."""
    return float(cell) if cell.strip() else None


def whole(cell: str) -> int | None:
    """Return a cell as a whole number; None when it is empty."""
    return int(cell) if cell.strip() else None
