"""What the measurements of `benchmarks/scaling.py` say: rates, linearity, the limit, the table. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Share of linear below which scaling has ended.
LINEAR = 0.95
#: Share of a core, or of all, from which on it counts as used up.
FULL = 0.9


@dataclass(frozen=True)
class Step:
    """What was measured with one number of runners.

    Attributes:
        runners: processes.
        steps_per_second, least_steps_per_second: over all windows, and in the slowest of them.
        healthy_begin, healthy_end: runners in service.
        cpu_fraction: of all cores of the machine, that something used.
        driver_cores, shard_cores, runner_cores, ray_cores: cores that the driver, the busiest shard, all
            runners, and Ray's own processes used.
        runner_bytes: private memory of a runner process, mean.
        job_bytes: of driver and shards.
        memory_used_bytes: of the machine.
        start_seconds: from handing it in until all runners were in.
    """

    runners: int
    steps_per_second: float
    least_steps_per_second: float
    healthy_begin: int
    healthy_end: int
    cpu_fraction: float
    driver_cores: float
    shard_cores: float
    runner_cores: float
    ray_cores: float
    runner_bytes: float
    job_bytes: float
    memory_used_bytes: float
    start_seconds: float


@dataclass(frozen=True)
class Limit:
    """Where scaling ended.

    Attributes:
        runners: first number that was not reached.
        cause: a sentence.
    """

    runners: int
    cause: str


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return dy / dx of points by least squares.

    Raises:
        ValueError: fewer than two different x.
    """
    if len({x for x, _ in points}) < 2:
        raise ValueError(f"a rate needs rows at two times, there are {len(points)} rows")
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def windows_of(
    points: Sequence[tuple[float, float]], begin: float, length: float, count: int
) -> list[list[tuple[float, float]]]:
    """Cut points into windows of time, one after the other; neighbours share a point at their border."""
    edges = [(begin + index * length, begin + (index + 1) * length) for index in range(count)]
    return [[point for point in points if low <= point[0] <= high] for low, high in edges]


def linearity(steps: Sequence[Step]) -> list[float]:
    """Return each rate as a share of the first one's times the runners."""
    each = steps[0].steps_per_second / steps[0].runners if steps else 0.0
    return [step.steps_per_second / (each * step.runners) for step in steps]


def fits(
    runners: int, runner_bytes: float, job_bytes: float, available_bytes: float, reserve_bytes: float
) -> Limit | None:
    """Return the limit if so many runners would not find memory, None if they would."""
    needed = runners * runner_bytes + job_bytes
    room = available_bytes - reserve_bytes
    if needed <= room:
        return None
    return Limit(
        runners,
        f"memory: {runners} runners of {_mib(runner_bytes)} and {_mib(job_bytes)} for driver and shards need "
        f"{needed / 2**30:.1f} GiB, and {max(room, 0) / 2**30:.1f} GiB are free "
        f"beyond a reserve of {reserve_bytes / 2**30:.1f} GiB",
    )


def limit_of(steps: Sequence[Step], cores: int) -> Limit | None:
    """Return the first number of runners that was not linear, and what was used up there."""
    for step, share in zip(steps, linearity(steps), strict=True):
        if step.healthy_end < step.runners:
            return Limit(
                step.runners,
                f"{step.runners - step.healthy_end} of {step.runners} runners went out of service",
            )
        if share < LINEAR:
            return Limit(step.runners, _cause(step, cores))
    return None


def _cause(step: Step, cores: int) -> str:
    if step.driver_cores >= FULL:
        return f"the driver: it uses {step.driver_cores:.2f} cores, and it has one thread"
    if step.shard_cores >= FULL:
        return f"a replay shard: it uses {step.shard_cores:.2f} cores, and it has one thread"
    if step.cpu_fraction >= FULL:
        ours = step.driver_cores + step.shard_cores + step.runner_cores + step.ray_cores
        return (
            f"the processors: {step.cpu_fraction:.0%} of {cores} cores are used, {step.runner_cores:.2f} by "
            f"runners, {step.driver_cores:.2f} by the driver, {step.ray_cores:.2f} by Ray's own processes, "
            f"{max(0.0, step.cpu_fraction * cores - ours):.2f} by what is not of this cluster"
        )
    return (
        f"not found: the driver uses {step.driver_cores:.2f} cores, the busiest shard "
        f"{step.shard_cores:.2f}, and {step.cpu_fraction:.0%} of all are used"
    )


def table(steps: Sequence[Step]) -> str:
    """Return the Markdown table."""
    lines = [
        "| runners | env steps/s | lowest window | of linear | CPU used | driver, cores "
        "| runner, ms CPU a step | Ray, cores | MiB a runner | memory used | start, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for step, share in zip(steps, linearity(steps), strict=True):
        cells = (
            str(step.runners),
            f"{step.steps_per_second:.1f}",
            f"{min(step.least_steps_per_second, step.steps_per_second):.1f}",
            f"{share:.1%}",
            f"{step.cpu_fraction:.0%}",
            f"{step.driver_cores:.2f}",
            f"{1e3 * step.runner_cores / step.steps_per_second:.2f}",
            f"{step.ray_cores:.2f}",
            f"{step.runner_bytes / 2**20:.0f}",
            f"{step.memory_used_bytes / 2**30:.1f} GiB",
            f"{step.start_seconds:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(about: Mapping[str, Any], steps: Sequence[Step], limit: Limit | None) -> str:
    """Return command, machine, table and limit as Markdown."""
    head = (
        f"`{about['command']}` at `{about['commit']}`, seed {about['seed']}, on {about['machine']} that "
        f"{about['hosts']} hosts share; load {about['load']:.1f} before the start. A step of a runner takes "
        f"{1e3 * about['latency']:g} ms. Rows in a block: {about['rollout']}; lanes of a runner: "
        f"{about['lanes']}; replay shards: {about['shards']}; windows: {about['windows']} of "
        f"{about['seconds']:g} s."
    )
    lines = [_wrapped(head), ""]
    if not steps:
        return "\n".join([*lines, f"Nothing was measured: {limit.cause if limit else 'it was interrupted'}."])
    reached = [
        step.runners
        for step, share in zip(steps, linearity(steps), strict=True)
        if share >= LINEAR and (limit is None or step.runners < limit.runners)
    ]
    end = f"**Limit** at {limit.runners} runners: {limit.cause}." if limit else "No limit was met."
    share = f"{LINEAR:.0%}"
    said = f"At least {share} of linear up to {max(reached, default=0)} runners. {end}"
    lines += [table(steps), "", _wrapped(said)]
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _mib(count: float) -> str:
    return f"{count / 2**20:.0f} MiB"
