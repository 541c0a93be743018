"""`rlx watch` on a real, short run: the episodes of `rlx evaluate`, and videos that have all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rlx.actors.player import load_policy, play_episodes
from rlx.cli.exit_codes import ExitCode
from rlx.cli.main import app
from rlx.envs.drawing import draw_cart_pole
from rlx.experiment.build import build_engine
from rlx.runs.directory import RunDirectory
from rlx.runs.errors import NoCheckpointError, RunDirectoryError
from rlx.runs.evaluate import play_setup
from rlx.runs.loop import train
from rlx.runs.watch import VideoSettings, watch
from rlx.video.errors import VideoError
from rlx.video.overlay import STRIP, Figures, compose
from tests.engines import DETERMINISTIC, RAINBOW, small_spec
from tests.runs.fake_engine import RecordingView
from tests.video.test_webp import read


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, ray_started: None) -> Path:
    """A run of Rainbow (dueling, noisy, distributional) with a checkpoint."""
    path = tmp_path_factory.mktemp("runs") / "small"
    spec = small_spec(RAINBOW, DETERMINISTIC, {"stop": {"env_steps": 400}, "evaluation": {"at_end": False}})
    result = train(spec, RunDirectory(path), build_engine, RecordingView(), tensorboard=False)
    assert result.state == "finished", result.reason
    return path


def test_the_episodes_are_those_of_evaluate(run: Path, tmp_path: Path) -> None:
    told: list[int] = []
    settings = VideoSettings(tmp_path / "a.webp", scale=1)
    records = watch(run, episodes=2, epsilon=0.3, seed=4, settings=settings, on_step=told.append)
    setup = play_setup(run)
    expected = play_episodes(
        load_policy(setup.checkpoint.path), setup.env, episodes=2, num_envs=1, epsilon=0.3, seed=4
    )
    assert [record["return"] for record in records] == expected.returns.tolist()
    assert [record["length"] for record in records] == expected.lengths.tolist()
    assert told == list(range(1, int(expected.lengths.sum()) + 1))
    for number, record in enumerate(records, start=1):
        assert (record["episode"], record["seed"], record["protocol"]) == (number, 4, "as-trained")
        assert sum(record["actions"].values()) == record["length"] == record["frames"]
        assert 0 < record["random_actions"] < record["length"]
        assert record["game_seconds"] == record["length"] / 50
        assert record["value_min"] <= record["value_mean"] <= record["value_max"]
        file = tmp_path / f"a-{number}.webp"
        assert record["file"] == str(file)
        _, durations = read(file)
        assert sum(durations) == 20 * (record["length"] + 1)
        assert record["video"]["pictures"] == record["length"] + 1
        assert not record["video"]["cut"]
        stored = json.loads(file.with_suffix(".json").read_text())
        assert stored["return"] == record["return"]
        assert {"checkpoint", "git", "versions", "environment"} <= stored.keys()
    assert not (run / "videos").exists()


def test_pictures_and_strip_are_of_the_states_that_were_acted_in(run: Path, tmp_path: Path) -> None:
    """Play by hand with the network's own values, compare picture by picture."""
    file = tmp_path / "a.webp"
    (record,) = watch(run, seed=2, settings=VideoSettings(file, overlay=True, scale=1))
    pictures, _ = read(file)
    setup = play_setup(run)
    policy = load_policy(setup.checkpoint.path)
    policy.q_network.use_noise(False)
    import torch

    from rlx.envs import make_vector_env

    env = make_vector_env(setup.env, 1, 2)
    frames, low, high = env.reset(), np.inf, -np.inf
    assert record["length"] >= 8
    for step in range(record["length"]):
        q = policy.q_values(torch.from_numpy(frames[:, None])).detach().numpy()[0]
        low, high = min(low, float(q.min())), max(high, float(q.max()))
        figures = Figures(step, float(step), ("LEFT", "RIGHT"), q, (low, high), int(q.argmax()))
        expected = compose(draw_cart_pole(frames[0]), 1, figures)
        np.testing.assert_array_equal(pictures[step], expected)
        frames = env.step(np.array([q.argmax()])).frames
    last = compose(
        draw_cart_pole(frames[0]), 1, Figures(record["length"], record["return"], ("LEFT", "RIGHT"))
    )
    np.testing.assert_array_equal(pictures[-1], last)
    assert (record["video"]["width"], record["video"]["height"]) == (600 + STRIP, 400)


def test_a_long_episode_is_cut_but_counted(run: Path, tmp_path: Path) -> None:
    whole, cut = (
        watch(
            run,
            seed=2,
            settings=VideoSettings(tmp_path / f"{name}.webp", max_seconds=seconds, fps=10, scale=1),
        )[0]
        for name, seconds in (("whole", 100.0), ("cut", 0.5))
    )
    assert (cut["return"], cut["length"]) == (whole["return"], whole["length"])
    assert (whole["video"]["cut"], cut["video"]["cut"]) == (False, True)
    assert (cut["video"]["pictures"], cut["video"]["seconds"], cut["video"]["fps"]) == (5, 0.5, 10)
    assert sum(read(tmp_path / "cut.webp")[1]) == 500


def test_nothing_is_replaced_unless_told(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.webp"
    watch(run, settings=VideoSettings(file))
    before = file.read_bytes()
    with pytest.raises(RunDirectoryError, match=r"a\.webp: is there already; --force replaces it"):
        watch(run, seed=1, settings=VideoSettings(file))
    assert file.read_bytes() == before
    watch(run, seed=1, settings=VideoSettings(file, force=True))
    assert json.loads(file.with_suffix(".json").read_text())["seed"] == 1
    file.unlink()
    with pytest.raises(RunDirectoryError, match=r"a\.json: is there already"):
        watch(run, settings=VideoSettings(file))


def test_an_interrupted_episode_leaves_nothing(run: Path, tmp_path: Path) -> None:
    def interrupt(steps: int) -> None:
        if steps == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(run, settings=VideoSettings(tmp_path / "a.webp"), on_step=interrupt)
    assert not list(tmp_path.iterdir())


def test_what_is_refused_before_anything_is_played(run: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"known: \.webp, \.mp4"):
        watch(run, settings=VideoSettings(tmp_path / "a.avi"))
    with pytest.raises(NoCheckpointError, match="no checkpoint '77'"):
        watch(run, checkpoint="77")


def test_the_command(run: Path) -> None:
    def call(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["watch", str(run), *arguments])

    done = call("--json", "--overlay")
    assert done.exit_code == 0, done.output
    (record,) = json.loads(done.stdout)
    name = "checkpoint_000001-as-trained-epsilon-0-seed-0-episode-1-overlay"
    assert record["file"] == str(run / "videos" / f"{name}.webp")
    assert {path.name for path in (run / "videos").iterdir()} == {f"{name}.webp", f"{name}.json"}
    assert call("--overlay").exit_code == ExitCode.RUN
    text = call("--max-seconds", "0.1")
    assert text.exit_code == 0, text.output
    assert f"return   {record['return']:g}" in text.stdout
    assert f"{record['length']} env steps, {record['length']} frames" in text.stdout
    assert "episode 1 is longer than its video" in text.stderr
    for wrong, code in (
        (["-o", "a.gif"], ExitCode.USAGE),
        (["--protocol", "noop30"], ExitCode.USAGE),
        (["--checkpoint", "99"], ExitCode.RUN),
        (["--scale", "0"], ExitCode.USAGE),
    ):
        assert call(*wrong).exit_code == code, wrong
