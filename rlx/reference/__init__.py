"""Published results to compare a run with: scores, protocols, learning curves, speeds.

`references()`, `find_reference(name)`, `games()`, `find_game(text)`, `curve(reference, game)`,
`throughput(agent)`. The data files and their sources are in `rlx/reference/data`. Names are loaded when used;
only curves need numpy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlx.reference.aggregates import Aggregates, aggregate, normalise
    from rlx.reference.atari import Baseline, Game, Rounding, find_game, games
    from rlx.reference.catalog import find_reference, references
    from rlx.reference.curves import Curve, curve, games_with_curves
    from rlx.reference.errors import ReferenceDataError, UnknownGameError, UnknownReferenceError
    from rlx.reference.reference import Budget, OtherScore, Published, Reference, ScoreProtocol
    from rlx.reference.rllib import RllibRow, rllib_experiments, rllib_rows
    from rlx.reference.speeds import Throughput, throughput

__all__ = [
    "Aggregates",
    "Baseline",
    "Budget",
    "Curve",
    "Game",
    "OtherScore",
    "Published",
    "Reference",
    "ReferenceDataError",
    "RllibRow",
    "Rounding",
    "ScoreProtocol",
    "Throughput",
    "UnknownGameError",
    "UnknownReferenceError",
    "aggregate",
    "curve",
    "find_game",
    "find_reference",
    "games",
    "games_with_curves",
    "normalise",
    "references",
    "rllib_experiments",
    "rllib_rows",
    "throughput",
]

_MODULES = {
    "rlx.reference.aggregates": ("Aggregates", "aggregate", "normalise"),
    "rlx.reference.catalog": ("find_reference", "references"),
    "rlx.reference.curves": ("Curve", "curve", "games_with_curves"),
    "rlx.reference.errors": ("ReferenceDataError", "UnknownGameError", "UnknownReferenceError"),
    "rlx.reference.atari": ("Baseline", "Game", "Rounding", "find_game", "games"),
    "rlx.reference.reference": ("Budget", "OtherScore", "ScoreProtocol", "Published", "Reference"),
    "rlx.reference.rllib": ("RllibRow", "rllib_experiments", "rllib_rows"),
    "rlx.reference.speeds": ("Throughput", "throughput"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
