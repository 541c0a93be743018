"""Documents and runs for the tests of figures and pages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlx.report.scene import Scene, Shape, Text
from tests.compare.made import add_record, line, make_run

HOSTILE = "a & <b>\"'</script><script>alert(1)</script>"


def two_games(root: Path, name: str = "ours") -> Path:
    """Write two seeds on Breakout and on Pong, evaluated with no-op starts."""
    for env, scores in (("BreakoutNoFrameskip-v4", (120.0, 150.0)), ("PongNoFrameskip-v4", (10.0, 20.0))):
        for seed, score in enumerate(scores):
            run = make_run(root, line(50e6, 7000, score), name=name, env=env, seed=seed)
            add_record(run, 2 * score, 50e6)
    return root


def texts(shapes: Iterable[Shape]) -> list[str]:
    """Return the texts of a scene."""
    return [shape.text for shape in shapes if isinstance(shape, Text)]


def text_at(scene: Scene, text: str) -> tuple[float, float]:
    """Return where the one text of these words is."""
    (found,) = [shape.at for shape in scene.shapes if isinstance(shape, Text) and shape.text == text]
    return found


def estimate(value: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Return an estimate of a document."""
    return {"value": value, "low": low, "high": high}
