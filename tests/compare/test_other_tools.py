"""Results of RLlib, Tune and others: old and new names of columns, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlx.compare.comparison import compare
from rlx.compare.errors import CompareError, CompareUsageError
from rlx.compare.other_tools import parse_columns, read_csv, read_rllib
from rlx.compare.subject import group
from rlx.compare.subjects import read_subjects
from tests.compare.made import line, make_run

#: Real results of the pinned RLlib; `make_rllib_golden.py` there made them.
REAL = Path(__file__).parents[1] / "golden" / "rllib"


def trial(folder: Path, env: str = "BreakoutNoFrameskip-v4", **params: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "params.json").write_text(json.dumps({"env": env, **params}))
    return folder


def test_the_old_api_s_progress(tmp_path: Path) -> None:
    path = trial(tmp_path / "apex" / "trial_0", seed=4, lr=0.1)
    rows = "timesteps_total,time_total_s,episode_reward_mean\n100,10,nan\n200,20,1.5\n300,30,2.5\n"
    (path / "progress.csv").write_text(rows)
    found = read_rllib(path)
    assert (found.name, found.env, found.game, found.seed) == (
        "apex",
        "BreakoutNoFrameskip-v4",
        "Breakout",
        4,
    )
    (curve,) = found.series
    assert curve.env_frames.tolist() == [800.0, 1200.0], "4 frames a step; nan is no score"
    assert curve.score.tolist() == [1.5, 2.5]
    assert curve.seconds is not None
    assert curve.seconds.tolist() == [20.0, 30.0]
    assert (curve.protocol.score_kind, curve.protocol.sticky_action_probability) == ("training", 0.0)
    assert curve.protocol.start == "unstated"


def test_the_new_api_s_result(tmp_path: Path) -> None:
    path = trial(tmp_path / "new" / "trial_0", env="ALE/Breakout-v5")
    rows = [
        {
            "env_runners": {"episode_return_mean": 1.0 * k, "other": {"x": 1}},
            "num_env_steps_sampled_lifetime": 100 * k,
            "timesteps_total": None,
            "time_total_s": 9.0 * k,
        }
        for k in (1, 2)
    ]
    (path / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_rllib(path)
    assert found.series[0].env_frames.tolist() == [400.0, 800.0]
    assert found.series[0].protocol.sticky_action_probability == 0.25
    plain = trial(tmp_path / "cart" / "trial_0", env="CartPole-v1")
    (plain / "result.json").write_text((path / "result.json").read_text())
    assert read_rllib(plain).series[0].env_frames.tolist() == [100.0, 200.0]
    assert read_rllib(plain).game is None


def test_trials_of_one_folder_are_seeds_of_one_agent(tmp_path: Path) -> None:
    for seed in (0, 1):
        path = trial(tmp_path / "exp" / f"trial_{seed}", seed=seed)
        (path / "progress.csv").write_text("timesteps_total,episode_reward_mean\n100,1\n")
    other = trial(tmp_path / "exp" / "trial_2", seed=0, lr=0.5)
    (other / "progress.csv").write_text("timesteps_total,episode_reward_mean\n100,1\n")
    agents = group(read_subjects([str(tmp_path / "exp")], tmp_path))
    assert {agent.name: len(agent.subjects) for agent in agents} == {"exp": 2, "exp #2": 1}


def test_a_restored_trial_keeps_one_history(tmp_path: Path) -> None:
    path = trial(tmp_path / "exp" / "trial")
    rows = "timesteps_total,episode_reward_mean\n100,1\n200,2\n300,3\n150,7\n250,8\n"
    (path / "progress.csv").write_text(rows)
    curve = read_rllib(path).series[0]
    assert curve.env_frames.tolist() == [400.0, 600.0, 1000.0]
    assert curve.score.tolist() == [1.0, 7.0, 8.0]


def test_what_rllib_s_files_can_lack(tmp_path: Path) -> None:
    path = tmp_path / "bare"
    path.mkdir()
    file = path / "progress.csv"
    file.write_text("timesteps_total,episode_reward_mean\n100,1\n")
    with pytest.raises(CompareUsageError, match="give --game"):
        read_rllib(path)
    assert read_rllib(path, "Breakout").game == "Breakout"
    file.write_text("steps,reward\n100,1\n")
    with pytest.raises(CompareError, match="name them with --columns"):
        read_rllib(path, "Breakout")
    file.write_text("timesteps_total,episode_reward_mean\n100,1\n200\n")
    with pytest.raises(CompareError, match=r"progress\.csv:3: damaged"):
        read_rllib(path, "Breakout")
    file.write_text("timesteps_total,episode_reward_mean\n100,1\n20")
    assert len(read_rllib(path, "Breakout").series[0].score) == 1, "a row that was being written"
    file.write_text("")
    with pytest.raises(CompareError, match="no header"):
        read_rllib(path, "Breakout")
    (path / "params.json").write_text("{")
    file.write_text("timesteps_total,episode_reward_mean\n100,1\n")
    with pytest.raises(CompareError, match=r"params\.json: damaged"):
        read_rllib(path)


def test_a_csv_by_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "theirs.csv"
    file.write_text("t,r,run\n100,1,0\n200,2,0\n100,5,1\n")
    columns = parse_columns("steps=t, score=r,seed=run")
    one, other = read_csv(file, columns, "BreakoutNoFrameskip-v4")
    assert (one.seed, one.series[0].env_frames.tolist()) == (0, [400.0, 800.0])
    assert (other.seed, other.series[0].score.tolist()) == (1, [5.0])
    with pytest.raises(CompareError, match="goes back from 200 to 100: several runs in one table"):
        read_csv(file, parse_columns("frames=t,score=r"), "Breakout")
    file.write_text("t,r\n100,1\n200,2\n")
    (frames,) = read_csv(file, parse_columns("frames=t,score=r"), "Breakout")
    assert frames.series[0].env_frames.tolist() == [100.0, 200.0]
    with pytest.raises(CompareError, match="no column 'rr'"):
        read_csv(file, parse_columns("frames=t,score=rr"), "Breakout")
    with pytest.raises(CompareUsageError, match="give --game"):
        read_csv(file, columns, None)


@pytest.mark.parametrize("text", ["steps", "stepz=a,score=b", "steps=a", "score=b", "steps=,score=b"])
def test_columns_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(CompareUsageError):
        parse_columns(text)


@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_real_results_of_the_pinned_rllib(name: str) -> None:
    """Both files of a trial say the same, and what Tune's own columns say."""
    (path,) = (REAL / name).glob("*_CartPole-v1")
    table, lines = read_rllib(path / "progress.csv"), read_rllib(path / "result.json")
    last = json.loads((path / "result.json").read_text().splitlines()[-1])
    for found in (table, lines, read_rllib(path)):
        assert (found.name, found.env, found.game, found.seed) == (name, "CartPole-v1", None, 7)
        (curve,) = found.series
        assert len(curve.score) == 5
        assert curve.score[-1] == pytest.approx(last["env_runners"]["episode_return_mean"])
        assert curve.env_frames[-1] == last["num_env_steps_sampled_lifetime"]
        assert curve.seconds is not None
        assert curve.seconds[-1] == pytest.approx(last["time_total_s"])
        assert curve.protocol.score_kind == "training"
    assert table.series[0].score.tolist() == lines.series[0].score.tolist()
    assert table.series[0].env_frames.tolist() == lines.series[0].env_frames.tolist()


def test_real_results_beside_a_run(tmp_path: Path) -> None:
    ours = make_run(tmp_path, line(3000, 10, 200), env="CartPole-v1", name="ours")
    document = compare([str(ours), str(REAL / "ppo"), str(REAL / "dqn")], tmp_path, at="1k-steps")
    scores = {row["agent"]: row["score"]["score"] for row in document["scores"]}
    # 200 x 1000 / 3000 and, of RLlib's rows around 1000 steps, the straight line between them.
    assert scores["ours"] == pytest.approx(200 / 3, rel=0.02)
    for name in ("ppo", "dqn"):
        curve = read_rllib(next((REAL / name).glob("*_CartPole-v1"))).series[0]
        expected = np.interp(1000, curve.env_frames, curve.score)
        assert scores[name] == pytest.approx(expected, abs=2)
    assert [(row["agent"], row["other"]) for row in document["improvements"]] == [
        ("ours", "ppo"),
        ("ours", "dqn"),
        ("ppo", "dqn"),
    ]
