"""Plugins made in the tests train, are counted, saved and restored without a line of the engine changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rlx.envs.toy import register_toy_envs
from rlx.plugins import PluginError, known_plugins, make_plugin, make_plugins, register
from tests.engines import DETERMINISTIC, assert_same, small_config, small_learner, state_of, train_until
from tests.learners.windows import WindowShard, make_windows
from tests.plugins.toys import CountBonus, Predictor

BOTH = {"plugins": {"count_bonus": {"beta": 0.5}, "predictor": {}}}
CHAIN = {"env": "rlx/Chain-v0", "environment": {"max_episode_frames": 50}}


@pytest.fixture(autouse=True)
def toy_envs() -> None:
    register_toy_envs()


@pytest.mark.usefixtures("ray_started")
def test_trains_in_this_process_and_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    def build() -> Any:
        return small_config(BOTH, CHAIN, DETERMINISTIC).build_algo()

    algo = build()
    row = algo.train()["rlx"]
    assert row["updates"] > 20
    assert row["count_bonus/states"] == 5
    assert 0 < row["count_bonus/bonus_mean"] < 1
    assert row["predictor/loss"] > 0
    runner = algo.env_runner_group.local_env_runner.lanes._plugins["count_bonus"]
    learner = algo.learners.local_learner
    assert sum(runner.visits.values()) == algo.progress.env_steps
    assert learner.plugins["count_bonus"].batches == row["updates"]
    algo.save_to_path(tmp_path)
    visits, weights = dict(runner.visits), state_of(algo)
    assert "plugin_modules.predictor.out.weight" in weights
    later_row = algo.train()["rlx"]
    later = state_of(algo)
    algo.stop()

    other = build()
    other.restore(tmp_path)
    assert_same(state_of(other), weights)
    assert other.env_runner_group.local_env_runner.lanes._plugins["count_bonus"].visits == visits
    assert other.learners.local_learner.plugins["count_bonus"].batches == row["updates"]
    assert other.learners.local_learner.plugins["predictor"].updates == row["updates"]
    resumed = other.train()["rlx"]
    assert_same(state_of(other), later)
    assert resumed["count_bonus/bonus_mean"] == later_row["count_bonus/bonus_mean"]
    other.stop()


@pytest.mark.usefixtures("ray_started")
def test_trains_with_a_remote_runner_and_learner(tmp_path: Path) -> None:
    remote = {
        "env_runners": {"num_env_runners": 1},
        "replay": {"num_shards": 1},
        "learners": {"num_learners": 1},
    }
    algo = small_config(BOTH, CHAIN, remote).build_algo()
    rows = train_until(algo, lambda row: row["updates"] >= 20)
    assert rows[-1]["count_bonus/states"] == 5
    assert rows[-1]["count_bonus/bonus_mean"] > 0
    algo.save_to_path(tmp_path)
    algo.stop()
    other = small_config(BOTH, CHAIN).build_algo()
    # Another number of processes: what belongs to the learner is the same.
    other.learner_group.restore_from_path(tmp_path / "learner_group")
    assert other.learners.local_learner.plugins["count_bonus"].batches >= 20
    other.stop()


def test_bonus_reaches_the_returns() -> None:
    with_bonus = small_learner(
        {"plugins": {"count_bonus": {"beta": 2.0}}, "training": {"n_step": 2, "gamma": 0.5}}
    )
    windows = make_windows(np.random.default_rng(0), batch=4, n_step=2)
    windows.columns["count_bonus/bonus"] = np.full((4, 3), 0.25, np.float32)
    windows.columns["acted"][:] = True
    windows.columns["terminated"][:] = False
    windows.in_episode[:] = True
    batch = with_bonus.prepare(with_bonus.staging.stage(windows), windows.size)
    reward = windows["reward"]
    np.testing.assert_allclose(batch["returns"], reward[:, 0] + 0.5 * reward[:, 1] + 0.75, rtol=1e-5)


def test_auxiliary_loss_trains_its_module_in_the_same_step() -> None:
    learner = small_learner({"plugins": {"predictor": {"weight": 3.0}}, "training": {"lr": 5e-2}})
    windows = make_windows(np.random.default_rng(0), batch=16, n_step=1)
    windows.columns["reward"][:, 0] = 2.0 * windows.frames[:, 0, 1]
    learner.connect([WindowShard([windows] * 60)])
    first = learner.learn(1).metrics
    assert first["loss"] > first["predictor/loss"] > 0
    learner.learn(58)
    assert learner.learn(1).metrics["predictor/loss"] < 0.1 * first["predictor/loss"]


def test_runners_hold_the_plugin_s_module() -> None:
    config = small_config({"plugins": ["predictor"]})
    module = config.get_rl_module_spec(spaces=config.module_spaces(), inference_only=True).build()
    assert set(module.plugin_modules) == {"predictor"}


def test_settings_are_checked() -> None:
    with pytest.raises(ValidationError, match="extra"):
        make_plugin("count_bonus", {"betta": 1.0})
    with pytest.raises(PluginError, match="did you mean 'count_bonus'"):
        make_plugin("count_bonuss")
    assert make_plugin("count_bonus").settings.beta == 0.1  # type: ignore[attr-defined]


def test_names_are_unique_and_present() -> None:
    assert known_plugins()["predictor"] is Predictor
    assert register(CountBonus) is CountBonus, "registering again is harmless (a module imported twice)"
    with pytest.raises(PluginError, match="taken"):
        register(type("Other", (CountBonus,), {"name": "count_bonus"}))
    with pytest.raises(PluginError, match="needs a name"):
        register(type("Nameless", (CountBonus,), {"name": ""}))


def test_order_is_that_of_the_experiment() -> None:
    names = [plugin.name for plugin in make_plugins({"predictor": None, "count_bonus": {}}).plugins]
    assert names == ["predictor", "count_bonus"]
