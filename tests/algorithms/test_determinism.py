"""Local deterministic mode: equal runs agree bit for bit, also across a checkpoint and a new process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engines import APEX_LOCAL, DETERMINISTIC, R2D2_LOCAL, RAINBOW, assert_same, small_config, state_of

pytestmark = pytest.mark.usefixtures("ray_started")

ALGORITHMS: dict[str, dict[str, Any]] = {
    "dqn": {},
    "rainbow": RAINBOW,
    "apex_dqn": {**APEX_LOCAL, "env_runners": {**APEX_LOCAL["env_runners"], "num_env_runners": 0}},
    # Checkpoints fall into the middle of sequences: 1,000 rows of lanes whose windows start every 3.
    "r2d2": R2D2_LOCAL,
    "burn_in over dqn": {
        "plugins": {"burn_in": {**R2D2_LOCAL["plugins"]["burn_in"], "state": "zero", "rescale": "off"}}
    },
}


def build(name: str, seed: int = 3) -> Any:
    return small_config(ALGORITHMS[name], DETERMINISTIC, seed=seed).build_algo()


def whole_state(algo: Any) -> dict[str, Any]:
    """Weights, optimiser, replay, and where the lanes are."""
    state: dict[str, Any] = state_of(algo)
    state |= {f"replay/{k}": v for k, v in algo.shards.shards[0].get_state().items() if k != "column:_stream"}
    # Stream ids are drawn anew by every runner that starts; a restored one takes over the stored.
    state.pop("replay/stream_ids")
    return state


@pytest.mark.parametrize("name", ALGORITHMS)
def test_resumed_learning_equals_uninterrupted(name: str, tmp_path: Path) -> None:
    whole = build(name)
    whole.train()
    middle = state_of(whole)
    row = whole.train()["rlx"]
    expected, updates = whole_state(whole), whole.progress.updates
    whole.stop()

    first = build(name)
    first.train()
    assert_same(state_of(first), middle)
    job = first.begin_checkpoint(tmp_path)
    job.wait()
    assert job.info["env_steps"] == first.progress.env_steps
    # What it does after the checkpoint is lost, and must not matter.
    first.train()
    first.stop()

    second = build(name, seed=3)
    second.restore(tmp_path)
    assert_same(state_of(second), middle)
    resumed = second.train()["rlx"]
    assert second.progress.updates == updates > 2 * 20
    assert_same(whole_state(second), expected)
    second.shards.shards[0].check_valid()
    second.stop()
    for key in ("env_steps", "updates", "samples", "episodes", "return_mean", "loss", "replay_ratio"):
        assert row[key] == resumed[key], key


def test_seeds_matter() -> None:
    one, other = build("dqn", seed=3), build("dqn", seed=4)
    for algo in (one, other):
        algo.train()
        algo.stop()
    with pytest.raises(AssertionError):
        assert_same(state_of(one), state_of(other))


def test_restore_refuses_an_algorithm_that_has_trained(tmp_path: Path) -> None:
    algo = build("dqn")
    algo.train()
    algo.save_to_path(tmp_path)
    with pytest.raises(RuntimeError, match="fresh"):
        algo.restore(tmp_path)
    algo.stop()
