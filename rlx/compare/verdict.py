"""Above, within or below: whether two scores differ by more than the reference's runs do among themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rlx.reference.atari import Baseline

Word = Literal["above", "within", "below"]

#: Standard deviations over seeds.
SPREADS = 2.0
#: Where no spread is published: of the reference's distance from the random policy, but at least ...
OF_REFERENCE = 0.25
#: ... of the distance from random to human.
OF_HUMAN = 0.05

KNOWN_RULE = "2 standard deviations over the reference's seeds"
WIDE_RULE = (
    "no spread is published: a quarter of the reference's distance from random, "
    "at least 5% of that from random to human"
)


@dataclass(frozen=True)
class Verdict:
    """A verdict, the margin that it rests on in raw score, and the rule that gave the margin."""

    word: Word
    margin: float
    rule: str


def judge(score: float, reference: float, spread: float | None, baseline: Baseline) -> Verdict:
    """Say whether a score is above, within or below a reference's.

    The margin is two standard deviations over the reference's seeds. Where that is not published, it is a
    quarter of the reference's distance from the random policy, at least 5% of the distance from random to
    human: single runs differ so much that smaller differences are no verdict.

    Args:
        score: ours, the mean over seeds.
        reference: the published score.
        spread: its standard deviation over seeds; None if not known.
        baseline: random and human scores of the game.
    """
    if spread is not None:
        margin, rule = SPREADS * spread, KNOWN_RULE
    else:
        wide = OF_REFERENCE * abs(reference - baseline.random)
        margin, rule = max(wide, OF_HUMAN * abs(baseline.human - baseline.random)), WIDE_RULE
    if score > reference + margin:
        return Verdict("above", margin, rule)
    return Verdict("below" if score < reference - margin else "within", margin, rule)
