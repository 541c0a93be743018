"""Choose figures, measure them one after the other, and survive those that fail."""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlx.bench.figure import FULL, QUICK, Context, Figure, Row, failed
from rlx.bench.live import LiveView
from rlx.errors import RlxError
from rlx.runs.noise import captured, quiet_libraries

logger = logging.getLogger(__name__)

DEVICES = ("cpu", "cuda")


def all_figures() -> tuple[Figure, ...]:
    """Return every figure, in the order of measurement: those without Ray in this process come first."""
    from rlx.bench import acting, agents, learning, replay, sequence_learning, sequences, startup

    without_ray = (*startup.FIGURES, *acting.FIGURES, *learning.FIGURES, *sequence_learning.FIGURES)
    return (*without_ray, *sequences.FIGURES, *replay.FIGURES, *agents.FIGURES)


def chosen(figures: Sequence[Figure], only: Sequence[str] | None, device: str) -> list[Figure]:
    """Return the figures of a device whose names begin as asked.

    Raises:
        RlxError: a beginning fits none, or the device is unknown.
    """
    if device not in DEVICES:
        raise RlxError(f"{device!r} is unknown", "--device", f"known: {', '.join(DEVICES)}")
    here = [figure for figure in figures if figure.device == device]
    if only is None:
        return here
    for beginning in only:
        if not any(_fits(figure, beginning) for figure in here):
            names = ", ".join(figure.name for figure in here)
            raise RlxError(f"no figure for {device} begins with {beginning!r}", "--only", f"known: {names}")
    return [figure for figure in here if any(_fits(figure, beginning) for beginning in only)]


def _fits(figure: Figure, beginning: str) -> bool:
    return any(name.startswith(beginning) for name in figure.names)


def measure(only: Sequence[str] | None, device: str, quick: bool) -> list[dict[str, Any]]:
    """See `rlx.bench.run`."""
    quiet_libraries()
    # Before torch is loaded: one thread in this process and in those it starts.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    figures = chosen(all_figures(), only, device)
    if device == "cuda" and not torch.cuda.is_available():
        raise RlxError(
            "there is no CUDA device that torch can use",
            "--device",
            "leave it out to measure the CPU figures",
        )
    folder = Path(tempfile.mkdtemp(prefix="rlx-bench-"))
    log_file = folder / "bench.log"
    rows: list[Row] = []
    try:
        with LiveView([figure.name for figure in figures]) as view:
            view.say(f"what libraries print goes to {log_file}")
            with captured(log_file, level="ERROR"):
                for figure in figures:
                    rows += _measure_one(figure, view, device, quick)
    finally:
        _shut_down_ray()
    return [dataclasses.asdict(row) for row in rows]


def _measure_one(figure: Figure, view: LiveView, device: Any, quick: bool) -> list[Row]:
    view.begin(figure.name)
    context = Context(QUICK if quick else FULL, device, view.progress, view.say)
    rows: list[Row] = []
    try:
        rows += figure.measure(context)
    except Exception as error:
        logger.error("%s failed", figure.name, exc_info=error)
        view.say(f"{figure.name} failed: {type(error).__name__}: {error}")
        rows.append(failed(figure.name, figure.floor))
    view.end(rows)
    gc.collect()
    return rows


def _shut_down_ray() -> None:
    import ray

    if ray.is_initialized():
        ray.shutdown()
