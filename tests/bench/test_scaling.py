"""The pure parts of benchmarks/scaling.py: rates, linearity, limits, the table, the document."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scaling
from benchmarks.scaling_report import (
    Limit,
    Step,
    fits,
    limit_of,
    linearity,
    report,
    slope,
    table,
    windows_of,
)
from rlx.experiment.load import load_text
from rlx.experiment.reference import write_between

ROOT = Path(__file__).resolve().parents[2]
ABOUT = {
    "command": "python -m benchmarks.scaling", "commit": "abc", "seed": 0, "machine": "2 cores", "hosts": 4,
    "load": 0.1, "latency": 0.1, "rollout": 16, "lanes": 1, "shards": 1, "windows": 3, "seconds": 20.0,
}  # fmt: skip


def step(runners: int, rate: float, **other: Any) -> Step:
    values: dict[str, Any] = {
        "least_steps_per_second": rate - 1, "healthy_begin": runners, "healthy_end": runners,
        "cpu_fraction": 0.5, "driver_cores": 0.2, "shard_cores": 0.1, "runner_cores": 0.001 * rate,
        "ray_cores": 0.1, "runner_bytes": 280 * 2**20, "job_bytes": 0, "memory_used_bytes": 5 * 2**30,
        "start_seconds": 20.0,
    }  # fmt: skip
    return Step(runners=runners, steps_per_second=rate, **{**values, **other})


def test_a_slope_is_not_misled_by_whole_blocks() -> None:
    assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == pytest.approx(2.0)
    # 10 steps a second that come in blocks of 16: the ends alone say 9.6 (192 steps in 20 s).
    rows = [(t / 2, 16 * int(t / 2 * 10 // 16)) for t in range(41)]
    assert slope(rows) == pytest.approx(10.0, rel=0.01)
    with pytest.raises(ValueError, match="rows at two times"):
        slope([(1.0, 2.0), (1.0, 3.0)])


def test_windows_follow_each_other() -> None:
    points = [(float(t), float(t)) for t in range(10)]
    first, second = windows_of(points, 2.0, 3.0, 2)
    assert [x for x, _ in first] == [2, 3, 4, 5]
    assert [x for x, _ in second] == [5, 6, 7, 8]


def test_linear_is_the_first_rate_times_the_runners() -> None:
    assert linearity([step(2, 20), step(4, 38), step(8, 80)]) == pytest.approx([1.0, 0.95, 1.0])
    assert linearity([]) == []


def test_a_count_that_would_not_find_memory_is_not_tried() -> None:
    gib = 2**30
    assert fits(10, 0.25 * gib, 1 * gib, 5 * gib, 1.5 * gib) is None
    limit = fits(11, 0.25 * gib, 1 * gib, 5 * gib, 1.5 * gib)
    assert limit is not None
    assert limit.runners == 11
    assert "11 runners of 256 MiB and 1024 MiB for driver and shards need 3.8 GiB" in limit.cause
    assert "3.5 GiB are free beyond a reserve of 1.5 GiB" in limit.cause


@pytest.mark.parametrize(
    ("used", "cause"),
    [
        ({"driver_cores": 0.95}, "the driver: it uses 0.95 cores"),
        ({"shard_cores": 0.99}, "a replay shard: it uses 0.99 cores"),
        ({"cpu_fraction": 0.97}, "the processors: 97% of 2 cores are used, 0.30 by runners"),
        ({}, "not found: the driver uses 0.20 cores"),
    ],
)
def test_the_limit_is_what_was_used_up(used: dict[str, float], cause: str) -> None:
    limit = limit_of([step(1, 10), step(16, 152), step(32, 300, **used), step(64, 320)], cores=2)
    assert limit is not None
    assert limit.runners == 32
    assert limit.cause.startswith(cause)


def test_what_is_not_of_the_cluster_is_told() -> None:
    limit = limit_of([step(1, 10), step(8, 40, cpu_fraction=1.0)], cores=2)
    assert limit is not None
    assert "1.56 by what is not of this cluster" in limit.cause


def test_runners_that_went_are_a_limit() -> None:
    limit = limit_of([step(1, 10), step(4, 40, healthy_end=3)], cores=2)
    assert limit == Limit(4, "1 of 4 runners went out of service")
    assert limit_of([step(1, 10), step(4, 40)], cores=2) is None


def test_the_table() -> None:
    row = table([step(1, 10), step(4, 39.6)]).splitlines()[-1]
    assert row == "| 4 | 39.6 | 38.6 | 99.0% | 50% | 0.20 | 1.00 | 0.10 | 280 | 5.0 GiB | 20 |"
    lengths = {line.count("|") for line in table([step(1, 10)]).splitlines()}
    assert len(lengths) == 1


def test_the_report_names_what_was_reached() -> None:
    steps = [step(1, 10), step(2, 20), step(4, 30)]
    limit = limit_of(steps, cores=2)
    text = report(ABOUT, steps, limit).replace("\n", " ")
    assert "`python -m benchmarks.scaling` at `abc`, seed 0, on 2 cores that 4 hosts share" in text
    assert "At least 95% of linear up to 2 runners. **Limit** at 4 runners: not found" in text
    assert "up to 2 runners. No limit was met." in report(ABOUT, steps[:2], None)
    assert "Nothing was measured: memory" in report(ABOUT, [], Limit(1, "memory"))


def test_lines_become_a_document(tmp_path: Path) -> None:
    file = tmp_path / "scaling.jsonl"
    lines: list[dict[str, Any]] = [{"about": ABOUT}, {"step": asdict(step(1, 10))}, {"limit": None}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = scaling.read(file)
    assert text == report(ABOUT, [step(1, 10)], None)
    document = (ROOT / "docs/benchmarks.md").read_text()
    written = write_between(document, scaling.BEGIN, scaling.END, text)
    assert text in written
    assert written.partition(scaling.BEGIN)[0] == document.partition(scaling.BEGIN)[0]


def test_the_experiment_is_one() -> None:
    text = scaling.EXPERIMENT.format(runners=64, latency=0.1, lanes=1, rollout=16, shards=2)
    spec = load_text(text, "scaling.yaml").spec
    assert spec.env_runners.num_env_runners == 64
    assert spec.environment.env_config == {"latency_seconds": 0.1, "length": 100}


def test_processes_are_told_apart() -> None:
    assert scaling.part_of(["ray::ReplayEnvRunner.collect"]) == "runner"
    assert scaling.part_of(["ray::ReplayShardActor.add"]) == "shard"
    assert scaling.part_of(["ray::IDLE"]) == "idle"
    assert scaling.part_of(["/env/bin/python", "/env/bin/rlx", "train", "scaling.yaml"]) == "driver"
    assert scaling.part_of(["/bin/sh", "-c", "exec /env/bin/rlx train scaling.yaml"]) == "ray"
    assert scaling.part_of([]) == "ray"


def test_the_command_that_is_recorded_does_not_tell_where_files_went() -> None:
    words = ["--hosts", "2", "--out", "/somewhere/x.jsonl", "--write=docs/x.md", "--seconds", "5"]
    assert scaling._without_files(words) == ["--hosts", "2", "--seconds", "5"]


def test_counts_of_runners_rise() -> None:
    assert scaling.parsed(["--runners", "1,3"]).runners == [1, 3]
    for wrong in ("2,1", "0,1", "1,1"):
        with pytest.raises(argparse.ArgumentTypeError, match="rising"):
            scaling.counts(wrong)
