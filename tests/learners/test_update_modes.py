"""Every way to run an update gives the same numbers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from rlx.learners.update_modes import GraphedUpdate, make_update
from tests.engines import RAINBOW, merged, small_learner
from tests.learners.windows import WindowShard, make_windows


def run(mode: str, *layers: dict[str, Any], updates: int = 5) -> tuple[Any, Any, Any]:
    learner = small_learner(*layers, {"training": {"update_mode": mode}})
    rng = np.random.default_rng(0)
    n_step = learner.config.rlx.training.n_step
    shard = WindowShard([make_windows(rng, batch=16, n_step=n_step) for _ in range(updates)])
    learner.connect([shard])
    learner.set_env_steps(10)
    torch.manual_seed(4)
    report = learner.learn(updates)
    assert report.updates == updates
    weights = {name: p.detach().numpy().copy() for name, p in learner.q_module.named_parameters()}
    return weights, [priorities for _, priorities in shard.priorities], learner


@pytest.fixture
def compile_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace and differentiate as torch.compile does, without generating C++."""
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **kwargs: original(f, backend="aot_eager", **kwargs))


@pytest.mark.parametrize("algorithm", ["dqn", "rainbow"])
@pytest.mark.parametrize("mode", ["compile", "cuda_graph"])
@pytest.mark.usefixtures("compile_without_a_compiler")
def test_same_as_eager(mode: str, algorithm: str) -> None:
    layers = {"target_update_period_updates": 2}
    chosen = merged(RAINBOW if algorithm == "rainbow" else {}, {"training": layers})
    if mode == "compile" and algorithm == "rainbow":
        # Noise is drawn in another order in a compiled graph.
        chosen = merged(chosen, {"training": {"noisy": False}, "exploration": {"kind": "linear"}})
    weights, priorities, _ = run("eager", chosen)
    found_weights, found_priorities, _ = run(mode, chosen)
    for name, value in weights.items():
        np.testing.assert_allclose(found_weights[name], value, atol=1e-6, err_msg=name)
    for one, other in zip(priorities, found_priorities, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)
    assert len({tuple(p.tolist()) for p in found_priorities}) == 5, "static buffers take each new batch"


def test_graph_mode_keeps_its_buffers() -> None:
    _, _, learner = run("cuda_graph", updates=2)
    update = learner._update_fn
    assert isinstance(update, GraphedUpdate)
    addresses = {name: tensor.data_ptr() for name, tensor in update.static.items()}
    learner.source.shards[0].batches = [make_windows(np.random.default_rng(9), batch=16, n_step=1)]
    learner.learn(1)
    assert {name: tensor.data_ptr() for name, tensor in update.static.items()} == addresses


def test_state_crosses_modes() -> None:
    _, _, eager = run("eager")
    _, _, graphed = run("cuda_graph", updates=1)
    graphed.set_state(copy.deepcopy(eager.get_state()))
    assert graphed.updates == 5


def test_unknown_mode() -> None:
    learner = small_learner()
    with pytest.raises(ValueError, match="known: eager"):
        make_update(learner, "fast")
