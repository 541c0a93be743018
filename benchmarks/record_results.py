"""Print what finished runs reached, as the table of docs/results.md.

    python benchmarks/record_results.py runs/cartpole-dqn-CartPole-v1-seed* ...

Reads run directories only (manifest.json, evaluations.jsonl, result.json). The return is that of the last
evaluation, not the best one; the curve shows every evaluation in order.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

_BARS = "▁▂▃▄▅▆▇█"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def curve(values: list[float]) -> str:
    """Draw values as one bar each, from the lowest to the highest."""
    low, high = min(values), max(values)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in values)


def command_of(manifest: dict[str, Any]) -> str:
    """Return the command that started a run, with names instead of the machine's paths."""
    words = list(manifest["command"])
    words[0] = "rlx"
    words[1:] = [f"experiments/{Path(w).name}" if w.endswith(".yaml") else w for w in words[1:]]
    if "--out" in words:
        at = words.index("--out")
        del words[at : at + 2]
    return shlex.join(words)


def row(run: Path) -> str:
    """Return the table row of one run."""
    manifest = json.loads((run / "manifest.json").read_text())
    evaluations = _lines(run / "evaluations.jsonl")
    last_row = _lines(run / "result.json")[-1]
    last = evaluations[-1]
    returns = [evaluation["return_mean"] for evaluation in evaluations]
    cells = [
        manifest["env"],
        manifest["algorithm"],
        str(manifest["seeds"][0]),
        f"{last['return_mean']:.2f} ± {last['return_std']:.2f}",
        str(last["episodes"]),
        f"{last['env_steps']:,}",
        f"{last['updates']:,}",
        f"{last_row['seconds'] / 60:.1f}",
        f"`{curve(returns)}` {min(returns):.4g} to {max(returns):.4g}",
        (manifest["git"] or {}).get("commit", "?")[:10],
        f"`{command_of(manifest)}`",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table of the runs that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    arguments = parser.parse_args()
    head = (
        "env",
        "algorithm",
        "seed",
        "greedy return",
        "episodes",
        "env steps",
        "updates",
        "minutes",
        "evaluations",
        "commit",
        "command",
    )
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for run in arguments.runs:
        print(row(run))


if __name__ == "__main__":
    main()
