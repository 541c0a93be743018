"""The 57 Atari games: their names, subsets, and the random and human scores to normalise by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from rlx.reference.errors import UnknownGameError, did_you_mean, plain
from rlx.reference.tables import Row, cached_table, number

Rounding = Literal["one_decimal", "two_decimals", "printed_2016", "nature2015"]
"""Which random and human scores: see `Game.baselines`."""

# How papers spell a game where that is not its ALE name with spaces; the first is the title.
_PAPER_SPELLINGS: dict[str, tuple[str, ...]] = {
    "Hero": ("H.E.R.O.",),
    "Jamesbond": ("James Bond", "James Bond 007"),
    "KungFuMaster": ("Kung-Fu Master",),
    "MontezumaRevenge": ("Montezuma's Revenge", "Montezuma"),
    "MsPacman": ("Ms. Pac-Man", "Ms. Pacman"),
    "Pitfall": ("Pitfall!",),
    "Qbert": ("Q*Bert",),
    "Riverraid": ("River Raid",),
    "Robotank": ("Robotank", "Robot Tank"),
    "UpNDown": ("Up'n Down", "Up and Down"),
    "YarsRevenge": ("Yars' Revenge",),
}
_SUBSETS = {
    "in_atari100k_26": "atari100k",
    "in_atari5": "atari5",
    "in_atari55": "atari55",
    "hard_exploration_6": "hard_exploration",
}
_ID = re.compile(r"(?:\w+:)?(?:ALE/)?(?P<game>[A-Za-z0-9]+?)(?:-ram)?(?:NoFrameskip|Deterministic)?-v[045]")


@dataclass(frozen=True)
class Baseline:
    """The raw scores that are 0 and 1 on the human-normalised scale."""

    random: float
    human: float

    def normalise(self, score: float) -> float:
        """Return a raw score as a fraction of the way from random (0) to human (1)."""
        return (score - self.random) / (self.human - self.random)


@dataclass(frozen=True, eq=False)
class Game:
    """One of the 57 games.

    Attributes:
        name: as ALE spells it, `UpNDown`.
        title: as papers print it, `Up'n Down`.
        ale_v5_id: `ALE/UpNDown-v5`.
        noframeskip_v4_id: `UpNDownNoFrameskip-v4`; ale-py registers none for Surround.
        snake_case: `up_n_down`.
        spellings: all of these and others that papers use.
        baselines: `one_decimal` reproduces the Agent57 paper, `two_decimals` MuZero, Ape-X and IMPALA;
            `printed_2016` differs in Video Pinball alone, where older papers print another random score, and
            reproduces no published mean; `nature2015` is the one of [DQN2015], absent for eight games.
        subsets: of `atari100k`, `atari5`, `atari55`, `hard_exploration`.
    """

    name: str
    title: str
    ale_v5_id: str
    noframeskip_v4_id: str
    snake_case: str
    spellings: tuple[str, ...]
    baselines: Mapping[Rounding, Baseline]
    subsets: frozenset[str]

    @property
    def baseline(self) -> Baseline:
        """The random and human scores to one decimal."""
        return self.baselines["one_decimal"]

    @property
    def random(self) -> float:
        """The random policy's score, to one decimal."""
        return self.baseline.random

    @property
    def human(self) -> float:
        """The professional human tester's score, to one decimal."""
        return self.baseline.human


@cache
def games() -> tuple[Game, ...]:
    """Return the 57 games in the order of their names."""
    return tuple(_game(row) for row in cached_table("atari57_games.csv"))


def find_game(text: str) -> Game:
    """Find a game by any of its spellings or environment ids.

    Case, spaces and punctuation do not count. An id's version and its frame skip do not either:
    `ALE/Pong-v5`, `PongNoFrameskip-v4` and `Pong-ram-v0` are all Pong, though their protocols differ.

    Raises:
        UnknownGameError: no game has this name, with the nearest ones. MinAtar's games are not Atari's.
    """
    match = _ID.fullmatch(text.strip())
    found = _by_spelling().get(plain(match["game"] if match else text))
    if found is not None:
        return found
    hint = did_you_mean(match["game"] if match else text, (game.name for game in games()))
    raise UnknownGameError("no game of the 57-game Atari suite", text, hint or "names are as in ALE/Pong-v5")


@cache
def _by_spelling() -> dict[str, Game]:
    return {plain(spelling): game for game in games() for spelling in game.spellings}


def _game(row: Row) -> Game:
    name = row["game"]
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    titles = _PAPER_SPELLINGS.get(name, (spaced,))
    ids = (row["ale_v5_id"], row["noframeskip_v4_id"])
    return Game(
        name=name,
        title=titles[0],
        ale_v5_id=ids[0],
        noframeskip_v4_id=ids[1],
        snake_case=row["snake_case"],
        spellings=tuple(dict.fromkeys((name, *titles, *ids, row["snake_case"]))),
        baselines=_baselines(row),
        subsets=frozenset(subset for column, subset in _SUBSETS.items() if row[column] == "1"),
    )


def _baselines(row: Row) -> Mapping[Rounding, Baseline]:
    human = float(row["human"])
    found: dict[Rounding, Baseline] = {
        "one_decimal": Baseline(float(row["random"]), human),
        "two_decimals": Baseline(float(row["random_2dp"]), float(row["human_2dp"])),
        "printed_2016": Baseline(float(row["random_dqn_zoo"]), human),
    }
    random_2015, human_2015 = number(row["random_nature2015"]), number(row["human_nature2015"])
    if random_2015 is not None and human_2015 is not None:
        found["nature2015"] = Baseline(random_2015, human_2015)
    return found
