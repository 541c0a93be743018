"""Where the strip stands and how long its bars are, by pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from rlx.video.overlay import (
    BACKGROUND,
    BAR,
    BAR_LEFT,
    BAR_LENGTH,
    CHOSEN,
    MARGIN,
    ROW,
    STRIP,
    Figures,
    bar_length,
    compose,
    draw_strip,
    enlarge,
    strip_height,
)

PICTURE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
FIGURES = Figures(
    step=7,
    return_so_far=3.0,
    action_names=("LEFT", "NOOP", "RIGHT"),
    q=np.array([1.0, 2.0, 3.0], np.float32),
    q_range=(1.0, 5.0),
    action=2,
)


def bars(strip: NDArray[np.uint8], color: tuple[int, int, int]) -> list[int]:
    """Return the length of each action's bar in this colour, in the middle of its row, right of the names."""
    middles = [MARGIN + ROW * (3 + action) + ROW // 2 for action in range(3)]
    return [int((strip[y, BAR_LEFT : BAR_LEFT + BAR_LENGTH] == color).all(axis=1).sum()) for y in middles]


def test_a_pixel_becomes_a_square() -> None:
    large = enlarge(PICTURE, 3)
    assert large.shape == (6, 9, 3)
    np.testing.assert_array_equal(large[3:6, 6:9], np.broadcast_to(PICTURE[1, 2], (3, 3, 3)))
    np.testing.assert_array_equal(large[::3, ::3], PICTURE)


def test_without_figures_there_is_the_picture_alone_in_even_size() -> None:
    shown = compose(PICTURE, 1, None)
    assert shown.shape == (2, 4, 3)
    np.testing.assert_array_equal(shown[:, :3], PICTURE)
    assert (shown[:, 3] == BACKGROUND).all()


@pytest.mark.parametrize("scale", [1, 60])
def test_the_strip_stands_beside_the_picture_and_covers_nothing(scale: int) -> None:
    shown = compose(PICTURE, scale, FIGURES)
    height = max(2 * scale, strip_height(3))
    assert shown.shape == (height, 3 * scale + STRIP + scale % 2, 3)
    np.testing.assert_array_equal(shown[: 2 * scale, : 3 * scale], enlarge(PICTURE, scale))
    strip = shown[: strip_height(3), 3 * scale : 3 * scale + STRIP]
    np.testing.assert_array_equal(strip, draw_strip(FIGURES))
    assert (shown[2 * scale :, : 3 * scale] == BACKGROUND).all()
    assert (shown[strip_height(3) :, 3 * scale :] == BACKGROUND).all()


def test_bars_are_as_long_as_the_values() -> None:
    strip = draw_strip(FIGURES)
    # Of the range 1 to 5: nothing, a quarter, half.
    assert bars(strip, BAR) == [0, BAR_LENGTH // 4, 0]
    assert bars(strip, CHOSEN) == [0, 0, BAR_LENGTH // 2]


def test_lengths() -> None:
    assert [bar_length(q, (-2.0, 2.0)) for q in (-2.0, -1.0, 0.0, 2.0)] == [
        0,
        BAR_LENGTH // 4,
        BAR_LENGTH // 2,
        BAR_LENGTH,
    ]
    assert bar_length(1.0, (1.0, 1.0)) == BAR_LENGTH


def test_a_finished_episode_has_no_bars_and_no_action() -> None:
    strip = draw_strip(Figures(7, 3.0, FIGURES.action_names))
    assert bars(strip, BAR) == bars(strip, CHOSEN) == [0, 0, 0]
    assert not (strip == CHOSEN).all(axis=2).any()


@pytest.mark.parametrize("change", [{"step": 8}, {"return_so_far": 4.0}, {"random": True}, {"action": 1}])
def test_every_figure_is_seen(change: dict[str, int]) -> None:
    changed = draw_strip(dataclasses.replace(FIGURES, **change))
    assert not np.array_equal(changed, draw_strip(FIGURES))


def test_eighteen_actions_with_long_names_do_not_reach_the_bars() -> None:
    """The names of Atari's full set; the longest is DOWNRIGHTFIRE."""
    names = ("DOWNRIGHTFIRE",) * 18
    strip = draw_strip(Figures(1, 0.0, names, np.zeros(18, np.float32), (-1.0, 1.0), 0))
    assert strip.shape == (strip_height(18), STRIP, 3)
    gap = strip[MARGIN + 3 * ROW : strip_height(18) - MARGIN, BAR_LEFT - 4 : BAR_LEFT]
    assert (gap == BACKGROUND).all()
