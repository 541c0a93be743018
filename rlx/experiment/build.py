"""From a resolved experiment to a running RLlib Algorithm. The one file of this package that imports Ray."""

from __future__ import annotations

import importlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rlx.experiment.placement import Node
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


def start_ray(spec: ExperimentSpec, *, at_least_cpus: int = 1) -> None:
    """Start Ray, or join the cluster that RAY_ADDRESS names, unless this process has done so.

    Args:
        spec: a resolved experiment.
        at_least_cpus: what Ray is to count, where more engines than this one will share it; an actor that
            finds no CPU free waits for ever.
    """
    import ray

    if ray.is_initialized():
        return
    # Ray runs workers at niceness 15, which starves runners beside a busy learner on a small machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    options: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False}
    if not os.environ.get("RAY_ADDRESS"):
        needed = spec.env_runners.num_env_runners + spec.learners.num_learners + 1
        options["num_cpus"] = max(spec.resources.num_cpus or os.cpu_count() or 1, needed, at_least_cpus)
        options["object_store_memory"] = spec.resources.object_store_memory_bytes
    ray.init(**options)


def cluster_nodes(spec: ExperimentSpec) -> list[Node] | None:
    """Join the cluster that RAY_ADDRESS names, and return its nodes, the head first; None without one.

    Args:
        spec: a resolved experiment.
    """
    if not os.environ.get("RAY_ADDRESS"):
        return None
    start_ray(spec)
    import ray

    from rlx.algorithms.nodes import nodes_of

    return list(nodes_of(ray.nodes()).values())


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
        imported.result()
    if spec.algorithm.startswith(RLLIB_PREFIX):
        from rlx.algorithms.rllib_dqn import build_rllib_engine

        return build_rllib_engine(spec, run_dir)
    return build_config(spec).build_algo()
