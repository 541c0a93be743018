"""References from RLlib's benchmark repository: its README's tables and its raw runs; training scores."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from rlx.reference.atari import find_game, games
from rlx.reference.reference import Budget, Kind, OtherScore, Reference, ScoreProtocol
from rlx.reference.tables import DATA, Row, cached_table, number, whole

FRAMES_PER_STEP = 4
REPOSITORY = "https://github.com/ray-project/rl-experiments"

_TRAINING = "mean return of training episodes, exploration included; there was no evaluation apart from it"
_PROTOCOL = ScoreProtocol(
    "noop", 30, 0.0, None, "training", "at_budget",
    "starts: no-op (1 to 30 frames, then FIRE where the game has it); no sticky actions; whole games; "
    f"{_TRAINING}",
)  # fmt: skip
_PLOT_PROTOCOL = ScoreProtocol(
    "unstated", None, None, None, "unstated", "at_budget", "not recorded: read from another paper's plot"
)
_ONE_RUN = "One run per game: leave a wide margin."
_BEFORE_AN_HOUR = "The raw runs stop after about 53 minutes (23M steps); the values are their last ones."
_OTHER_YAML = (
    "dueling-ddqn.yaml of the repository has double and dueling switched off; the results are of "
    "duel-ddqn.yaml."
)
_FOUR_AT_ONCE = "four games at once"


class _Readme(NamedTuple):
    """A result in the README's tables: the rows of one agent at one budget."""

    name: str
    agent: str
    budget: str = "10M_steps"
    runs: tuple[str, ...] = ()
    experiment: str = ""
    hardware: str = ""
    caveat: str = ""


class _Raw(NamedTuple):
    """A result that only the raw runs have: the value of `column`, averaged over `runs`."""

    name: str
    title: str
    runs: tuple[str, ...]
    column: str = "reward_at_10M_steps"
    experiment: str = ""
    hardware: str = ""
    caveat: str = _ONE_RUN


_G3 = f"1x AWS g3.16xlarge, {_FOUR_AT_ONCE}"
_IMPALA_MACHINES = f"AWS g3.16xlarge + 3x m4.16xlarge, {_FOUR_AT_ONCE}"
_APEX, _IMPALA, _A2C = ("apex-2018-09",), ("impala-2018-08",), ("a2c-2018-08",)

_README = (
    _Readme("rllib-apex", "RLlib Ape-X", "10M_steps", _APEX, "atari-apex", _G3),
    _Readme("rllib-apex-1h", "RLlib Ape-X", "1h", _APEX, "atari-apex", _G3),
    _Readme("rllib-impala", "RLlib IMPALA", "10M_steps", _IMPALA, "atari-impala", _IMPALA_MACHINES),
    _Readme(
        "rllib-impala-1h", "RLlib IMPALA", "1h", _IMPALA, "atari-impala", _IMPALA_MACHINES, _BEFORE_AN_HOUR
    ),
    _Readme("rllib-a2c", "RLlib A2C", "10M_steps", _A2C, "atari-a2c", _G3),
    _Readme("rllib-a2c-1h", "RLlib A2C", "1h", _A2C, "atari-a2c", _G3),
    _Readme("rllib-dqn", "RLlib DQN basic", experiment="atari-dqn-basic"),
    _Readme(
        "rllib-dueling-ddqn", "RLlib Dueling DDQN", "10M_steps", ("dueling-ddqn-2018-09",),
        "atari-dqn-dueling-double", caveat=_OTHER_YAML,
    ),
    _Readme(
        "rllib-distributional-dqn", "RLlib Distributional DQN", "10M_steps", ("dist-dqn-2018-09",),
        "atari-dqn-distributional",
    ),
    _Readme("rllib-ppo", "RLlib PPO", "10M_steps", (), "atari-ppo-2018-09"),
    _Readme("rllib-ppo-25m", "RLlib PPO", "25M_steps", (), "atari-ppo-2018-09"),
    _Readme("rllib-ppo-2020-tf", "RLlib PPO (tf)", "20M_steps", ("ppo-tf-2020-01",), "atari-ppo-2020-01"),
    _Readme(
        "rllib-ppo-2020-torch", "RLlib PPO (torch)", "20M_steps", ("ppo-torch-2020-01",), "atari-ppo-2020-01"
    ),
    _Readme("plot-mnih2016-async-dqn", "Mnih 2016 Async DQN"),
    _Readme("plot-mnih2016-async-dqn-1h", "Mnih 2016 Async DQN", "1h"),
    _Readme("plot-mnih2016-dqn", "Mnih 2016 DQN"),
    _Readme("plot-mnih2016-dqn-1h", "Mnih 2016 DQN", "1h"),
    _Readme("plot-mnih2016-a3c", "Mnih 2016 A3C"),
    _Readme("plot-mnih2016-a3c-1h", "Mnih 2016 A3C", "1h"),
    _Readme("plot-hessel2018-dqn", "Hessel 2018 DQN"),
    _Readme("plot-hessel2018-rainbow", "Hessel 2018 Rainbow"),
    _Readme("plot-baselines-ppo", "Baselines PPO"),
)  # fmt: skip

_OTHER_EPSILON = (
    "Far below the runs of 2018 at equal steps (Qbert 3870 and 14523): exploration ended at 0.05, not 0.01. "
    f"{_ONE_RUN}"
)
_THREE_RUNS = "Three runs per game; that they differ in nothing but the seed is not recorded."
_PONG_MACHINES = "AWS p3.16xlarge (2 GPUs used) + m4.16xlarge, {} workers"
_ONE_GPU = "one process, 1 GPU"
_PONG_CAVEAT = "Tuned for the time to 18 points. " + _ONE_RUN


def _impala_2020(framework: str, first: int) -> tuple[str, ...]:
    numbers = [*range(first, first + 3), *range(first + 6, first + 9)]
    return tuple(f"impala-{framework}-2020-05-run{run:02}" for run in numbers)


_RAW = (
    _Raw("rllib-apex-2020", "RLlib Ape-X of 2020", ("apex-2020-01",), caveat=_OTHER_EPSILON),
    _Raw("rllib-dqn-2020-tf", "RLlib DQN of 2020 (tf)", ("dqn-tf-2020-04",), hardware=_ONE_GPU),
    _Raw("rllib-dqn-2020-torch", "RLlib DQN of 2020 (torch)", ("dqn-torch-2020-04",), hardware=_ONE_GPU),
    *(
        _Raw(
            f"rllib-impala-2020-{framework}", f"RLlib IMPALA of 2020 ({framework})",
            _impala_2020(framework, first), caveat=_THREE_RUNS,
        )
        for framework, first in (("tf", 0), ("torch", 3))
    ),
    *(
        _Raw(
            f"rllib-impala-pong-{workers}", f"RLlib IMPALA on Pong, {workers} workers",
            (f"pong-impala-{workers}workers-2018-11",), "reward_last", "pong-impala-fast",
            _PONG_MACHINES.format(workers), _PONG_CAVEAT,
        )
        for workers in (32, 64, 128)
    ),
)  # fmt: skip


@dataclass(frozen=True)
class RllibRow:
    """One row of RLlib's README, or of its paper, environments beside Atari included.

    Attributes:
        budget: `10M_steps` (agent steps), `1h`, or what `score` counts where it is a time.
    """

    env: str
    agent: str
    workers: int | None
    budget: str
    score: float
    approximate: bool
    hardware: str
    date: str
    experiment: str
    source: str


@cache
def rllib_rows() -> tuple[RllibRow, ...]:
    """Return every row of RLlib's tables, in their order."""
    return tuple(
        RllibRow(
            row["env"], row["agent"], whole(row["workers"]), row["budget"], float(row["score"]),
            row["approximate"] == "1", row["hardware"], row["date"], row["experiment"], row["source"],
        )
        for row in cached_table("rllib_reference.csv")
    )  # fmt: skip


@cache
def rllib_experiments() -> Mapping[str, Any]:
    """Return the settings of RLlib's experiments by name, in the option names of RLlib 0.5 to 0.8."""
    return MappingProxyType(yaml.safe_load((DATA / "rllib_hparams.yaml").read_text("utf-8")))


@cache
def rllib_references() -> tuple[Reference, ...]:
    """Return RLlib's Atari results, and those its README read from other papers' plots."""
    return (*(_from_readme(entry) for entry in _README), *(_from_runs(entry) for entry in _RAW))


def run_rows(runs: tuple[str, ...]) -> list[Row]:
    """Return the rows of `rllib_runs.csv` of some run ids: one per run and game."""
    return [row for row in cached_table("rllib_runs.csv") if row["run_id"] in runs]


def _from_readme(entry: _Readme) -> Reference:
    rows = [row for row in rllib_rows() if _is_atari(row) and _matches(row, entry)]
    approximate = all(row.approximate for row in rows)
    kind: Kind = "rllib_readme_plot" if approximate else "rllib"
    workers = {row.workers for row in rows if row.workers}
    machines = [entry.hardware or rows[0].hardware, *(f"{count} workers" for count in workers)]
    plot = "Read by RLlib's authors from a plot of the other paper: approximate."
    return Reference(
        name=entry.name,
        title=f"{entry.agent}, {entry.budget.replace('_', ' ').replace('1h', '1 hour')}",
        kind=kind,
        key="rl-experiments",
        source=rows[0].source,
        address=REPOSITORY,
        year=int(rows[0].date[:4]),
        protocol=_PLOT_PROTOCOL if approximate else _PROTOCOL,
        budget=_budget(entry.budget),
        seeds=None if approximate else 1,
        hardware="" if approximate else ", ".join(text for text in machines if text),
        scores=_scores({find_game(row.env).name: row.score for row in rows}),
        approximate=approximate,
        caveats=tuple(text for text in (plot if approximate else _ONE_RUN, entry.caveat) if text),
        other_scores=_other_scores(entry),
        found_in=f"{REPOSITORY} commit 66c7949 (Apache-2.0)",
        experiment=entry.experiment,
        runs=entry.runs,
    )


def _matches(row: RllibRow, entry: _Readme) -> bool:
    return (row.agent, row.budget) == (entry.agent, entry.budget)


def _is_atari(row: RllibRow) -> bool:
    return row.env.endswith("NoFrameskip-v4")


def _budget(text: str) -> Budget:
    if text == "1h":
        return Budget(None, 3600.0, "1 hour")
    steps = int(text.removesuffix("M_steps")) * 10**6
    return Budget(steps * FRAMES_PER_STEP, None, f"{steps // 10**6}M agent steps")


def _scores(found: Mapping[str, float]) -> Mapping[str, float | None]:
    return MappingProxyType({game.name: found.get(game.name) for game in games()})


def _other_scores(entry: _Readme) -> tuple[OtherScore, ...]:
    """Return what the raw run behind a README value says."""
    columns = {
        "10M_steps": {"reward_at_10M_steps": "raw run, reports within 2% of 10M steps"},
        "1h": {"reward_at_1h": "raw run, reports within 2% of 1 hour"},
    }.get(entry.budget, {})
    columns = {**columns, "reward_last": "raw run, last report", "reward_max": "raw run, best report"}
    return tuple(
        OtherScore(find_game(row["env"]).name, float(row[column]), where)
        for row in run_rows(entry.runs)
        for column, where in columns.items()
        if row[column]
    )


def _from_runs(entry: _Raw) -> Reference:
    rows = run_rows(entry.runs)
    by_game: dict[str, list[float]] = {}
    for row in rows:
        score = number(row[entry.column])
        if score is not None:
            by_game.setdefault(find_game(row["env"]).name, []).append(score)
    runs = min(len(values) for values in by_game.values())
    at_budget = entry.column == "reward_at_10M_steps"
    spreads = {game: statistics.pstdev(values) for game, values in by_game.items()} if runs > 1 else {}
    return Reference(
        name=entry.name,
        title=entry.title,
        kind="rllib",
        key="rl-experiments",
        source="raw runs: " + ", ".join(entry.runs),
        address=REPOSITORY,
        year=int(rows[0]["date"][:4]),
        protocol=_PROTOCOL if at_budget else replace(_PROTOCOL, score_point="final"),
        budget=_budget("10M_steps") if at_budget else _whole_run(rows[0]),
        seeds=runs,
        hardware=entry.hardware,
        scores=_scores({game: statistics.fmean(values) for game, values in by_game.items()}),
        spreads=_scores(spreads) if spreads else MappingProxyType({}),
        caveats=(entry.caveat,),
        found_in=f"{REPOSITORY} commit 66c7949 (Apache-2.0)",
        experiment=entry.experiment,
        runs=entry.runs,
    )


def _whole_run(row: Row) -> Budget:
    frames = int(row["timesteps_total"]) * FRAMES_PER_STEP
    return Budget(frames, float(row["wall_s_total"]), f"the whole run: {frames // 10**6}M frames")
