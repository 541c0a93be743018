"""Rows of metrics: written whole or not at all, kept when a run goes back to a checkpoint, and read again."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlx.runs.errors import RunDirectoryError
from rlx.runs.files import AppendFile, is_disk_full, plain, read_json_lines, write_text_atomic

log = logging.getLogger(__name__)

RESULTS, PROGRESS, EVALUATIONS = "result.json", "progress.csv", "evaluations.jsonl"

#: The columns of progress.csv, in order, from the first row on; others are appended when they come.
COLUMNS = (  # noqa: SIM905
    "training_iteration timestamp session seconds env_steps env_frames updates samples episodes "
    "return_mean return_max episode_length_mean env_steps_per_second env_frames_per_second "
    "updates_per_second replay_env_steps replay_capacity replay_fill replay_ratio replay_ratio_target "
    "policy_lag_updates sample_age_env_steps runner_wait_fraction learner_wait_fraction queue_depth loss "
    "q_mean td_error_mean grad_norm epsilon_mean lr healthy_runners restarted_runners lost_env_steps "
    "alive_nodes healthy_shards "
    "checkpoint_blocked_fraction evaluation_return_mean evaluation_return_std evaluation_episodes "
    "time_total_s"
).split()


class MetricsWriter:
    """Append rows to result.json, progress.csv and TensorBoard; every row is flushed.

    Args:
        directory: the run directory.
        tensorboard: whether to write event files (importing tensorboardX costs seconds).
        purge_after_env_steps: tell TensorBoard to hide what older event files have beyond this step.
    """

    def __init__(
        self, directory: Path, *, tensorboard: bool = True, purge_after_env_steps: int | None = None
    ) -> None:
        self._directory = directory
        self._results = AppendFile(directory / RESULTS)
        self._evaluations = AppendFile(directory / EVALUATIONS)
        self._columns = _read_header(directory / PROGRESS)
        self._progress = AppendFile(directory / PROGRESS)
        self._header_due = not self._columns
        self._tensorboard = _open_tensorboard(directory, purge_after_env_steps) if tensorboard else None

    def write(self, row: Mapping[str, Any]) -> bool:
        """Record one row. Returns False if the disk is full; the row is kept and written with the next."""
        clean = plain(row)
        complete = self._results.append(json.dumps(clean, allow_nan=False))
        complete &= self._write_csv(clean)
        self._write_tensorboard(clean, int(clean.get("env_steps") or 0))
        return complete

    def write_evaluation(self, row: Mapping[str, Any]) -> bool:
        """Record one evaluation. Returns False if the disk is full; the row is kept."""
        return self._evaluations.append(json.dumps(plain(row), allow_nan=False))

    def close(self) -> None:
        """Flush and close all files."""
        for file in (self._results, self._progress, self._evaluations):
            file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _write_csv(self, row: Mapping[str, Any]) -> bool:
        new = [key for key in row if key not in self._columns and _is_cell(row[key])]
        if self._header_due:
            self._columns = [*COLUMNS, *(key for key in new if key not in COLUMNS)]
            self._header_due = False
            self._progress.append(_csv_line(self._columns))
        elif new and self._progress.pending == 0:
            self._widen([*self._columns, *new])
        return self._progress.append(_csv_line([_cell(row.get(key)) for key in self._columns]))

    def _widen(self, columns: list[str]) -> None:
        path = self._directory / PROGRESS
        rows = [_csv_line([row.get(key, "") for key in columns]) for row in read_progress(path)]
        try:
            write_text_atomic(path, "\n".join([_csv_line(columns), *rows]) + "\n")
        except OSError as error:
            if not is_disk_full(error):
                raise
            return
        self._progress.close()
        self._progress = AppendFile(path)
        self._columns = columns

    def _write_tensorboard(self, row: Mapping[str, Any], step: int) -> None:
        if self._tensorboard is None:
            return
        try:
            for key, value in row.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    self._tensorboard.add_scalar(f"rlx/{key}", value, step)
            self._tensorboard.flush()
        except Exception as error:
            # TensorBoard is a copy of result.json: losing it must not end a run.
            log.warning("TensorBoard events are no longer written: %s", error)
            self._tensorboard = None


def read_results(directory: Path) -> list[dict[str, Any]]:
    """Return all complete rows of result.json, oldest first."""
    return list(read_json_lines(directory / RESULTS))


def read_evaluations(directory: Path) -> list[dict[str, Any]]:
    """Return all complete rows of evaluations.jsonl, oldest first."""
    return list(read_json_lines(directory / EVALUATIONS))


def read_ratings(directory: Path) -> dict[int, float]:
    """Return the mean return of each evaluation by its env steps; the newest of those at the same steps.

    Raises:
        RunDirectoryError: the file cannot be read, or a row has no score.
    """
    file = directory / EVALUATIONS
    try:
        return {
            int(row.get("env_steps") or 0): float(row["return_mean"]) for row in read_evaluations(directory)
        }
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunDirectoryError(
            f"damaged: a row has no score, or the file cannot be read ({type(error).__name__}: {error})",
            str(file),
            "restore it from a copy, or take it away",
        ) from None


def read_last_result(directory: Path) -> dict[str, Any] | None:
    """Return the newest complete row, reading only the end of the file."""
    try:
        with open(directory / RESULTS, "rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            window = 65536
            while True:
                handle.seek(max(0, size - window))
                lines = handle.read().split(b"\n")
                for line in reversed(lines[1:-1] if window < size else lines[:-1]):
                    try:
                        row = json.loads(line)
                    except ValueError:
                        continue
                    if isinstance(row, dict):
                        return row
                if window >= size:
                    return None
                window *= 8
    except OSError:
        return None


def read_progress(path: Path) -> list[dict[str, str]]:
    """Return the complete rows of a progress.csv; a torn last line is left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]
    return [dict(row) for row in csv.DictReader(io.StringIO(whole)) if None not in row]


def discard_after(directory: Path, env_steps: int) -> int:
    """Move rows with more env steps than a restored checkpoint into `*.discarded.*`.

    First they are added there and only then taken out here, so a crash in between may leave a row in both
    files but never in neither.

    Returns:
        How many rows of result.json were moved.
    """
    moved = 0
    for name in (RESULTS, EVALUATIONS):
        path = directory / name
        rows = list(read_json_lines(path))
        late = [row for row in rows if (row.get("env_steps") or 0) > env_steps]
        if late:
            _append_lines(_discarded(path), [json.dumps(row) for row in late])
            kept = [json.dumps(row) + "\n" for row in rows if (row.get("env_steps") or 0) <= env_steps]
            write_text_atomic(path, "".join(kept))
            moved += len(late) if name == RESULTS else 0
    _discard_progress(directory / PROGRESS, env_steps)
    return moved


def _discard_progress(path: Path, env_steps: int) -> None:
    rows = read_progress(path)
    columns = _read_header(path)
    late = [row for row in rows if _number(row.get("env_steps")) > env_steps]
    if not late:
        return
    target = _discarded(path)
    header = _read_header(target)
    lines = [_csv_line([row.get(key, "") for key in columns]) for row in late]
    # A table with its own header line follows when the columns have changed since the last time.
    _append_lines(target, lines if header == columns else [_csv_line(columns), *lines])
    kept = [row for row in rows if _number(row.get("env_steps")) <= env_steps]
    body = [_csv_line([row.get(key, "") for key in columns]) for row in kept]
    write_text_atomic(path, "\n".join([_csv_line(columns), *body]) + "\n")


def _discarded(path: Path) -> Path:
    return path.with_name(f"{path.stem}.discarded{path.suffix}")


def _append_lines(path: Path, lines: Sequence[str]) -> None:
    with open(path, "a", encoding="utf-8") as handle:
        handle.writelines(line + "\n" for line in lines)
        handle.flush()
        os.fsync(handle.fileno())


def _read_header(path: Path) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            line = handle.readline()
    except FileNotFoundError:
        return []
    return next(csv.reader([line])) if line.endswith("\n") else []


def _is_cell(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _cell(value: Any) -> Any:
    return "" if value is None or not _is_cell(value) else value


def _csv_line(cells: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


def _number(text: str | None) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _open_tensorboard(directory: Path, purge_after: int | None) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        log.warning("no TensorBoard events: %s", error)
        return None
    purge = None if purge_after is None else purge_after + 1
    return SummaryWriter(logdir=str(directory), purge_step=purge, flush_secs=30)
