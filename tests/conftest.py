"""What several packages of tests share: one small Ray, one thread of torch."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

RAY_CPUS = 4

# The same examples in every run of CI; new ones are drawn on developers' machines.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session", autouse=True)
def _ray_ends_with_the_tests() -> Iterator[None]:
    yield
    import sys

    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.fixture(scope="module")
def ray_started() -> None:
    """Have a small Ray running for the tests of this module.

    Once per module and not per session: a module that starts and ends a Ray of its own leaves none
    behind, and one that RLlib then starts by itself has too few CPUs, so that actors wait for ever.
    """
    import ray
    import torch

    torch.set_num_threads(1)
    if ray.is_initialized():
        if ray.cluster_resources().get("CPU", 0) >= RAY_CPUS:
            return
        ray.shutdown()
    options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 200_000_000}
    for attempt in range(3):
        try:
            ray.init(num_cpus=RAY_CPUS, **options)
            return
        except Exception:
            # Ray gives its processes 30 s to start; on a busy machine that can be too little.
            ray.shutdown()
            if attempt == 2:
                raise
