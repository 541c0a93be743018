"""Pictures of observations, pixel by pixel where a hand can tell them."""

from __future__ import annotations

import numpy as np
import pytest

from rlx.envs.drawing import PLANE_COLORS, draw_cart_pole, draw_cells, draw_image, draw_planes

CART, POLE, SKY = (40, 40, 40), (202, 152, 101), (255, 255, 255)


def test_planes_have_a_colour_each_and_the_last_one_is_on_top() -> None:
    planes = np.zeros((10, 10, 4), np.uint8)
    planes[9, 3, 0] = 1
    planes[2, 5, 1] = 1
    planes[2, 5, 3] = 1
    picture = draw_planes(planes)
    assert picture.shape == (10, 10, 3)
    assert tuple(picture[9, 3]) == tuple(PLANE_COLORS[0]) == (90, 160, 250)
    assert tuple(picture[2, 5]) == tuple(PLANE_COLORS[3])
    assert picture.any(axis=2).sum() == 2


def test_colours_are_distinct_and_there_are_enough() -> None:
    assert len({tuple(color) for color in PLANE_COLORS.tolist()}) == len(PLANE_COLORS) == 10
    assert PLANE_COLORS.any(axis=1).all(), "black is the ground"
    with pytest.raises(ValueError, match="11 planes, but 10 colours"):
        draw_planes(np.zeros((10, 10, 11)))


def test_the_cart_stands_where_it_is_and_the_pole_leans() -> None:
    # 600 pixels are 4.8 m: 125 a metre. The track is at 300 of 400.
    upright = draw_cart_pole(np.array([0.0, 0.0, 0.0, 0.0]))
    assert upright.shape == (400, 600, 3)
    assert tuple(upright[300, 320]) == CART
    assert tuple(upright[200, 300]) == POLE
    assert tuple(upright[200, 280]) == SKY
    assert tuple(upright[160, 300]) == SKY, "the pole is 125 pixels long"
    right = draw_cart_pole(np.array([1.2, 0.0, 0.0, 0.0]))
    assert tuple(right[300, 470]) == CART
    assert tuple(right[300, 320]) != CART
    # 30 degrees to the right: the middle of the pole is 31 pixels right and 54 above the axle.
    leaning = draw_cart_pole(np.array([0.0, 0.0, np.pi / 6, 0.0]))
    assert tuple(leaning[246, 331]) == POLE
    assert tuple(leaning[246, 269]) == SKY


def test_cells() -> None:
    picture = draw_cells(np.array([0.0, 1.0, 7.0]))
    assert picture.shape == (8, 24, 3)
    assert [int(picture[4, x, 0]) for x in (4, 12, 20)] == [60, 255, 255]
    assert not picture[:, [0, 7, 8, 15, 16, 23]].any()


def test_images_are_as_they_are() -> None:
    grey = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    for frame in (grey, grey[:, :, None]):
        picture = draw_image(frame)
        assert picture.shape == (2, 3, 3)
        assert (picture == grey[:, :, None]).all()
    color = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(draw_image(color), color)
