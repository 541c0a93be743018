"""Rows: whole or absent, never lost, and read back as written."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from rlx.runs.metrics import (
    COLUMNS,
    MetricsWriter,
    discard_after,
    read_last_result,
    read_progress,
    read_results,
)


def writer(path: Path) -> MetricsWriter:
    return MetricsWriter(path, tensorboard=False)


def test_rows_come_back_and_late_columns_widen_the_table(tmp_path: Path) -> None:
    metrics = writer(tmp_path)
    metrics.write({"env_steps": 1, "loss": float("nan")})
    metrics.write({"env_steps": 2, "toy/bonus": 0.5})
    metrics.write({"env_steps": 3, "text": 'a,"b"'})
    metrics.close()
    rows = read_progress(tmp_path / "progress.csv")
    assert [row["env_steps"] for row in rows] == ["1", "2", "3"]
    assert [row["toy/bonus"] for row in rows] == ["", "0.5", ""]
    assert rows[2]["text"] == 'a,"b"'
    assert (tmp_path / "progress.csv").read_text().splitlines()[0].split(",")[: len(COLUMNS)] == COLUMNS
    assert read_results(tmp_path)[0] == {"env_steps": 1, "loss": None}
    assert read_last_result(tmp_path) == {"env_steps": 3, "text": 'a,"b"'}


def test_a_torn_last_line_is_skipped_and_the_next_session_begins_on_a_line_of_its_own(tmp_path: Path) -> None:
    metrics = writer(tmp_path)
    metrics.write({"env_steps": 1})
    metrics.write({"env_steps": 2})
    metrics.close()
    for name in ("result.json", "progress.csv"):
        os.truncate(tmp_path / name, (tmp_path / name).stat().st_size - 4)
    assert [row["env_steps"] for row in read_results(tmp_path)] == [1]
    assert len(read_progress(tmp_path / "progress.csv")) == 1
    assert read_last_result(tmp_path) == {"env_steps": 1}
    metrics = writer(tmp_path)
    metrics.write({"env_steps": 3})
    metrics.close()
    assert [row["env_steps"] for row in read_results(tmp_path)] == [1, 3]
    assert [row["env_steps"] for row in read_progress(tmp_path / "progress.csv")] == ["1", "3"]


def test_rows_wait_in_memory_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = writer(tmp_path)
    metrics.write({"env_steps": 1})
    real = metrics._results._handle

    class Full:
        def __init__(self, handle: Any) -> None:
            self.handle = handle

        def write(self, data: bytes) -> int:
            self.handle.write(data[:5])  # a part fits
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.handle, name)

    metrics._results._handle = Full(real)
    assert not metrics.write({"env_steps": 2})
    assert [row["env_steps"] for row in read_results(tmp_path)] == [1]
    assert (tmp_path / "result.json").read_text().endswith("}\n")
    metrics._results._handle = real
    assert metrics.write({"env_steps": 3})
    metrics.close()
    assert [row["env_steps"] for row in read_results(tmp_path)] == [1, 2, 3]


def test_discarded_rows_are_moved_not_lost_also_twice(tmp_path: Path) -> None:
    for session in (1, 2):
        metrics = writer(tmp_path)
        for env_steps in (100, 200, 300) if session == 1 else (200, 300):
            metrics.write({"env_steps": env_steps, "session": session, f"late{session}": 1})
        metrics.close()
        assert discard_after(tmp_path, 100) == 2
    assert [row["env_steps"] for row in read_results(tmp_path)] == [100]
    assert [row["env_steps"] for row in read_progress(tmp_path / "progress.csv")] == ["100"]
    lines = (tmp_path / "result.discarded.json").read_text().splitlines()
    assert [(json.loads(x)["session"], json.loads(x)["env_steps"]) for x in lines] == [
        (1, 200),
        (1, 300),
        (2, 200),
        (2, 300),
    ]
    table = (tmp_path / "progress.discarded.csv").read_text().splitlines()
    assert len(table) == 6  # two headers, because a column came in between
    assert discard_after(tmp_path, 100) == 0


def test_the_last_row_of_a_long_file_is_found_without_reading_it_all(tmp_path: Path) -> None:
    metrics = writer(tmp_path)
    for env_steps in range(300):
        metrics.write({"env_steps": env_steps, "filler": "x" * 1000})
    metrics.close()
    row = read_last_result(tmp_path)
    assert row is not None
    assert row["env_steps"] == 299
    assert read_last_result(tmp_path / "nowhere") is None


def test_tensorboard_gets_every_number_by_env_steps(tmp_path: Path) -> None:
    metrics = MetricsWriter(tmp_path)
    metrics.write({"env_steps": 100, "return_mean": 1.5, "text": "no"})
    metrics.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"rlx/env_steps", "rlx/return_mean"}
    (scalar,) = events.Scalars("rlx/return_mean")
    assert (scalar.step, scalar.value) == (100, 1.5)
