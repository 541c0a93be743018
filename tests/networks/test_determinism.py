"""Torch's switches after RLlib has set its own."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from ray.rllib.env import env_runner
from ray.rllib.utils.debug.deterministic import update_global_seed_if_necessary
from ray.rllib.utils.torch_utils import set_torch_seed

from rlx.networks.determinism import seed_process, settle_determinism, small_seeding
from tests.engines import small_learner

deterministic_module = torch.utils.deterministic


@pytest.fixture
def _switches() -> Iterator[None]:
    fill = deterministic_module.fill_uninitialized_memory
    enabled = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(enabled, warn_only=True)
    deterministic_module.fill_uninitialized_memory = fill


@pytest.mark.usefixtures("_switches")
@pytest.mark.parametrize("deterministic", [True, False])
def test_the_experiment_decides(deterministic: bool) -> None:
    set_torch_seed(1)
    settle_determinism(deterministic)
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert deterministic_module.fill_uninitialized_memory is False


@pytest.mark.usefixtures("_switches")
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_learner_is_built_that_way(deterministic: bool) -> None:
    torch.use_deterministic_algorithms(not deterministic, warn_only=True)
    small_learner({"debugging": {"deterministic": deterministic}}).build()
    assert torch.are_deterministic_algorithms_enabled() == deterministic


@pytest.mark.usefixtures("_switches")
def test_runners_are_seeded_as_rllib_does() -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(1))  # noqa: NPY002

    update_global_seed_if_necessary("torch", 7)
    expected = draws()
    before = env_runner.update_global_seed_if_necessary
    with small_seeding():
        env_runner.update_global_seed_if_necessary(framework="torch", seed=7)
        assert draws() == expected
        env_runner.update_global_seed_if_necessary(framework="torch", seed=None)
        assert draws() != expected
    assert env_runner.update_global_seed_if_necessary is before is not seed_process


def test_a_runner_process_does_without_torch_s_compiler() -> None:
    code = """
import sys
from rlx.actors.env_runner import ReplayEnvRunner
from tests.engines import small_config
ReplayEnvRunner(config=small_config({"env_runners": {"num_env_runners": 1}}), worker_index=1)
print([m for m in ("torch._dynamo", "torch._inductor", "sympy", "torch.onnx") if m in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
