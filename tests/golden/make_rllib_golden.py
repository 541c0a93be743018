"""Make `rllib/`: real results of RLlib's own PPO and DQN, as Tune writes them with the pinned Ray.

    python tests/golden/make_rllib_golden.py

Five iterations each on CartPole-v1, seed 7. Names and values are as they were written. Left out, to keep the
files small and the machine out of them: timers, connectors, learner results, process and host; and of
`config` and `params.json` everything but the keys in `PARAMS`.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ITERATIONS, SEED = 5, 7
OUT = Path(__file__).with_name("rllib")
PARAMS = ("env", "seed", "lr", "gamma", "train_batch_size_per_learner", "num_env_runners")
DROPPED = ("timers", "learners", "fault_tolerance", "env_runner_group", "perf", "node_ip", "hostname", "pid",
           "trial_id", "date", "timestamp")  # fmt: skip


def configs() -> dict[str, Any]:
    """Return the algorithms to train by name: one that learns on what it samples, and one with replay."""
    from ray.rllib.algorithms.dqn import DQNConfig
    from ray.rllib.algorithms.ppo import PPOConfig

    ppo, dqn = PPOConfig(), DQNConfig()
    ppo.training(train_batch_size_per_learner=512, num_epochs=2, minibatch_size=128)
    dqn.reporting(min_sample_timesteps_per_iteration=300, min_time_s_per_iteration=0)
    for config in (ppo, dqn):
        config.environment("CartPole-v1").debugging(seed=SEED)
        config.env_runners(num_env_runners=0).learners(num_learners=0)
    return {"PPO": ppo, "DQN": dqn}


def trial(name: str, config: Any, folder: Path) -> Path:
    """Train through Tune; return the trial's directory."""
    from ray import tune

    stop = {"training_iteration": ITERATIONS}
    run = tune.RunConfig(name=name, storage_path=str(folder), stop=stop, verbose=0)
    return Path(tune.Tuner(name, param_space=config, run_config=run).fit()[0].path)


def trim(source: Path, target: Path) -> None:
    """Copy `progress.csv`, `result.json` and `params.json` without what nobody compares."""
    target.mkdir(parents=True)
    with open(source / "progress.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    kept = [name for name in rows[0] if _kept(name)]
    with open(target / "progress.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, kept, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    results = [json.loads(line) for line in (source / "result.json").read_text().splitlines()]
    (target / "result.json").write_text("".join(json.dumps(_trimmed(row)) + "\n" for row in results))
    params = json.loads((source / "params.json").read_text())
    (target / "params.json").write_text(json.dumps({key: params.get(key) for key in PARAMS}, indent=2) + "\n")


def _kept(name: str) -> bool:
    return name.split("/")[0] not in DROPPED and not any(
        word in name for word in ("timer", "connector", "config/")
    )


def _trimmed(cells: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in cells.items():
        if key == "config":
            found[key] = {name: value.get(name) for name in PARAMS}
        elif _kept(f"{prefix}{key}"):
            found[key] = _trimmed(value, f"{prefix}{key}/") if isinstance(value, Mapping) else value
    return found


def main() -> None:
    """Make both and replace `rllib/`."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    with tempfile.TemporaryDirectory() as folder:
        made = {name: trial(name, config, Path(folder)) for name, config in configs().items()}
        shutil.rmtree(OUT, ignore_errors=True)
        for name, source in made.items():
            trim(source, OUT / name.lower() / f"{name}_CartPole-v1")
    facts = {"by": "tests/golden/make_rllib_golden.py", "ray": ray.__version__, "seed": SEED}
    (OUT / "made.json").write_text(json.dumps(facts) + "\n")
    ray.shutdown()


if __name__ == "__main__":
    main()
