"""What is seen: the picture enlarged, and beside it the strip with return, action and Q values.

The strip stands at the right of the picture and covers nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

#: Width of the strip in pixels.
STRIP = 300
#: Height of a row of the strip: three of text, then one for each action.
ROW = 18
MARGIN = 10
#: Left end and greatest length of a bar, in pixels from the strip's left edge.
BAR_LEFT, BAR_LENGTH = 120, 100

BACKGROUND = (18, 20, 26)
TEXT = (225, 228, 235)
BAR = (84, 130, 190)
CHOSEN = (240, 170, 60)
_FONT_SIZE = 13
_TEXT_ROWS = 3


@dataclass(frozen=True)
class Figures:
    """What the strip says of a state.

    Attributes:
        step: env steps of the episode before this state.
        return_so_far: raw rewards before this state, added up.
        action_names: of all A actions.
        q: Q values `[A]` of this state; None when the episode is over.
        q_range: least and greatest Q value of the episode so far: both ends of the bars.
        action: what is done here; None when the episode is over.
        random: whether the action was drawn at random.
    """

    step: int
    return_so_far: float
    action_names: tuple[str, ...]
    q: NDArray[np.float32] | None = None
    q_range: tuple[float, float] = (0.0, 0.0)
    action: int | None = None
    random: bool = False


def enlarge(picture: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Return `[H * scale, W * scale, 3]`: each pixel of `[H, W, 3]` as a square."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def compose(picture: NDArray[np.uint8], scale: int, figures: Figures | None) -> NDArray[np.uint8]:
    """Return what one picture of the video shows.

    Args:
        picture: uint8 `[H, W, 3]`.
        scale: pixels of the video for one of the picture, at least 1.
        figures: for the strip; None leaves it out.

    Returns:
        uint8 `[H', W', 3]`, both even, as H.264 asks for: the picture at the top left, the strip at its
        right, and the background wherever one of them is shorter.
    """
    large = enlarge(picture, scale)
    height, width = large.shape[:2]
    strip = None if figures is None else draw_strip(figures)
    full_height = height if strip is None else max(height, strip.shape[0])
    full_width = width if strip is None else width + STRIP
    canvas = np.empty((full_height + full_height % 2, full_width + full_width % 2, 3), np.uint8)
    canvas[:] = BACKGROUND
    canvas[:height, :width] = large
    if strip is not None:
        canvas[: strip.shape[0], width : width + STRIP] = strip
    return canvas


def strip_height(num_actions: int) -> int:
    """Return the height of the strip in pixels."""
    return 2 * MARGIN + ROW * (_TEXT_ROWS + num_actions)


def bar_length(q: float, q_range: tuple[float, float]) -> int:
    """Return the pixels of a bar: 0 at the lower end of the range, `BAR_LENGTH` at the upper end.

    A range that is a point gives `BAR_LENGTH`.
    """
    low, high = q_range
    if not high > low:
        return BAR_LENGTH
    return round(BAR_LENGTH * (q - low) / (high - low))


def draw_strip(figures: Figures) -> NDArray[np.uint8]:
    """Draw the strip: uint8 `[strip_height(A), STRIP, 3]`."""
    names = figures.action_names
    image = Image.new("RGB", (STRIP, strip_height(len(names))), BACKGROUND)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(_FONT_SIZE)
    if figures.action is None:
        done = "the episode is over"
    else:
        done = f"action {names[figures.action]}" + (" (random)" if figures.random else "")
    for row, text in enumerate((f"return {figures.return_so_far:g}", f"step {figures.step}", done)):
        pen.text((MARGIN, _middle(row)), text, fill=TEXT, font=font, anchor="lm")
    for action, name in enumerate(names):
        y = _middle(_TEXT_ROWS + action)
        color = CHOSEN if action == figures.action else TEXT
        pen.text((MARGIN, y), name, fill=color, font=font, anchor="lm")
        if figures.q is None:
            continue
        q = float(figures.q[action])
        pen.text((STRIP - MARGIN, y), f"{q:.3g}", fill=color, font=font, anchor="rm")
        length = bar_length(q, figures.q_range)
        if length > 0:
            bar = (BAR_LEFT, y - ROW // 4, BAR_LEFT + length - 1, y + ROW // 4)
            pen.rectangle(bar, fill=CHOSEN if action == figures.action else BAR)
    return np.array(image)


def _middle(row: int) -> int:
    return MARGIN + row * ROW + ROW // 2
