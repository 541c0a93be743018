"""What a published result is: its protocol, budget, scores, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

from rlx.reference.aggregates import Aggregates, aggregate
from rlx.reference.atari import Rounding

Start = Literal["noop", "human", "none", "restored", "unstated"]
ScoreKind = Literal["evaluation", "training", "trajectory", "unstated"]
ScorePoint = Literal["best", "final", "at_budget", "unstated"]
Agreement = Literal["match", "partial", "mismatch", "unchecked"]
Kind = Literal["baseline", "paper", "rllib", "rllib_readme_plot", "dopamine"]


@dataclass(frozen=True)
class ScoreProtocol:
    """How scores were measured; None and `unstated` are what the source leaves open.

    How environments are played to make such scores is a `Protocol` of `rlx.evaluation.protocols`.

    Attributes:
        start: how a game begins. `noop`: after a random number of no-op actions; `human`: from a position of
            a human's play; `none`: at the game's own start; `restored`: from a saved emulator state.
        noop_max: most no-ops, where the start is `noop`.
        sticky_action_probability: chance that the last action is repeated instead of the chosen one.
        max_episode_frames: emulator frames after which an episode is cut.
        score_kind: `evaluation` of a policy apart from training, mean return of `training` episodes with
            their exploration, or one recorded `trajectory`.
        score_point: the `best` during training, the `final` one, or the one `at_budget`.
        words: the same as a sentence, with what the fields cannot say.
    """

    start: Start
    noop_max: int | None
    sticky_action_probability: float | None
    max_episode_frames: int | None
    score_kind: ScoreKind
    score_point: ScorePoint
    words: str = field(compare=False, default="")

    def differences(self, other: ScoreProtocol) -> tuple[str, ...]:
        """Return the fields that are known of both and differ."""
        open_ones = {*self.unknown(), *other.unknown()}
        known = [name for name in self._compared() if name not in open_ones]
        return tuple(name for name in known if getattr(self, name) != getattr(other, name))

    def unknown(self) -> tuple[str, ...]:
        """Return the fields that the source leaves open."""
        return tuple(name for name in self._compared() if getattr(self, name) in (None, "unstated"))

    @classmethod
    def _compared(cls) -> tuple[str, ...]:
        return tuple(item.name for item in fields(cls) if item.compare)


@dataclass(frozen=True)
class Budget:
    """How much training the scores took.

    Attributes:
        env_frames: emulator frames per game (4 per agent step); None when not stated as one number.
        seconds: wall time at which the score was read, where that was the budget.
        words: as the source says it.
    """

    env_frames: int | None
    seconds: float | None = None
    words: str = ""


@dataclass(frozen=True)
class Published:
    """Aggregates that the source prints, as fractions (1.0 = human).

    Attributes:
        median_hns, mean_hns: None when not printed.
        median_tolerance, mean_tolerance: half a unit of the last printed digit.
        where: paper and table; says when a value is recalled and not verified.
        agreement: whether the scores reproduce them: `partial` when one of them is not reproduced.
        verdict: the same in words.
    """

    median_hns: float | None
    mean_hns: float | None
    median_tolerance: float
    mean_tolerance: float
    where: str
    agreement: Agreement
    verdict: str


@dataclass(frozen=True)
class OtherScore:
    """A score of the same result that another source, or another reading of it, gives."""

    game: str
    score: float
    where: str


@dataclass(frozen=True, eq=False)
class Reference:
    """One published result.

    Attributes:
        name: the stable name that `find_reference` takes.
        title: the agent, as its paper names it.
        kind: `paper`; `rllib` (its benchmark runs); `rllib_readme_plot` (read by RLlib's authors from other
            papers' plots); `dopamine` (means of the end of its curves); `baseline` (random, human).
        key: key in `docs/references.md`.
        source: paper and table, or repository.
        address: of the paper or repository.
        year: of publication; of the run for RLlib.
        protocol, budget: how it was measured, and after how much training.
        seeds: independent runs per game; None when not stated.
        hardware: per game, with the time it took where known; empty if not known.
        scores: raw score of each of the 57 games, None where there is none.
        spreads: standard deviation of the score over seeds (population), None where not published.
        approximate: scores were read from a plot.
        published: aggregates that the source prints; None if it prints none.
        caveats: sentences on the whole result.
        cell_notes: sentences on single games.
        other_scores: what other sources say of single games.
        found_in: collections in which the numbers were found.
        experiment: its settings in `rllib_hparams.yaml`; empty if there are none.
        runs: ids of the raw runs behind its curve, in `rllib_runs.csv`, or the agent of Dopamine's curves.
    """

    name: str
    title: str
    kind: Kind
    key: str
    source: str
    address: str
    year: int | None
    protocol: ScoreProtocol
    budget: Budget
    seeds: int | None
    hardware: str
    scores: Mapping[str, float | None]
    spreads: Mapping[str, float | None] = field(default_factory=lambda: MappingProxyType({}))
    approximate: bool = False
    published: Published | None = None
    caveats: tuple[str, ...] = ()
    cell_notes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    other_scores: tuple[OtherScore, ...] = ()
    found_in: str = ""
    experiment: str = ""
    runs: tuple[str, ...] = ()

    @property
    def games(self) -> tuple[str, ...]:
        """The games that have a score."""
        return tuple(game for game, score in self.scores.items() if score is not None)

    @property
    def aggregates(self) -> Aggregates:
        """Aggregates over `games`, recomputed with the one-decimal random and human scores."""
        return self.aggregates_with("one_decimal")

    @property
    def median_hns(self) -> float | None:
        """Recomputed median, as a fraction; over `games` only."""
        return self.aggregates.median_hns

    @property
    def mean_hns(self) -> float | None:
        """Recomputed mean, as a fraction; over `games` only."""
        return self.aggregates.mean_hns

    def aggregates_with(self, baselines: Rounding) -> Aggregates:
        """Return the aggregates under other random and human scores."""
        return aggregate(self.scores, baselines)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON, aggregates included."""
        plain = {item.name: _plain(getattr(self, item.name)) for item in fields(self)}
        own = asdict(self.aggregates)
        return {**plain, **own, "aggregates_two_decimals": asdict(self.aggregates_with("two_decimals"))}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return asdict(value) if isinstance(value, (ScoreProtocol, Budget, Published, OtherScore)) else value
