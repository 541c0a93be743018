"""Torch's switches after RLlib has set its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from ray.rllib.utils.torch_utils import set_torch_seed

from rlx.networks.determinism import settle_determinism
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
