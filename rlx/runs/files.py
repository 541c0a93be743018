"""Writing files so that a crash or a full disk leaves either the old or the new content."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or what caused it, is a full disk or quota.

    Causes are followed because a remote actor's OSError arrives wrapped (and may have lost its errno).
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return True
        if "No space left on device" in str(error) or "Disk quota exceeded" in str(error):
            return True
        inner = getattr(error, "cause", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
    return False


def fsync_path(path: Path) -> None:
    """Flush a file, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text_atomic(path: Path, text: str) -> None:
    """Replace a file's content in one step; on failure the old content stays and no debris is left."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json_atomic(path: Path, value: Any) -> None:
    """Write a value as indented, strict JSON, in one step."""
    write_text_atomic(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Turn a value into what strict JSON has: NumPy scalars become numbers, NaN and infinities null."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete rows of a JSON-lines file; a torn line (a crash while writing) is skipped."""
    try:
        handle = open(path, encoding="utf-8", errors="replace")  # noqa: SIM115
    except FileNotFoundError:
        return
    with handle:
        for line in handle:
            if not line.endswith("\n"):
                return
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


class AppendFile:
    """Append whole lines to a file; after a failed write the file still ends with a whole line.

    A line that the disk had no room for is kept in memory and written with the next one, in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: list[str] = []
        self._handle = open(path, "ab", buffering=0)  # noqa: SIM115
        self._cut_torn_line()

    @property
    def pending(self) -> int:
        """Lines that are not on the disk yet."""
        return len(self._pending)

    def append(self, line: str) -> bool:
        """Write a line (without its newline). Returns False if the disk is full; the line is kept."""
        self._pending.append(line + "\n")
        return self.flush()

    def flush(self) -> bool:
        """Write what is pending. Returns False if the disk is full; other errors are raised."""
        while self._pending:
            data = self._pending[0].encode()
            offset = os.fstat(self._handle.fileno()).st_size
            try:
                if self._handle.write(data) != len(data):
                    raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
            except OSError as error:
                os.ftruncate(self._handle.fileno(), offset)
                if is_disk_full(error):
                    return False
                raise
            self._pending.pop(0)
        return True

    def close(self) -> None:
        """Write what is pending if there is room, and close."""
        if not self._handle.closed:
            self.flush()
            self._handle.close()

    def _cut_torn_line(self) -> None:
        size = os.fstat(self._handle.fileno()).st_size
        if size == 0:
            return
        with open(self.path, "rb") as reader:
            end = size
            while end > 0:
                start = max(0, end - 65536)
                reader.seek(start)
                newline = reader.read(end - start).rfind(b"\n")
                if newline >= 0:
                    os.ftruncate(self._handle.fileno(), start + newline + 1)
                    return
                end = start
        os.ftruncate(self._handle.fileno(), 0)
