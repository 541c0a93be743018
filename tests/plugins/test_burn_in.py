"""The plugin burn_in: what its settings ask of the engine, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlx.experiment.load import load_text
from rlx.experiment.problems import ExperimentError
from rlx.experiment.resolve import deviations, from_mapping
from rlx.plugins import make_plugin, make_plugins
from rlx.plugins.burn_in import BurnIn, BurnInSettings
from rlx.runs.preflight import preflight
from tests.engines import R2D2_LOCAL, SMALL, merged, small_config

DOCS = Path(__file__).resolve().parents[2] / "docs" / "r2d2.md"


def made(**settings: Any) -> BurnIn:
    plugin = make_plugin("burn_in", settings)
    assert isinstance(plugin, BurnIn)
    return plugin


def test_the_paper_s_windows() -> None:
    # 40 burnt in, 80 learned, 5 for the last targets; starts 40 apart; the state 40 rows before the first
    # learned.
    sequences = made().sequences(5)
    assert (sequences.length, sequences.period, sequences.prefix) == (125, 40, 40)
    assert sequences.state_offsets == (-40,)


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({"burn_in": 4, "period": 10, "unroll": 10}, [6, 16, 26]),
        ({"burn_in": 0, "period": 10, "unroll": 10}, [0, 10, 20]),
        ({"burn_in": 4, "period": 10, "unroll": 10, "state": "zero"}, []),
        # The first and the last learned row as well: 0 and 9 behind each start.
        ({"burn_in": 4, "period": 10, "unroll": 10, "state": "zero", "measure_delta_q": True},
         [0, 6, 9, 10, 16, 19, 20, 26, 29]),
    ],
)  # fmt: skip
def test_which_states_are_stored(settings: dict[str, Any], rows: list[int]) -> None:
    wanted = made(**settings).state_rows(np.arange(30))
    assert np.flatnonzero(wanted).tolist() == rows


@pytest.mark.parametrize(("given", "expected"), [("on", True), ("off", False), (False, False)])
def test_switches_have_words(given: Any, expected: bool) -> None:
    assert made(rescale=given).settings.rescale is expected


def test_what_the_engine_makes_of_it() -> None:
    config = small_config(R2D2_LOCAL)
    shard = config.shard_config(0)
    assert (shard.window.length, shard.window.period, shard.window.prefix) == (12, 3, 4)
    assert shard.rescale_epsilon == 1e-3
    assert shard.sparse_columns["stored_state"] == ("float32", (2, 8))
    assert {"previous_action", "previous_reward"} <= shard.extra_columns.keys()
    assert config.get_default_learner_class().__name__ == "SequenceQLearner"
    assert config.network_config().lstm_size == 8
    plain = small_config()
    assert plain.get_default_learner_class().__name__ == "QLearner"
    assert plain.shard_config(0).sparse_columns == {}
    assert not plain.recurrent


@pytest.mark.parametrize("algorithm", ["dqn", "apex_dqn"])
def test_it_composes_with_the_other_presets(algorithm: str) -> None:
    replay = {"replay": {"capacity": 100_000}}
    spec = from_mapping(merged(SMALL, replay, {"algorithm": algorithm, "plugins": R2D2_LOCAL["plugins"]}))
    assert make_plugins(spec.plugins).only("sequences", 3).length == 4 + 6 + 3


def test_the_preset_s_plugin_is_switched_off_by_false() -> None:
    spec = from_mapping(merged(SMALL, R2D2_LOCAL, {"plugins": {"burn_in": False}}))
    assert spec.plugins == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training: {distributional: true, reward_clip: null}", "set training.distributional to false"),
        ("plugins: {burn_in: {period: 90}}", "set period to at most 80"),
        ("training: {reward_clip: 1.0}", "set training.reward_clip to null, or rescale to off"),
        ("plugins: {burn_in: {state: saved}}", "'stored' or 'zero'"),
        ("plugins: {burn_in: {burnin: 20}}", "burnin"),
        (
            "replay: {num_shards: 0, capacity: 200}\ntraining: {learning_starts_env_steps: 100}",
            "windows of 125 rows need 252",
        ),
        ("plugins: {burn_in: false}", "count single steps, but have R2D2's values"),
        (
            "learners: {num_learners: 2, num_gpus_per_learner: 0}\n"
            "training: {learning_starts_env_steps: 64}\n"
            "env_runners: {num_env_runners: 1}\nreplay: {num_shards: 1, capacity: 100000}",
            "at least 125",
        ),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_starts(change: str, message: str) -> None:
    text = "name: a\nalgorithm: r2d2\nenv: CartPole-v1\nstop: {env_steps: 100000}\nrl_module: {torso: mlp}\n"
    usual = {
        "env_runners": "{num_env_runners: 0}",
        "learners": "{num_learners: 0, num_gpus_per_learner: 0}",
        "replay": "{num_shards: 0, capacity: 100000}",
    }
    text += "".join(f"{key}: {value}\n" for key, value in usual.items() if f"{key}:" not in change) + change
    with pytest.raises(ExperimentError) as caught:
        preflight(load_text(text, "a.yaml"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("plugins", "expected"),
    [
        ({"burn_in": False}, ["plugins.burn_in.burn_in"]),
        (["burn_in"], []),
        (
            {"burn_in": {"rescale": "off", "burn_in": 20}},
            ["plugins.burn_in.burn_in", "plugins.burn_in.rescale"],
        ),
        ({"burn_in": {"rescale": "on"}}, []),
    ],
)
def test_deviations_of_its_settings(plugins: Any, expected: list[str]) -> None:
    values = {"algorithm": "r2d2", "env": "x", "stop": {"updates": 1}, "plugins": plugins}
    found = [one.path for one in deviations(from_mapping(values)) if one.path.startswith("plugins")]
    assert sorted(found) == expected


def test_every_setting_is_in_the_docs() -> None:
    text = DOCS.read_text()
    assert [name for name in BurnInSettings.model_fields if f"| `{name}` |" not in text] == []
