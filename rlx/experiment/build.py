"""From a resolved experiment to a running RLlib Algorithm. The one file of this package that imports Ray."""

from __future__ import annotations

import importlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rlx.experiment.spec import ExperimentSpec

#: Experiments of this prefix run RLlib's own algorithm, for comparison.
RLLIB_PREFIX = "rllib/"


def build_config(spec: ExperimentSpec) -> Any:
    """Return the AlgorithmConfig of an experiment with one environment and one seed.

    Raises:
        EnvError: the environment is unknown or unsupported.
    """
    from rlx.algorithms import config_class

    return config_class(spec.algorithm)().from_experiment(spec)


def start_ray(spec: ExperimentSpec) -> None:
    """Start Ray, or join the cluster that RAY_ADDRESS names, unless this process has done so."""
    import ray

    if ray.is_initialized():
        return
    # Ray runs workers at niceness 15, which starves runners beside a busy learner on a small machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    options: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False}
    if not os.environ.get("RAY_ADDRESS"):
        needed = spec.env_runners.num_env_runners + spec.learners.num_learners + 1
        options["num_cpus"] = max(spec.resources.num_cpus or os.cpu_count() or 1, needed)
        options["object_store_memory"] = spec.resources.object_store_memory_bytes
    ray.init(**options)


def _import_actors() -> None:
    importlib.import_module("rlx.actors.env_runner")


def _import_in_workers(spec: ExperimentSpec) -> list[Any]:
    """Have Ray's idle workers import RLlib, one for each runner and learner; return what to wait for.

    An actor that begins in such a worker need not import it any more. Only for a Ray of this machine: on a
    cluster the workers that take these tasks need not be those that the actors begin in.
    """
    import ray

    if os.environ.get("RAY_ADDRESS"):
        return []
    task = ray.remote(num_cpus=0)(_import_actors)
    return [task.remote() for _ in range(spec.env_runners.num_env_runners + spec.learners.num_learners)]


def build_engine(spec: ExperimentSpec, run_dir: Path) -> Any:
    """Build the Algorithm of one run; it has the interface of `rlx.runs.engine.Engine`.

    Args:
        spec: a resolved experiment with one environment and one seed.
        run_dir: where RLlib may log.
    """
    # Ray starts processes and waits for them; meanwhile a thread imports torch and RLlib. Not the other
    # way round: Ray's processes end with the thread that started them.
    with ThreadPoolExecutor(max_workers=1) as pool:
        imported = pool.submit(importlib.import_module, "ray.rllib.algorithms")
        start_ray(spec)
        in_workers = _import_in_workers(spec)
        imported.result()
    if in_workers:
        import ray

        ray.wait(in_workers, num_returns=len(in_workers), timeout=60.0)
    if spec.algorithm.startswith(RLLIB_PREFIX):
        from rlx.algorithms.rllib_dqn import build_rllib_engine

        return build_rllib_engine(spec, run_dir)
    return build_config(spec).build_algo()
