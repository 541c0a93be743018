"""Short forms of the learning results: the shipped CartPole experiments reach a floor soon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rlx.experiment.build import build_engine
from rlx.experiment.load import load_experiment

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
FLOOR = 195.0

pytestmark = [pytest.mark.learning, pytest.mark.timeout(900), pytest.mark.usefixtures("ray_started")]


@pytest.mark.parametrize(
    ("name", "most_env_steps"), [("dqn", 40_000), ("rainbow", 40_000), ("apex", 100_000)]
)
def test_cartpole(name: str, most_env_steps: int, tmp_path: Path) -> None:
    experiment = load_experiment(
        EXPERIMENTS / f"cartpole-{name}.yaml", overrides=["reporting.interval_seconds=2"]
    )
    algo = build_engine(experiment.runs()[0].spec, tmp_path)
    started, best, row = time.monotonic(), 0.0, {"env_steps": 0}
    while best < FLOOR and row["env_steps"] < most_env_steps:
        row = algo.train()["rlx"]
        if row.get("return_mean", 0.0) > 40:
            found = algo.evaluate_policy(episodes=10, epsilon=0.0, seed=1_000_000)
            best = max(best, sum(found["returns"]) / len(found["returns"]))
    print(f"{name}: {best} after {row['env_steps']} env steps, {time.monotonic() - started:.0f} s")
    algo.stop()
    assert best >= FLOOR
