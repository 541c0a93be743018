"""Benchmarks: speed of the parts and of the whole, each beside what it is held against, in one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["run"]


def run(only: Sequence[str] | None = None, device: str = "cpu", quick: bool = False) -> list[dict[str, Any]]:
    """Measure figures and show them as they come.

    Args:
        only: beginnings of names; None: all of the device.
        device: `cpu`, or `cuda` for the figures of the GPU path.
        quick: shorter turns and smaller sizes. Shows that everything runs; the numbers mean nothing.

    Returns:
        Rows with `name value unit limit ratio floor ok`, see `rlx.bench.figure.Row`.

    Raises:
        RlxError: nothing is named so, or there is no such device.
    """
    from rlx.bench.runner import measure

    return measure(only, device, quick)
