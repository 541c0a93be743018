"""Read files of rows strictly: a damaged line is an error with its number, never a row left out."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlx.compare.budget import Array
from rlx.compare.errors import CompareError

#: What next, where a file is damaged.
RESTORE = "restore the file from a copy, or leave this run out"


class Row(NamedTuple):
    """One row of a file and its line."""

    line: int
    cells: Mapping[str, Any]


class Points(NamedTuple):
    """Columns of a curve, each `[n]`; seconds are NaN where not recorded."""

    env_frames: Array
    seconds: Array
    score: Array


def read_json_rows(file: Path) -> list[Row]:
    """Read a file of one JSON object a line; a last line without its end was being written, and is left out.

    Raises:
        CompareError: a line before it is no JSON object, or the file cannot be read.
    """
    rows = []
    # Not splitlines: text inside of JSON may have other line separators.
    *whole, _being_written = _text(file).split("\n")
    for number, line in enumerate(whole, 1):
        try:
            cells = json.loads(line)
        except ValueError:
            cells = None
        if not isinstance(cells, dict):
            raise CompareError("damaged: no JSON object in this line", f"{file}:{number}", RESTORE)
        rows.append(Row(number, cells))
    return rows


def read_csv_rows(file: Path) -> list[Row]:
    """Read a table with a header; a last line without its end is left out.

    Raises:
        CompareError: it is empty, has a row of another length, or cannot be read.
    """
    text = _text(file)
    whole = text if text.endswith("\n") else text[: text.rfind("\n") + 1]
    reader = csv.reader(io.StringIO(whole))
    header = next(reader, [])
    if not header:
        raise CompareError("damaged: no header line", str(file), RESTORE)
    rows = []
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            what = f"damaged: {len(cells)} cells in a table of {len(header)} columns"
            raise CompareError(what, f"{file}:{reader.line_num}", RESTORE)
        rows.append(Row(reader.line_num, dict(zip(header, cells, strict=True))))
    return rows


def number(row: Row, key: str, file: Path) -> float:
    """Return a cell as a number; NaN where it is empty, null or `nan`.

    Raises:
        CompareError: it is something else.
    """
    value = row.cells.get(key)
    if value is None or value == "":
        return math.nan
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise CompareError(f"{key} is {value!r}, no number", f"{file}:{row.line}", RESTORE) from None
    return found if math.isfinite(found) else math.nan


def required(row: Row, key: str, file: Path) -> float:
    """Return a cell that must have a number.

    Raises:
        CompareError: it is empty, missing, or something else.
    """
    found = number(row, key, file)
    if math.isnan(found):
        raise CompareError(f"damaged: no {key} in this row", f"{file}:{row.line}", RESTORE)
    return found


def points(rows: Sequence[tuple[float, float, float]]) -> Points:
    """Make a curve of rows of frames, seconds and score, in the order of the file.

    Rows without frames or score are left out. Where frames go back, training went on from an earlier
    checkpoint: rows before it with as many frames or more belong to a history that was given up.
    """
    kept: list[tuple[float, float, float]] = []
    for row in rows:
        if math.isnan(row[0]):
            continue
        while kept and kept[-1][0] >= row[0]:
            kept.pop()
        kept.append(row)
    scored = [row for row in kept if not math.isnan(row[2])]
    columns = np.array(scored, dtype=np.float64).reshape(-1, 3).T
    return Points(*columns)


def last_known(rows: Sequence[tuple[float, float, float]], column: int) -> float | None:
    """Return the newest value of a column that is there."""
    return next((row[column] for row in reversed(rows) if not math.isnan(row[column])), None)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CompareError(f"cannot be read ({error})", str(file), RESTORE) from None
