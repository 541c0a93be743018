"""What several packages of tests share: one small Ray, one thread of torch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_started() -> Iterator[None]:
    """Start one small Ray for all tests that need it."""
    import ray
    import torch

    torch.set_num_threads(1)
    options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 200_000_000}
    for attempt in range(3):
        try:
            ray.init(num_cpus=4, **options)
            break
        except Exception:
            # Ray gives its processes 30 s to start; on a busy machine that can be too little.
            ray.shutdown()
            if attempt == 2:
                raise
    yield
    ray.shutdown()
