"""Play episodes with a checkpoint's policy, and keep videos of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlx.envs.watched import WatchedEnv, make_watched_env
from rlx.runs import provenance
from rlx.runs.errors import RunDirectoryError
from rlx.runs.evaluate import LAST, PlaySetup, play_setup
from rlx.runs.files import write_json_atomic
from rlx.video.overlay import Figures, compose
from rlx.video.writer import check_file, video_file

if TYPE_CHECKING:
    from rlx.actors.lanes import PlayedStep

#: Folder of a run directory with the videos of `rlx watch`.
FOLDER = "videos"

#: Env steps shown in a second where the game has no clock.
FPS_WITHOUT_CLOCK = 10.0
#: A picture is enlarged to at least so many pixels in height.
_LEAST_HEIGHT = 320


@dataclass(frozen=True)
class VideoSettings:
    """How episodes are shown.

    Attributes:
        file: `.webp` or `.mp4`; several episodes get `-1`, `-2`, ... before the ending. None: in the run's
            `videos`.
        overlay: a strip with return, step, action and Q values beside the picture.
        max_seconds: of video for an episode, above 0; what comes later is played and counted, but not shown.
        fps: env steps shown in a second; None for the game's own speed.
        scale: pixels of the video for one of the picture; None for at least 320 in height.
        force: replace files that are there.
    """

    file: Path | None = None
    overlay: bool = False
    max_seconds: float = 180.0
    fps: float | None = None
    scale: int | None = None
    force: bool = False


def watch(
    run: Path,
    *,
    checkpoint: str = LAST,
    protocol: str | None = None,
    episodes: int = 1,
    epsilon: float | None = None,
    seed: int = 0,
    settings: VideoSettings | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """Play whole episodes with a checkpoint's policy, one after the other, and write a video of each.

    They are the episodes of `rlx evaluate` with one environment, the same seed, protocol and epsilon. Each
    video has a record beside it, under its name with the ending `.json`.

    Args:
        run: the run directory.
        checkpoint: `last`, `best`, a number or a name.
        protocol: see `rlx.evaluation.protocols`; None for that of the published results.
        episodes: how many.
        epsilon: probability of a random action; None for that of the run's own evaluations.
        seed: of the environment and of random actions.
        settings: of the videos.
        on_step: called with the number of env steps so far.

    Returns:
        The records: return, length, values, actions, the video, seed, protocol, and who played.

    Raises:
        RlxError: no such checkpoint or protocol, a damaged run directory, a file that is there, or one that
            cannot be written.
        EnvError: the environment cannot be drawn.
    """
    settings = settings or VideoSettings()
    if settings.file is not None:
        check_file(settings.file)
    setup = play_setup(run, checkpoint=checkpoint, protocol=protocol, epsilon=epsilon)
    files = _files(setup, settings, seed, episodes)
    if not settings.force:
        _refuse_to_replace(files)
    env = make_watched_env(setup.env, seed)
    facts = {**setup.facts(), "seed": seed}
    recorder = _Recorder(env, settings, files, facts, on_step)
    from rlx.actors.player import play_in

    with contextlib.closing(recorder):
        play_in(
            setup.load_policy(),
            env,
            episodes=episodes,
            epsilon=setup.epsilon,
            seed=seed,
            on_step=recorder.step,
        )
    return recorder.records


def _files(setup: PlaySetup, settings: VideoSettings, seed: int, episodes: int) -> list[Path]:
    """Return the file of each episode."""
    given = settings.file
    if given is not None and episodes == 1:
        return [given]
    if given is not None:
        return [given.with_name(f"{given.stem}-{i}{given.suffix}") for i in range(1, episodes + 1)]
    played_as = f"{setup.protocol.name}-epsilon-{setup.epsilon:g}-seed-{seed}"
    overlay = "-overlay" if settings.overlay else ""
    return [
        setup.run / FOLDER / f"{setup.checkpoint.path.name}-{played_as}-episode-{i}{overlay}.webp"
        for i in range(1, episodes + 1)
    ]


def _refuse_to_replace(files: list[Path]) -> None:
    for file in files:
        for there in (file, file.with_suffix(".json")):
            if there.exists():
                raise RunDirectoryError(
                    "is there already", str(there), "--force replaces it, -o names another"
                )


class _Recorder:
    """Turn the steps of one lane into a video and a record for each episode."""

    def __init__(
        self,
        env: WatchedEnv,
        settings: VideoSettings,
        files: list[Path],
        facts: dict[str, Any],
        on_step: Callable[[int], None] | None,
    ) -> None:
        self.records: list[dict[str, Any]] = []
        self._env = env
        self._settings = settings
        self._files = files
        self._facts = facts
        self._on_step = on_step
        self._total_steps = 0
        self._fps = settings.fps or env.steps_per_second or FPS_WITHOUT_CLOCK
        self._most_pictures = max(int(settings.max_seconds * self._fps), 1)
        self._open_files = contextlib.ExitStack()
        self._begin()

    def _begin(self) -> None:
        self._add: Callable[[Any], None] | None = None
        self._size = (0, 0)
        self._scale = 1
        self._pictures = 0
        self._return = 0.0
        self._length = 0
        self._random = 0
        self._actions = np.zeros(self._env.num_actions, np.int64)
        #: The greatest Q value of each state, and the range of all.
        self._values: list[float] = []
        self._q_range = (float("inf"), float("-inf"))

    def step(self, played: PlayedStep) -> None:
        """Take a step of the lane."""
        if not played.acted[0]:
            return
        q, action = played.q[0], int(played.actions[0])
        self._q_range = min(self._q_range[0], float(q.min())), max(self._q_range[1], float(q.max()))
        names = self._env.action_names
        self._show(
            self._env.before,
            Figures(self._length, self._return, names, q, self._q_range, action, bool(played.explored[0])),
        )
        self._return += float(played.step.rewards[0])
        self._length += 1
        self._actions[action] += 1
        self._random += int(played.explored[0])
        self._values.append(float(q.max()))
        self._total_steps += 1
        if self._on_step is not None:
            self._on_step(self._total_steps)
        if played.step.over[0]:
            self._show(self._env.after, Figures(self._length, self._return, names))
            self._end(truncated=bool(played.step.truncated[0]))

    def close(self) -> None:
        """Drop what was not finished."""
        error = RuntimeError("the episode was not played to its end")
        self._open_files.__exit__(type(error), error, None)

    def _show(self, picture: Any, figures: Figures) -> None:
        if self._pictures >= self._most_pictures:
            return
        if self._add is None:
            self._scale = self._settings.scale or max(-(-_LEAST_HEIGHT // picture.shape[0]), 1)
            self._add = self._open_files.enter_context(video_file(self._files[len(self.records)], self._fps))
        shown = compose(picture, self._scale, figures if self._settings.overlay else None)
        self._size = (shown.shape[1], shown.shape[0])
        self._add(shown)
        self._pictures += 1

    def _end(self, *, truncated: bool) -> None:
        self._open_files.close()
        file = self._files[len(self.records)]
        frames = self._length * self._env.frames_per_step
        speed = self._env.steps_per_second
        record = {
            **self._facts,
            "episode": len(self.records) + 1,
            "return": self._return,
            "length": self._length,
            "frames": frames,
            "game_seconds": None if speed is None else self._length / speed,
            "end": "truncated" if truncated else "terminated",
            "value_mean": float(np.mean(self._values)),
            "value_min": min(self._values),
            "value_max": max(self._values),
            "actions": dict(zip(self._env.action_names, self._actions.tolist(), strict=True)),
            "random_actions": self._random,
            "video": {
                "pictures": self._pictures,
                "seconds": self._pictures / self._fps,
                "fps": self._fps,
                "width": self._size[0],
                "height": self._size[1],
                "scale": self._scale,
                "overlay": self._settings.overlay,
                "cut": self._pictures < self._length + 1,
                "bytes": file.stat().st_size,
            },
            "created_at": time.time(),
            "git": provenance.git_state(Path.cwd()),
            "versions": provenance.versions(),
            "hardware": provenance.hardware(),
        }
        write_json_atomic(file.with_suffix(".json"), record)
        self.records.append({**record, "file": str(file)})
        self._begin()
