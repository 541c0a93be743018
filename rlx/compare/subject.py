"""What is compared: one run of rlx, or one result of another tool; and runs that are seeds of one agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from rlx.compare.budget import Series
from rlx.compare.errors import CompareError
from rlx.reference.reference import ScoreProtocol

Tool = Literal["rlx", "rllib", "csv"]


@dataclass(frozen=True, eq=False)
class Subject:
    """One training run on one environment.

    Attributes:
        path: its directory or file.
        tool: what made it.
        name: of the experiment; runs that differ in the seed alone share it.
        algorithm: empty if not known.
        env: environment id, or the game where another tool's result names no id.
        game: ALE name of one of the 57 games; None elsewhere.
        seed: None if not recorded.
        frames_per_step: emulator frames per agent step.
        settings: what must be equal for two runs to be seeds of one agent: hashable text.
        series: its scores, the kind to be preferred first.
        hardware, commit, state: empty if not known.
        env_frames, seconds: how far it got.
        notes: what a reader has to know.
    """

    path: Path
    tool: Tool
    name: str
    algorithm: str
    env: str
    game: str | None
    seed: int | None
    frames_per_step: int
    settings: str
    series: tuple[Series, ...]
    hardware: str = ""
    commit: str = ""
    state: str = ""
    env_frames: float | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def training(self) -> Series | None:
        """The learning curve."""
        return next((series for series in self.series if series.reports), None)

    def facts(self) -> dict[str, Any]:
        """Return what a document says of the run itself."""
        return {
            "path": str(self.path), "tool": self.tool, "env": self.env, "game": self.game, "seed": self.seed,
            "state": self.state, "env_frames": self.env_frames, "seconds": self.seconds,
            "hardware": self.hardware, "commit": self.commit, "notes": list(self.notes),
            "scores_there": [f"{series.source}: {series.protocol.words}" for series in self.series],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Agent:
    """Runs of one experiment with the same settings: by environment, one per seed.

    Attributes:
        name: unique among the agents compared.
        runs: environment -> its runs, by seed.
    """

    name: str
    runs: Mapping[str, tuple[Subject, ...]]

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """All runs."""
        return tuple(subject for runs in self.runs.values() for subject in runs)


def group(subjects: Sequence[Subject]) -> tuple[Agent, ...]:
    """Group runs into agents, in the order in which their names came.

    Runs of one name whose settings differ are agents apart, `name`, `name #2`.

    Raises:
        CompareError: a run is there twice, or two runs have the same seed.
    """
    order = {key: index for index, key in reversed(list(enumerate(_key(subject) for subject in subjects)))}
    ranked = sorted(subjects, key=lambda subject: order[_key(subject)])
    agents: list[Agent] = []
    for key, members in groupby(ranked, key=_key):
        same = sum(agent.name == key[0] or agent.name.startswith(f"{key[0]} #") for agent in agents)
        name = f"{key[0]} #{same + 1}" if same else key[0]
        agents.append(Agent(name, _by_env(list(members))))
    return tuple(agents)


def playing(subject: Subject) -> ScoreProtocol | None:
    """Return how the environment was played in training; None if the run has no score."""
    return next((series.protocol for series in reversed(subject.series)), None)


def _key(subject: Subject) -> tuple[str, str]:
    return subject.name, subject.settings


def _by_env(subjects: Sequence[Subject]) -> dict[str, tuple[Subject, ...]]:
    found: dict[str, list[Subject]] = {}
    for subject in subjects:
        found.setdefault(subject.env, []).append(subject)
    for runs in found.values():
        _refuse_twice(runs)
    return {env: tuple(sorted(runs, key=_seed_order)) for env, runs in found.items()}


def _seed_order(subject: Subject) -> tuple[bool, int, str]:
    return subject.seed is None, subject.seed or 0, str(subject.path)


def _refuse_twice(runs: Sequence[Subject]) -> None:
    seen: dict[int | str, Subject] = {}
    for run in runs:
        key = run.seed if run.seed is not None else str(run.path.resolve())
        if key in seen:
            raise CompareError(
                f"the same seed ({run.seed}) on {run.env} as {seen[key].path}; counted twice it would make "
                "the spread too small",
                str(run.path),
                "name one of them",
            )
        seen[key] = run
