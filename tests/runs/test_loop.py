"""The loop with a fake engine: stops, resumes, fails, and never loses what was recorded."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from rlx.runs.checkpoints import list_checkpoints
from rlx.runs.directory import RunDirectory, read_manifest
from rlx.runs.errors import NonFiniteLossError, RunExistsError, RunLockedError, RunSpecChangedError
from rlx.runs.evaluate import find_checkpoint
from rlx.runs.loop import RunResult, train
from rlx.runs.metrics import read_evaluations, read_progress, read_results
from rlx.runs.policies import list_policies
from tests.runs.fake_engine import FakeEngine, RecordingView, make_spec


def run(
    path: Path, spec: Any = None, engine: FakeEngine | None = None, if_exists: str = "fail", **options: Any
) -> tuple[RunResult, FakeEngine, RecordingView]:
    engine = engine or FakeEngine()
    view = RecordingView()
    result = train(
        spec or make_spec(),
        RunDirectory(path),
        lambda spec, run_dir: engine,
        view,
        if_exists=if_exists,
        tensorboard=False,
        **options,
    )
    return result, engine, view


def steps(path: Path) -> list[int]:
    return [row["env_steps"] for row in read_results(path)]


def test_a_run_goes_to_its_stop_condition_and_records_every_row(tmp_path: Path) -> None:
    result, engine, view = run(tmp_path / "run")
    assert (result.state, result.reason) == ("finished", "env_steps >= 500")
    assert steps(tmp_path / "run") == [100, 200, 300, 400, 500]
    assert [int(row["env_steps"]) for row in read_progress(tmp_path / "run" / "progress.csv")] == steps(
        tmp_path / "run"
    )
    assert [row["training_iteration"] for row in view.rows] == [1, 2, 3, 4, 5]
    assert engine.stopped
    assert view.finished
    # NaN before the first episode is null, so that every JSON reader takes the file.
    first = json.loads((tmp_path / "run" / "result.json").read_text().splitlines()[0])
    assert first["return_mean"] is None
    manifest = read_manifest(tmp_path / "run")
    assert manifest["state"] == "finished"
    assert [entry["state"] for entry in manifest["state_history"]] == ["created", "running", "finished"]
    assert manifest["sessions"][0]["seconds_to_first_env_step"] > 0


@pytest.mark.parametrize(
    ("stop", "rows"),
    [
        ({"env_frames": 1200}, 3),
        ({"updates": 20}, 2),
        ({"return_mean": 40.0}, 4),
        ({"env_steps": 1000, "updates": 30}, 3),
    ],
)
def test_the_first_condition_reached_stops(tmp_path: Path, stop: dict[str, float], rows: int) -> None:
    run(tmp_path / "run", make_spec(stop=stop))
    assert len(steps(tmp_path / "run")) == rows


def test_seconds_count_over_sessions(tmp_path: Path) -> None:
    path = tmp_path / "run"
    now = [0.0]
    spec = make_spec(stop={"seconds": 35.0})

    def engine() -> FakeEngine:
        made = FakeEngine()
        made.hooks = dict.fromkeys(range(1, 9), lambda: now.__setitem__(0, now[0] + 10.0))
        return made

    first = engine()
    first.hooks[2] = lambda: (now.__setitem__(0, now[0] + 10.0), os.kill(os.getpid(), signal.SIGTERM))
    result, _, _ = run(path, spec, first, clock=lambda: now[0])
    assert result.state == "stopped"
    assert result.row["seconds"] == pytest.approx(20.0)
    now[0] = 1e6
    result, second, _ = run(path, spec, engine(), "resume", clock=lambda: now[0])
    assert result.state == "finished"
    assert second.iterations == 2
    assert [row["seconds"] for row in read_results(path)] == pytest.approx([10.0, 20.0, 30.0, 40.0])


def test_checkpoints_come_at_multiples_of_the_interval_and_at_the_end(tmp_path: Path) -> None:
    _, _, view = run(tmp_path / "run", make_spec(checkpointing={"keep_last": 9}))
    found = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert [checkpoint.env_steps for checkpoint in found] == [200, 400, 500]
    assert view.checkpoints == ["checkpoint_000001", "checkpoint_000002", "checkpoint_000003"]
    assert read_manifest(tmp_path / "run")["sessions"][0]["restarted_episodes_on_resume"] == 1


def test_evaluations_are_recorded_with_every_return(tmp_path: Path) -> None:
    spec = make_spec(evaluation={"interval_env_steps": 200, "at_end": True, "epsilon": 0.01})
    result, engine, _ = run(tmp_path / "run", spec)
    found = read_evaluations(tmp_path / "run")
    assert [row["env_steps"] for row in found] == [200, 400, 500]
    assert found[-1]["returns"] == [500.0, 501.0, 502.0]
    assert result.evaluation is not None
    assert result.evaluation["return_mean"] == 501.0
    assert len({seed for _, _, seed in engine.evaluations}) == 3
    rows = read_results(tmp_path / "run")
    assert [row.get("evaluation_return_mean") for row in rows] == [None, 201.0, None, 401.0, 501.0]


def test_an_evaluation_can_stop_a_run_and_new_episodes_are_played_at_the_end(tmp_path: Path) -> None:
    spec = make_spec(
        stop={"evaluation_return_mean": 300.0, "env_steps": 1000},
        evaluation={"interval_env_steps": 200, "at_end": True},
    )
    result, engine, _ = run(tmp_path / "run", spec)
    assert result.reason == "evaluation_return_mean >= 300"
    assert [row["env_steps"] for row in read_evaluations(tmp_path / "run")] == [200, 400, 400]
    assert len({seed for _, _, seed in engine.evaluations}) == 3
    assert read_results(tmp_path / "run")[-1]["env_steps"] == 400
    again, engine, _ = run(tmp_path / "run", spec, FakeEngine(), "resume")
    assert again.state == "finished"
    assert engine.iterations == 0


def best(path: Path) -> dict[int, float]:
    return {kept.env_steps: kept.info["return_mean"] for kept in list_policies(path / "best")}


#: An evaluation every 100 steps, a checkpoint every 200.
SECTIONS: dict[str, Any] = {
    "evaluation": {"interval_env_steps": 100, "at_end": True},
    "checkpointing": {"interval_env_steps": 200, "keep_last": 1},
}


def test_the_network_of_the_best_evaluation_is_kept_and_never_resumed_from(tmp_path: Path) -> None:
    path = tmp_path / "run"
    engine = FakeEngine()
    engine.scores = {100: 3.0, 200: 9.0, 300: 50.0, 400: 7.0, 500: 8.0}
    engine.hooks[5] = lambda: os.kill(os.getpid(), signal.SIGINT)
    run(path, make_spec(**SECTIONS), engine)
    assert [one.env_steps for one in list_checkpoints(path / "checkpoints")] == [200, 500], "none at 300"
    # The mean of 50, 51 and 52; when it was kept, a crash would have gone back to 200.
    assert best(path) == {200: 10.0, 300: 51.0}
    assert find_checkpoint(path, "best").env_steps == 300
    _, again, _ = run(path, make_spec(**{**SECTIONS, "stop": {"env_steps": 600}}), if_exists="resume")
    assert again.restored_from is not None
    assert again.restored_from.name.startswith("checkpoint_")
    assert best(path) == {600: 601.0}


def test_going_back_to_a_checkpoint_goes_back_to_its_best_policy(tmp_path: Path) -> None:
    path = tmp_path / "run"
    engine = FakeEngine()
    engine.hooks[4] = lambda: 1 / 0
    run(path, make_spec(**SECTIONS), engine)
    assert best(path) == {200: 201.0, 300: 301.0}
    again = FakeEngine()
    again.scores = dict.fromkeys((300, 400, 500), 0.0)
    run(path, make_spec(**SECTIONS), again, "resume")
    assert best(path) == {200: 201.0}
    assert [row["return_mean"] for row in read_evaluations(path)] == [101.0, 201.0, 1.0, 1.0, 1.0]


def test_a_policy_that_cannot_be_kept_costs_a_warning(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.on_save_policy = lambda directory: 1 / 0
    result, _, view = run(tmp_path / "run", make_spec(evaluation={"at_end": True}), engine)
    assert (result.state, result.evaluation is not None) == ("finished", True)
    (warning,) = view.warnings()
    assert warning == "the best policy was not kept: ZeroDivisionError: division by zero; training goes on"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_gives_an_evaluation_up(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "run"
    engine = FakeEngine()

    def in_the_second() -> None:
        if len(engine.evaluations) == 2:
            os.kill(os.getpid(), number)

    engine.on_evaluate = in_the_second
    result, _, view = run(path, make_spec(**SECTIONS), engine)
    assert (result.state, result.reason, result.interrupted) == (
        "stopped",
        f"stopped by {number.name}",
        False,
    )
    assert [row["env_steps"] for row in read_evaluations(path)] == [100], "nothing of the second is recorded"
    assert [row.get("evaluation_return_mean") for row in read_results(path)] == [101.0, None]
    assert steps(path) == [100, 200], "its row once"
    assert best(path) == {100: 101.0}
    assert list_checkpoints(path / "checkpoints")[-1].env_steps == 200
    said = f"evaluation given up after 0 of 3 episodes ({number.name}): nothing of it is recorded"
    assert ("info", said) in view.events


def test_the_evaluation_at_the_end_can_be_given_up_too(tmp_path: Path) -> None:
    path = tmp_path / "run"
    engine = FakeEngine()
    engine.on_evaluate = lambda: os.kill(os.getpid(), signal.SIGINT)
    result, _, view = run(path, make_spec(evaluation={"at_end": True}), engine)
    assert (result.state, result.reason) == ("stopped", "env_steps >= 500")
    assert read_evaluations(path) == []
    assert steps(path) == [100, 200, 300, 400, 500]
    assert list_checkpoints(path / "checkpoints")[-1].env_steps == 500
    assert any(f"rlx evaluate {path} makes one" in text for _, text in view.events)


def test_a_stop_during_a_checkpoint_records_its_row_once(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.on_write = lambda directory: os.kill(os.getpid(), signal.SIGTERM) if engine.env_steps == 200 else 0
    result, _, _ = run(tmp_path / "run", make_spec(checkpointing={"at_end": False}), engine)
    assert result.state == "stopped"
    assert steps(tmp_path / "run") == [100, 200]


def test_ctrl_c_finishes_the_iteration_checkpoints_and_stops(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.hooks[3] = lambda: os.kill(os.getpid(), signal.SIGINT)
    before = signal.getsignal(signal.SIGINT)
    result, _, _ = run(tmp_path / "run", engine=engine)
    assert (result.state, result.reason) == ("stopped", "stopped by SIGINT")
    assert steps(tmp_path / "run") == [100, 200, 300]
    assert list_checkpoints(tmp_path / "run" / "checkpoints")[-1].env_steps == 300
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_stops_at_once_with_the_last_checkpoint(tmp_path: Path) -> None:
    engine = FakeEngine()

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second signal must interrupt")

    engine.hooks[4] = twice
    result, _, _ = run(tmp_path / "run", engine=engine)
    assert result.state == "stopped"
    assert result.interrupted
    assert "checkpoint_000001" in result.reason
    assert engine.stopped
    assert steps(tmp_path / "run") == [100, 200, 300]


def test_a_second_ctrl_c_during_the_last_checkpoint_leaves_no_debris(tmp_path: Path) -> None:
    engine = FakeEngine(job_polls=10**6)
    engine.hooks[3] = lambda: os.kill(os.getpid(), signal.SIGINT)
    spec = make_spec(checkpointing={"interval_env_steps": None})
    engine.on_write = lambda directory: os.kill(os.getpid(), signal.SIGINT)
    result, _, _ = run(tmp_path / "run", spec, engine)
    assert result.interrupted
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    assert steps(tmp_path / "run") == [100, 200, 300]


def test_resume_goes_back_to_the_checkpoint_and_keeps_the_later_rows_aside(tmp_path: Path) -> None:
    path = tmp_path / "run"
    engine = FakeEngine()

    def boom() -> None:
        raise RuntimeError("the learner is gone")

    engine.hooks[4] = boom
    result, _, _ = run(path, engine=engine)
    assert result.state == "failed"
    assert steps(path) == [100, 200, 300]
    result, again, view = run(path, if_exists="resume")
    assert again.restored_from is not None
    assert again.restored_from.name == "checkpoint_000001"
    assert result.state == "finished"
    assert steps(path) == [100, 200, 300, 400, 500]
    assert [row["session"] for row in read_results(path)] == [1, 1, 2, 2, 2]
    discarded = [json.loads(line) for line in (path / "result.discarded.json").read_text().splitlines()]
    assert [(row["env_steps"], row["session"]) for row in discarded] == [(300, 1)]
    assert [row["env_steps"] for row in read_progress(path / "progress.discarded.csv")] == ["300"]
    assert any("resumed from checkpoint_000001 at 200" in text for _, text in view.events)
    manifest = read_manifest(path)
    assert "error" not in manifest
    assert [entry["state"] for entry in manifest["state_history"]][-4:] == [
        "running",
        "failed",
        "running",
        "finished",
    ]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    _, whole, _ = run(tmp_path / "whole", make_spec(stop={"env_steps": 1000}))
    engine = FakeEngine()
    engine.hooks[6] = lambda: os.kill(os.getpid(), signal.SIGTERM)
    run(tmp_path / "cut", make_spec(stop={"env_steps": 1000}), engine)
    _, resumed, _ = run(tmp_path / "cut", make_spec(stop={"env_steps": 1000}), if_exists="resume")
    assert resumed.iterations == 4
    assert resumed.weights == whole.weights
    assert steps(tmp_path / "cut") == steps(tmp_path / "whole")


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run(path)
    newest = list_checkpoints(path / "checkpoints")[-1].path
    content = (newest / "replay" / "rows.bin").read_bytes()
    (newest / "replay" / "rows.bin").write_bytes(content[:-1] + b"?")
    spec = make_spec(stop={"env_steps": 700})
    _, engine, view = run(path, spec, if_exists="resume")
    assert engine.restored_from is not None
    assert engine.restored_from.name == "checkpoint_000002"
    assert any(newest.name in text and "rows.bin has changed content" in text for text in view.warnings())


def test_when_every_checkpoint_is_damaged_nothing_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run(path)
    for checkpoint in list_checkpoints(path / "checkpoints"):
        (checkpoint.path / "DIGEST.json").write_text("{")
    before = steps(path)
    result, engine, _ = run(path, make_spec(stop={"env_steps": 700}), if_exists="resume")
    assert result.state == "failed"
    assert "every checkpoint is damaged" in result.reason
    assert engine.iterations == 0
    assert steps(path) == before


def test_resume_without_a_checkpoint_begins_again_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run"
    engine = FakeEngine()
    engine.hooks[2] = lambda: 1 / 0
    run(path, engine=engine)
    _, _, view = run(path, if_exists="resume")
    assert steps(path) == [100, 200, 300, 400, 500]
    assert any("begins again at step 0" in text for text in view.warnings())
    assert len((path / "result.discarded.json").read_text().splitlines()) == 1


def test_a_finished_run_resumed_with_nothing_to_do_builds_no_engine(tmp_path: Path) -> None:
    run(tmp_path / "run")
    before = steps(tmp_path / "run")
    result, engine, _ = run(tmp_path / "run", if_exists="resume")
    assert result.state == "finished"
    assert "already" in result.reason
    assert engine.iterations == 0
    assert steps(tmp_path / "run") == before


def test_a_non_finite_loss_fails_and_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    engine = FakeEngine()

    def nan() -> None:
        raise NonFiniteLossError("the loss is NaN", "update 31", "lower training.lr")

    engine.hooks[4] = nan
    result, _, _ = run(tmp_path / "run", engine=engine)
    assert result.state == "failed"
    assert result.reason == "the loss is NaN; the last good checkpoint is checkpoint_000001"
    assert list_checkpoints(tmp_path / "run" / "checkpoints")[-1].env_steps == 200
    assert read_manifest(tmp_path / "run")["error"]["type"] == "NonFiniteLossError"
    assert engine.stopped


def test_a_full_disk_while_checkpointing_warns_and_training_goes_on(tmp_path: Path) -> None:
    engine = FakeEngine()

    def full(directory: Path) -> None:
        if engine.env_steps == 400:
            (directory / "part.bin").write_bytes(b"x" * 2_000_000)
            raise OSError(errno.ENOSPC, "No space left on device")

    engine.on_write = full
    result, _, view = run(tmp_path / "run", engine=engine)
    assert result.state == "finished"
    assert steps(tmp_path / "run") == [100, 200, 300, 400, 500]
    (warning,) = view.warnings()
    assert "disk full" in warning
    assert "1.9 MiB needed" in warning
    assert "the last good checkpoint is checkpoint_000001" in warning
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["checkpoint_000001", "checkpoint_000002"]
    assert list_checkpoints(tmp_path / "run" / "checkpoints")[-1].env_steps == 500


def test_an_engine_that_cannot_begin_a_checkpoint_goes_on(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.on_begin = lambda directory: 1 / 0
    result, _, view = run(tmp_path / "run", engine=engine)
    assert result.state == "finished"
    assert len(view.warnings()) == 3
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    engine = FakeEngine(job_polls=3, seconds_per_iteration=0.05)
    spec = make_spec(
        checkpointing={"interval_env_steps": 100}, debugging={"deterministic": False}, stop={"env_steps": 700}
    )
    _, _, view = run(tmp_path / "run", spec, engine)
    # Begun at 100; done at the third question, at 400; sealed by 500, when the next is begun.
    assert [c.env_steps for c in list_checkpoints(tmp_path / "run" / "checkpoints")] == [500, 700]
    assert all(0 <= row["checkpoint_blocked_fraction"] <= 1 for row in view.rows)


def test_events_of_the_engine_are_told_and_it_learns_the_final_name(tmp_path: Path) -> None:
    engine = FakeEngine()
    committed: list[Path] = []
    engine.checkpoint_committed = committed.append  # type: ignore[attr-defined]
    engine.hooks[3] = lambda: engine.extra.update(
        events=["shard 0 died: 7 env steps lost"], restarted_runners=1
    )
    engine.hooks[4] = lambda: engine.extra.update(events=[])
    _, _, view = run(tmp_path / "run", engine=engine)
    assert view.warnings() == ["shard 0 died: 7 env steps lost"]
    assert [path.name for path in committed] == [f"checkpoint_{k:06d}" for k in (1, 2, 3)]
    assert all("events" not in row for row in view.rows)


def test_restarted_runners_are_told(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.hooks[3] = lambda: engine.extra.update(restarted_runners=1, lost_env_steps=64)
    _, _, view = run(tmp_path / "run", engine=engine)
    assert view.warnings() == ["1 runner(s) restarted; 64 env steps lost so far"]


def test_an_existing_run_is_not_touched_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run(path)
    before = (path / "manifest.json").read_text()
    with pytest.raises(RunExistsError, match="finished"):
        run(path)
    assert (path / "manifest.json").read_text() == before
    run(path, make_spec(stop={"env_steps": 200}), if_exists="overwrite")
    assert steps(path) == [100, 200]
    assert len(list_checkpoints(path / "checkpoints")) == 1


def test_resume_refuses_another_experiment(tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(RunSpecChangedError, match=r"training\.lr"):
        run(tmp_path / "run", make_spec(training={"lr": 1.0}), if_exists="resume")


def test_two_processes_cannot_train_in_one_run(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with directory.locked(), pytest.raises(RunLockedError, match=str(os.getpid())):
        run(tmp_path / "run")


def test_a_view_that_fails_does_not_end_the_run(tmp_path: Path) -> None:
    view = RecordingView()
    view.update = lambda row: (_ for _ in ()).throw(BrokenPipeError())  # type: ignore[method-assign]
    result = train(
        make_spec(), RunDirectory(tmp_path / "run"), lambda spec, path: FakeEngine(), view, tensorboard=False
    )
    assert result.state == "finished"


def test_deterministic_runs_ignore_clocks(tmp_path: Path) -> None:
    spec = make_spec(
        checkpointing={"interval_seconds": 1e-9, "interval_env_steps": None},
        evaluation={"interval_seconds": 1e-9},
    )
    _, engine, view = run(tmp_path / "run", spec)
    assert view.checkpoints == ["checkpoint_000001"]
    assert engine.evaluations == []
