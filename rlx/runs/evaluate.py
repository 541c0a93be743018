"""Judge a checkpoint of a run under a named protocol, and keep the scores in its directory."""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlx.envs.spec import EnvSpec, resolve_env
from rlx.evaluation.episodes import mean_interval
from rlx.evaluation.protocols import Protocol, find_protocol, with_protocol
from rlx.experiment.check import SMALL_TORSOS
from rlx.experiment.spec import ExperimentSpec
from rlx.runs import provenance
from rlx.runs.checkpoints import Checkpoint, best_checkpoint, list_checkpoints, newest_directory, verify
from rlx.runs.directory import RunDirectory
from rlx.runs.errors import NoCheckpointError, RunDirectoryError
from rlx.runs.files import write_json_atomic
from rlx.runs.launch import recorded_spec
from rlx.runs.metrics import read_ratings
from rlx.runs.policies import BEST_FOLDER, best_policy, damaged_policies, list_policies, rating

#: Folder of a run directory with one file for each `rlx evaluate`.
FOLDER = "evaluations"

BEST, LAST = "best", "last"


def find_checkpoint(run: Path, which: str = LAST) -> Checkpoint:
    """Find a checkpoint of a run and check its files.

    Args:
        run: the run directory.
        which: `last`, `best` (highest evaluation while it trained), a number, or a name. The best one is the
            policy that was kept for it, which has the network and nothing else of a checkpoint.

    Returns:
        What to load the network from.

    Raises:
        NoCheckpointError: there is no such checkpoint, or it is damaged.
        RunDirectoryError: `best`, and the evaluations cannot be read.
    """
    there = list_checkpoints(run / "checkpoints")
    kept = list_policies(run / BEST_FOLDER)
    names = ", ".join(checkpoint.path.name for checkpoint in (*there, *kept))
    if not there and not kept:
        raise NoCheckpointError("the run has no checkpoint", str(run), "rlx resume writes one when it ends")
    found: Checkpoint | None
    if which == LAST:
        if not there:
            raise NoCheckpointError("the run has no checkpoint", str(run), f"--checkpoint best is {names}")
        found = there[-1]
        newest = newest_directory(run / "checkpoints")
        if newest != found.path:
            raise NoCheckpointError("damaged, and it is the newest one", str(newest), f"others: {names}")
    elif which == BEST:
        damaged = damaged_policies(run / BEST_FOLDER)
        if damaged:
            raise NoCheckpointError(
                "damaged, and it may be the best one", str(damaged[-1]), f"take it away, or name one: {names}"
            )
        found = _best(run, there, kept)
        if found is None:
            raise NoCheckpointError(
                "no evaluation has been made, so no checkpoint is the best", str(run), f"name one: {names}"
            )
    else:
        wanted = {which, f"checkpoint_{which.zfill(6)}"}
        found = next((checkpoint for checkpoint in (*there, *kept) if checkpoint.path.name in wanted), None)
        if found is None:
            raise NoCheckpointError(f"no checkpoint {which!r}", str(run), f"there are: {names}")
    problems = verify(found.path, "learner_group/")
    if problems:
        raise NoCheckpointError(f"damaged: {problems[0]}", str(found.path), f"others: {names}")
    return found


def _best(run: Path, there: list[Checkpoint], kept: list[Checkpoint]) -> Checkpoint | None:
    """Return the kept policy, or a checkpoint with a higher evaluation: not every run has kept one."""
    ratings = read_ratings(run)
    policy, checkpoint = best_policy(kept), best_checkpoint(there, ratings)
    if policy is None or (checkpoint is not None and ratings[checkpoint.row_env_steps] > rating(policy)):
        return checkpoint
    return policy


@dataclass(frozen=True)
class PlaySetup:
    """Who plays, and what: a checkpoint's policy in the run's environment under a protocol.

    Attributes:
        run: the run directory.
        spec: of the run.
        checkpoint: whose policy plays.
        protocol: under which.
        env: the environment as the protocol plays it.
        epsilon: probability of a random action.
    """

    run: Path
    spec: ExperimentSpec
    checkpoint: Checkpoint
    protocol: Protocol
    env: EnvSpec
    epsilon: float

    def load_policy(self) -> Any:
        """Load the checkpoint's acting network, see `rlx.actors.player.load_policy`."""
        from rlx.actors.player import load_policy

        threads = 1 if self.spec.rl_module.torso in SMALL_TORSOS else provenance.cpu_cores()
        return load_policy(self.checkpoint.path, torch_threads=threads)

    def facts(self) -> dict[str, Any]:
        """Return what a record says of it."""
        info = self.checkpoint.info
        return {
            "run": self.run.name,
            "algorithm": self.spec.algorithm,
            "env": self.env.id,
            "checkpoint": self.checkpoint.path.name,
            "env_steps": self.checkpoint.env_steps,
            "env_frames": info.get("env_frames"),
            "updates": info.get("updates"),
            "training_seconds": info.get("seconds"),
            "protocol": self.protocol.name,
            "environment": dataclasses.asdict(self.env),
            "epsilon": self.epsilon,
        }


def play_setup(
    run: Path, *, checkpoint: str = LAST, protocol: str | None = None, epsilon: float | None = None
) -> PlaySetup:
    """Find what is to be played; the policy is not loaded yet.

    Args:
        run: the run directory.
        checkpoint: `last`, `best`, a number or a name.
        protocol: see `rlx.evaluation.protocols`; None for that of the published results.
        epsilon: probability of a random action; None for that of the run's own evaluations.

    Raises:
        RlxError: no such checkpoint or protocol, or a damaged run directory.
    """
    found = find_checkpoint(run, checkpoint)
    spec = recorded_spec(RunDirectory(run))
    env = resolve_env(spec.env if isinstance(spec.env, str) else spec.env[0], spec.environment)
    chosen = find_protocol(protocol, env.family)
    chance = spec.evaluation.epsilon if epsilon is None else epsilon
    return PlaySetup(run, spec, found, chosen, with_protocol(env, chosen), chance)


def evaluate(
    run: Path,
    *,
    checkpoint: str = LAST,
    protocol: str | None = None,
    episodes: int = 100,
    num_envs: int = 16,
    epsilon: float | None = None,
    seed: int = 0,
    on_episode: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Play whole episodes with a checkpoint's policy and record them in the run directory.

    Args:
        run: the run directory.
        checkpoint: `last`, `best`, a number or a name.
        protocol: see `rlx.evaluation.protocols`; None for that of the published results.
        episodes: how many.
        num_envs: how many environments at a time.
        epsilon: probability of a random action; None for that of the run's own evaluations.
        seed: of environments and random actions.
        on_episode: called with the number of episodes so far, whenever one ends.

    Returns:
        The record, as it stands in `<run>/evaluations/`: scores, seeds, protocol, and who played.

    Raises:
        RlxError: no such checkpoint or protocol, or a damaged run directory.
    """
    setup = play_setup(run, checkpoint=checkpoint, protocol=protocol, epsilon=epsilon)
    from rlx.actors.player import play_episodes

    started = time.perf_counter()
    played = play_episodes(
        setup.load_policy(),
        setup.env,
        episodes=episodes,
        num_envs=num_envs,
        epsilon=setup.epsilon,
        seed=seed,
        on_episode=on_episode,
    )
    record = {
        **setup.facts(),
        "seed": seed,
        "num_envs": min(num_envs, episodes),
        **score_facts(played.returns),
        "returns": played.returns.tolist(),
        "lengths": played.lengths.tolist(),
        "seconds": time.perf_counter() - started,
        "created_at": time.time(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
    }
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    played_as = f"{episodes}-episodes-in-{min(num_envs, episodes)}-envs-epsilon-{setup.epsilon:g}-seed-{seed}"
    name = f"{setup.checkpoint.path.name}-{setup.protocol.name}-{played_as}.json"
    write_json_atomic(folder / name, record)
    return {**record, "file": str(folder / name)}


def score_facts(returns: np.ndarray) -> dict[str, Any]:
    """Summarise the returns of whole episodes; the interval is None for a single one."""
    values = [float(value) for value in returns]
    return {
        "episodes": len(values),
        "return_mean": statistics.fmean(values),
        "return_std": statistics.pstdev(values),
        "return_median": statistics.median(values),
        "return_min": min(values),
        "return_max": max(values),
        "return_interval": mean_interval(values, np.random.default_rng(0)) if len(values) > 1 else None,
    }


def read_records(run: Path) -> list[dict[str, Any]]:
    """Return the records of every `rlx evaluate` of a run, oldest first.

    Raises:
        RunDirectoryError: one is damaged.
    """
    records = []
    for file in sorted((run / FOLDER).glob("*.json")):
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            record["return_mean"], record["protocol"], record["checkpoint"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunDirectoryError(
                f"not a record of an evaluation ({type(error).__name__})",
                str(file),
                "delete it, evaluate again",
            ) from None
        records.append(record)
    return sorted(records, key=lambda record: float(record.get("created_at") or 0.0))
