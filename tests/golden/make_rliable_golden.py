"""Record what rliable computes, for the tests of rlx/evaluation/statistics.py to compare with.

rliable needs pandas, arch and seaborn, which do not belong into rlx's own environment, so the arrays are
recorded once (seaborn only draws and is left out):

    python3 -m venv /tmp/rliable-venv
    /tmp/rliable-venv/bin/pip install absl-py numpy "pandas<3" scipy "arch<8"
    /tmp/rliable-venv/bin/pip install --no-deps rliable==1.2.0
    /tmp/rliable-venv/bin/python tests/golden/make_rliable_golden.py

It writes rliable.npz and, beside it, rliable.json with the versions used. rliable resamples from numpy's
global generator, so that is seeded as well. Inputs are stored with the outputs.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rliable import library, metrics

HERE = Path(__file__).parent
RESAMPLES = 20_000
METRICS = {
    "mean": metrics.aggregate_mean,
    "median": metrics.aggregate_median,
    "interquartile_mean": metrics.aggregate_iqm,
    "optimality_gap": metrics.aggregate_optimality_gap,
}


def scores(rng: np.random.Generator, runs: int, games: int) -> np.ndarray:
    """Draw human-normalised scores that spread as Atari's do: from below 0 to far above 1."""
    level = rng.normal(0.0, 1.5, games)
    return np.exp(level + rng.normal(0.0, 0.3, (runs, games))) - 0.2


def intervals(x: np.ndarray, func) -> np.ndarray:
    """Return `[2, statistics]`: the ends of 95% percentile intervals."""
    np.random.seed(7)  # noqa: NPY002 (the generator that rliable reads)
    return library.get_interval_estimates({"x": x}, func, reps=RESAMPLES)[1]["x"]


def main() -> None:
    """Record one group of arrays per matrix."""
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for name, runs, games in (("atari", 5, 57), ("small", 3, 7), ("two", 2, 26)):
        x = scores(rng, runs, games)
        taus = np.array([-0.1, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
        found[f"{name}/scores"] = x
        found[f"{name}/points"] = np.array([metric(x) for metric in METRICS.values()])
        found[f"{name}/intervals"] = intervals(
            x, lambda s: np.array([metric(s) for metric in METRICS.values()])
        )
        found[f"{name}/thresholds"] = taus
        found[f"{name}/profile"] = library.score_distributions(x, taus)
        found[f"{name}/bands"] = intervals(x, lambda s, taus=taus: library.score_distributions(s, taus))
    # Whole numbers, so that many scores tie; one game is equal throughout.
    x, y = rng.integers(0, 5, (4, 9)).astype(float), rng.integers(0, 4, (6, 9)).astype(float)
    x[:, 0] = y[:, 0] = 2.0
    found["improvement/x"], found["improvement/y"] = x, y
    found["improvement/point"] = np.array(metrics.probability_of_improvement(x, y))
    np.random.seed(7)  # noqa: NPY002
    both = library.get_interval_estimates(
        {"x,y": (x, y)}, lambda a, b: np.array([metrics.probability_of_improvement(a, b)]), reps=2000
    )
    found["improvement/interval"] = both[1]["x,y"][:, 0]
    np.savez_compressed(HERE / "rliable.npz", **found)
    packages = {name: version(name) for name in ("rliable", "arch", "numpy", "scipy")}
    about = {
        "producer": "tests/golden/make_rliable_golden.py",
        "metrics": list(METRICS),
        "resamples": RESAMPLES,
        "python": platform.python_version(),
        "versions": packages,
    }
    (HERE / "rliable.json").write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
