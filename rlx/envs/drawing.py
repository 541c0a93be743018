"""Pictures of observations, as functions of arrays: of what has no others, or only with more packages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""uint8 `[H, W, 3]`, red, green and blue."""

#: One colour for each of MinAtar's planes; the game with the most, Seaquest, has 10.
PLANE_COLORS: NDArray[np.uint8] = np.array(
    [
        (90, 160, 250), (250, 200, 60), (230, 80, 80), (110, 210, 120), (200, 120, 230),
        (250, 140, 60), (80, 220, 220), (240, 130, 180), (170, 170, 180), (255, 255, 255),
    ],
    np.uint8,
)  # fmt: skip

_SKY, _TRACK, _CART, _POLE, _AXLE = (
    (255, 255, 255), (0, 0, 0), (40, 40, 40), (202, 152, 101), (129, 132, 203),
)  # fmt: skip
#: Of the track, in metres, as CartPole ends an episode at 2.4 on either side.
_TRACK_WIDTH = 4.8
_POLE_LENGTH = 1.0


def draw_planes(planes: NDArray[Any]) -> Picture:
    """Draw occupancy planes `[H, W, C]` as `[H, W, 3]`: one colour each, black where all are empty.

    Where several are occupied, the last one is seen, as in MinAtar's own window.

    Raises:
        ValueError: there are more planes than colours.
    """
    height, width, channels = planes.shape
    if channels > len(PLANE_COLORS):
        raise ValueError(f"{channels} planes, but {len(PLANE_COLORS)} colours")
    picture = np.zeros((height, width, 3), np.uint8)
    for channel in range(channels):
        picture[planes[:, :, channel] != 0] = PLANE_COLORS[channel]
    return picture


def draw_cart_pole(observation: NDArray[Any], height: int = 400) -> Picture:
    """Draw CartPole's observation (cart position in metres, its speed, pole angle in radians, its speed).

    Returns:
        `[height, height * 3 / 2, 3]`: the cart on its track of 4.8 m, the pole of 1 m upright at angle 0 and
        leaning to the right at positive ones. Nothing but the observation is needed, and no pygame.
    """
    from PIL import Image, ImageDraw

    position, angle = float(observation[0]), float(observation[2])
    width = height * 3 // 2
    metre = width / _TRACK_WIDTH
    x, y = width / 2 + position * metre, 0.75 * height
    image = Image.new("RGB", (width, height), _SKY)
    pen = ImageDraw.Draw(image)
    pen.line([(0, y), (width, y)], fill=_TRACK)
    half_width, half_height = 0.2 * metre, 0.12 * metre
    pen.rectangle((x - half_width, y - half_height, x + half_width, y + half_height), fill=_CART)
    top = (x + _POLE_LENGTH * metre * math.sin(angle), y - _POLE_LENGTH * metre * math.cos(angle))
    pen.line([(x, y), top], fill=_POLE, width=max(round(0.08 * metre), 1))
    pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=_AXLE)
    return np.array(image)


def draw_cells(values: NDArray[Any]) -> Picture:
    """Draw a vector `[L]` of numbers in 0..1 as a row of L grey cells, `[8, 8 * L, 3]`, with black edges."""
    cell = 8
    picture = np.zeros((cell, cell * len(values), 3), np.uint8)
    for i, value in enumerate(values):
        grey = 60 + round(195 * min(max(float(value), 0.0), 1.0))
        picture[1 : cell - 1, i * cell + 1 : (i + 1) * cell - 1] = grey
    return picture


def draw_image(frame: NDArray[np.uint8]) -> Picture:
    """Return an observation that is an image, grey `[H, W]` or `[H, W, 1]`, or `[H, W, 3]`, as the latter."""
    grey = frame[:, :, None] if frame.ndim == 2 else frame
    return grey.repeat(3, axis=2) if grey.shape[2] == 1 else grey.copy()
