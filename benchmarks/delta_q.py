"""The stored-state experiment of R2D2: zero and stored states, with a burn-in of 0, 20 and 40.

    python benchmarks/delta_q.py --out runs/delta-q --seeds 0 1

Trains `experiments/r2d2-delta-q.yaml` six times for each seed (runs that are finished are kept), prints the
table of docs/results.md and writes `delta-q.svg` into the folder. Delta-Q at the first and last learned row
of a window is averaged over the second half of training, windows that start at an episode's first row left
out; the score is the mean of the last three evaluations.

Source: [R2D2] section 3.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rlx.report.chart import axes, legend
from rlx.report.scale import exact, linear
from rlx.report.scene import Line, Marker, Scene, Shape, Style
from rlx.report.svg import standalone

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "r2d2-delta-q.yaml"
STRATEGIES = [(state, burn_in) for state in ("zero", "stored") for burn_in in (0, 20, 40)]
METRICS = {"first": "burn_in/delta_q_first", "last": "burn_in/delta_q_last"}
#: One colour a state, one dash and marker a burn-in.
_DASHES: dict[int, tuple[float, ...]] = {0: (2.0, 3.0), 20: (7.0, 3.0), 40: ()}
_MARKERS = {0: "circle", 20: "square", 40: "triangle"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BELOW, ENTRY = 460.0, 230.0, 56.0, 16.0, 12.0, 42.0, 17.0


def train(out: Path, state: str, burn_in: int, seed: int) -> Path:
    """Train one strategy with one seed, unless that is done; return the run's directory."""
    name = f"delta-q-{state}-{burn_in}"
    found = sorted(out.glob(f"{name}-*-seed{seed}"))
    if found and json.loads((found[0] / "manifest.json").read_text()).get("state") == "finished":
        return found[0]
    command = [sys.executable, "-m", "rlx.cli.main", "train", str(EXPERIMENT), "--plain", "--out", str(out)]
    command += ["--seed", str(seed), "--if-exists", "overwrite", "--set", f"name={name}"]
    command += ["--set", f"plugins.burn_in.state={state}", "--set", f"plugins.burn_in.burn_in={burn_in}"]
    subprocess.run(command, check=True)
    return next(iter(sorted(out.glob(f"{name}-*-seed{seed}"))))


def rows_of(run: Path, metric: str) -> list[dict[str, Any]]:
    """Return a run's rows of metrics that have this one: there may have been no window to measure it on."""
    lines = (run / "result.json").read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return [row for row in rows if metric in row]


def summary(run: Path) -> dict[str, float]:
    """Return Delta-Q over the second half of a run, its last evaluations, and its updates."""
    means = {}
    for at, metric in METRICS.items():
        rows = rows_of(run, metric)
        means[at] = float(np.mean([row[metric] for row in rows if row["updates"] >= rows[-1]["updates"] / 2]))
    evaluations = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    return {
        **means,
        "score": float(np.mean([one["return_mean"] for one in evaluations[-3:]])),
        "updates": float(rows[-1]["updates"]),
    }


def table(runs: dict[tuple[str, int], list[Path]]) -> str:
    """Return the Markdown table: means over seeds, and the seeds' own scores."""
    lines = [
        "| state | burn-in | Delta-Q, first learned step | Delta-Q, last learned step | score (seeds) |",
        "|---|---|---|---|---|",
    ]
    for (state, burn_in), paths in runs.items():
        found = [summary(path) for path in paths]
        first, last, score = (np.mean([one[key] for one in found]) for key in ("first", "last", "score"))
        scores = ", ".join(f"{one['score']:.2f}" for one in found)
        lines.append(f"| {state} | {burn_in} | {first:.3f} | {last:.3f} | {score:.2f} ({scores}) |")
    return "\n".join(lines)


def plot(runs: dict[tuple[str, int], list[Path]]) -> Scene:
    """Draw Delta-Q at the last learned row against updates: a line a strategy, mean over seeds, smoothed."""
    curves = {}
    for strategy, paths in runs.items():
        grid, values = np.linspace(0.0, 1.0, 25), []
        for path in paths:
            rows = rows_of(path, METRICS["last"])
            updates = np.array([row["updates"] for row in rows], float)
            values.append(
                np.interp(grid, updates / updates[-1], _smooth([row[METRICS["last"]] for row in rows]))
            )
        curves[strategy] = (grid * updates[-1], np.mean(values, axis=0))
    end = max(float(x[-1]) for x, _ in curves.values())
    across = exact(0.0, end, LEFT, WIDTH - RIGHT)
    upward = linear([0.0, *(float(y.max()) for _, y in curves.values())], TOP + HEIGHT, TOP)
    shapes: list[Shape] = axes(across, upward, "updates", "Delta-Q, last learned step")
    entries = []
    for (state, burn_in), (x, y) in curves.items():
        color = "k1" if state == "zero" else "k0"
        points = tuple((across.place(float(a)), upward.place(float(b))) for a, b in zip(x, y, strict=True))
        shapes.append(Line(points, color, 2, _DASHES[burn_in]))
        shapes += [Marker(points[at], _MARKERS[burn_in], color) for at in range(4, len(points), 5)]
        entries.append(
            (f"{state} state, burn-in {burn_in}", Style(color, _DASHES[burn_in], _MARKERS[burn_in]))
        )
    shapes += legend(entries, TOP + HEIGHT + BELOW)
    height = TOP + HEIGHT + BELOW + ENTRY * len(entries) + 4
    return Scene("delta-q", "Delta-Q at the last learned step", "", WIDTH, height, tuple(shapes))


def _smooth(values: list[float], width: int = 5) -> np.ndarray:
    padded = np.pad(np.asarray(values, float), width // 2, mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def main() -> None:
    """Train what is missing, print the table, write the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/delta-q"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    runs: dict[tuple[str, int], list[Path]] = {}
    for seed in arguments.seeds:
        for strategy in STRATEGIES:
            runs.setdefault(strategy, []).append(train(arguments.out, *strategy, seed))
    print(table(runs))
    (arguments.out / "delta-q.svg").write_text(standalone(plot(runs)), encoding="utf-8")


if __name__ == "__main__":
    main()
