import numpy as np
import pytest

from rlx.bench import sequences
from rlx.bench.figure import QUICK, Context


def test_frames_are_those_of_a_game() -> None:
    frames = sequences.game_frames(2, 30)
    assert frames.shape == (2, 30, 84, 84)
    assert frames.dtype == np.uint8
    # Something moves, most of it does not.
    changed = (frames[:, 1:] != frames[:, :-1]).mean()
    assert 0 < changed < 0.1


def test_the_figures_and_their_limits() -> None:
    rows = list(sequences._sequences(Context(QUICK, "cpu", lambda part: None, lambda text: None)))
    (figure,) = sequences.FIGURES
    assert tuple(row.name for row in rows) == figure.names
    draw, size, add, transitions = rows
    for drawn in (draw, transitions):
        assert drawn.ratio == pytest.approx(drawn.value / drawn.limit)
        assert drawn.ok is None
    assert size.limit > 84 * 84
    # Lanes are short here: much of what they hold is in the chunk that is still filling.
    assert size.ratio > 3
    assert size.ratio == pytest.approx(size.limit / size.value)
    assert add.limit == 40_000.0
