"""Reading runs: what they hold, what belongs together, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlx.compare.errors import CompareError, CompareUsageError
from rlx.compare.rlx_run import EVALUATED, read_rlx_run
from rlx.compare.subject import group
from rlx.compare.subjects import read_subjects
from rlx.reference.errors import UnknownGameError
from rlx.runs.directory import RunDirectory
from rlx.runs.errors import RunDirectoryError, RunNotFoundError
from rlx.runs.loop import train
from rlx.runs.view import NullView
from tests.compare.made import add_record, line, make_run
from tests.runs.fake_engine import FakeEngine, make_spec

BREAKOUT = "BreakoutNoFrameskip-v4"


def test_a_run_is_read_whole(tmp_path: Path) -> None:
    points = [(400.0, 1.0, None), (800.0, 2.0, 3.0), (1200.0, 4.0, 5.0)]
    run = make_run(tmp_path, points, seed=3, evaluations=[(800.0, 7.0)])
    add_record(run, 9.0, 1200.0)
    subject = read_rlx_run(run)
    assert (subject.game, subject.env, subject.seed, subject.frames_per_step) == ("Breakout", BREAKOUT, 3, 4)
    assert (subject.env_frames, subject.seconds, subject.state) == (1200.0, 4.0, "finished")
    assert subject.hardware.endswith("no GPU") or "GPU(s)" in subject.hardware
    played, evaluated, training = subject.series
    assert training.env_frames.tolist() == [800.0, 1200.0], "a row without a finished episode is no score"
    assert training.score.tolist() == [3.0, 5.0]
    assert training.protocol.score_kind == "training"
    assert (evaluated.source, evaluated.score.tolist()) == (EVALUATED, [7.0])
    assert evaluated.seconds is not None
    assert evaluated.seconds.tolist() == [2.0], "the clock of the row of the same iteration"
    assert played.source == "rlx evaluate --protocol noop30"
    assert played.protocol.start == "noop"
    assert (played.protocol.noop_max, played.protocol.sticky_action_probability) == (30, 0.0)
    assert (played.score.tolist(), played.env_frames.tolist()) == ([9.0], [1200.0])


def test_what_the_training_loop_leaves_is_read(tmp_path: Path) -> None:
    path = tmp_path / "looped"
    spec = make_spec(evaluation={"at_end": True})
    train(spec, RunDirectory(path), lambda spec, run: FakeEngine(), NullView(), tensorboard=False)
    subject = read_rlx_run(path)
    evaluated, training = subject.series
    # FakeEngine: 4 frames a step, return_mean is steps / 10 from 200 steps on, evaluations return steps + k.
    assert training.env_frames.tolist() == [800.0, 1200.0, 1600.0, 2000.0]
    assert training.score.tolist() == [20.0, 30.0, 40.0, 50.0]
    assert (evaluated.env_frames.tolist(), evaluated.score.tolist()) == ([2000.0], [501.0])
    assert evaluated.seconds is not None
    assert evaluated.seconds[0] == subject.seconds
    assert (subject.name, subject.state, subject.game, subject.frames_per_step) == (
        "fake",
        "finished",
        None,
        1,
    )


def test_an_id_decides_the_protocol(tmp_path: Path) -> None:
    sticky = read_rlx_run(make_run(tmp_path, line(4000, 10, 5), env="ALE/Breakout-v5")).series[-1].protocol
    assert (sticky.start, sticky.noop_max, sticky.sticky_action_probability) == ("none", None, 0.25)
    plain = read_rlx_run(make_run(tmp_path, line(4000, 10, 5), env="CartPole-v1"))
    assert (plain.game, plain.frames_per_step) == (None, 1)
    minatar = read_rlx_run(make_run(tmp_path, line(4000, 10, 5), env="MinAtar/Breakout-v1"))
    assert minatar.game is None, "MinAtar's games are not Atari's"


@pytest.mark.parametrize("newest", [10, 100])
def test_of_one_checkpoint_the_longest_evaluation_is_taken(tmp_path: Path, newest: int) -> None:
    run = make_run(tmp_path, line(4000, 10, 5))
    add_record(run, 1.0, 4000.0, episodes=100, created_at=float(newest == 100))
    add_record(run, 2.0, 4000.0, episodes=10, created_at=float(newest == 10))
    assert read_rlx_run(run).series[0].score.tolist() == [1.0]


def test_seeds_of_an_experiment_are_one_agent(tmp_path: Path) -> None:
    for seed in (1, 0):
        make_run(tmp_path, line(4000, 10, 5), seed=seed)
    make_run(tmp_path, line(4000, 10, 5), env="PongNoFrameskip-v4")
    make_run(tmp_path, line(4000, 10, 5), name="other")
    agents = group(read_subjects([str(tmp_path)], tmp_path))
    assert [agent.name for agent in agents] == ["other", "ours"] or [a.name for a in agents] == [
        "ours",
        "other",
    ]
    ours = next(agent for agent in agents if agent.name == "ours")
    assert {env: [run.seed for run in runs] for env, runs in ours.runs.items()} == {
        BREAKOUT: [0, 1],
        "PongNoFrameskip-v4": [0],
    }


def test_other_settings_under_the_same_name_are_another_agent(tmp_path: Path) -> None:
    make_run(tmp_path / "a", line(4000, 10, 5))
    make_run(tmp_path / "b", line(4000, 10, 5), seed=1, training={"lr": 0.5})
    make_run(tmp_path / "c", line(4000, 10, 5), seed=2, stop={"env_steps": 9})
    agents = group(read_subjects([str(tmp_path)], tmp_path))
    assert {agent.name: [run.seed for run in agent.subjects] for agent in agents} == {
        "ours": [0, 2],
        "ours #2": [1],
    }


def test_a_run_counts_once(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(4000, 10, 5))
    with pytest.raises(CompareError, match=r"the same seed \(0\)"):
        group(read_subjects([str(run), run.name], tmp_path))


def test_a_damaged_line_is_an_error_with_its_number(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(4000, 10, 5, rows=4))
    lines = (run / "result.json").read_text().splitlines(keepends=True)
    (run / "result.json").write_text("".join([lines[0], '{"env_fr\n', *lines[2:]]))
    with pytest.raises(CompareError, match=r"result\.json:2: damaged"):
        read_rlx_run(run)
    (run / "result.json").write_text("".join(lines) + '{"env_fr')
    assert len(read_rlx_run(run).series[-1].score) == 4, "a line that was being written is no damage"
    (run / "result.json").write_text('{"env_frames": "many", "seconds": 1, "return_mean": 2}\n')
    with pytest.raises(CompareError, match="env_frames is 'many', no number"):
        read_rlx_run(run)


def test_damaged_manifests_and_records(tmp_path: Path) -> None:
    run = make_run(tmp_path, line(4000, 10, 5))
    record = add_record(run, 1.0, 4000.0)
    record.write_text("{")
    with pytest.raises(RunDirectoryError, match="not a record"):
        read_rlx_run(run)
    add_record(run, 1.0, 4000.0, environment={})
    with pytest.raises(CompareError, match="a record of rlx evaluate"):
        read_rlx_run(run)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "spec": None}))
    with pytest.raises(CompareError, match="damaged manifest"):
        read_rlx_run(run)
    (run / "manifest.json").write_text("{")
    with pytest.raises(RunDirectoryError, match="damaged manifest"):
        read_rlx_run(run)


def test_what_is_not_there(tmp_path: Path) -> None:
    make_run(tmp_path, line(4000, 10, 5))
    with pytest.raises(RunNotFoundError, match="did you mean ours"):
        read_subjects(["our-BreakoutNoFrameskip-v4-seed0"], tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CompareError, match="neither a run"):
        read_subjects([str(tmp_path / "empty")], tmp_path)
    (tmp_path / "table.csv").write_text("a\n1\n")
    with pytest.raises(CompareUsageError, match="which columns"):
        read_subjects([str(tmp_path / "table.csv")], tmp_path)
    with pytest.raises(UnknownGameError, match="did you mean 'Breakout'"):
        read_subjects([str(tmp_path / "table.csv")], tmp_path, game="Braekout")


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    subject = read_rlx_run(make_run(tmp_path, line(4000, 10, 5), state="stopped"))
    assert subject.notes == ("the run is not finished: stopped",)
