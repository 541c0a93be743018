"""What is written is read back with Pillow, picture by picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rlx.video.webp import WebpAnimation

Pictures = list[NDArray[np.uint8]]


def noise(count: int, seed: int = 0) -> Pictures:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 6, 10, 3), np.uint8))


def written(pictures: Pictures, fps: float = 10.0, group: int = 4) -> io.BytesIO:
    file = io.BytesIO()
    animation = WebpAnimation(file, fps, group)
    for picture in pictures:
        animation.add(picture)
    animation.close()
    return file


def read(file: io.BytesIO | Path) -> tuple[Pictures, list[int]]:
    """Return the pictures of an animation and how many milliseconds each is shown."""
    pictures, durations = [], []
    with Image.open(file) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            pictures.append(np.array(image.convert("RGB")))
            durations.append(int(image.info["duration"]))
    return pictures, durations


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8, 9, 11])
def test_every_picture_comes_back_exactly(count: int) -> None:
    """Groups of four: with and without a rest, with a rest of one."""
    pictures = noise(count)
    found, durations = read(written(pictures))
    assert durations == [100] * count
    np.testing.assert_array_equal(found, pictures)


def test_what_changes_in_part_comes_back_exactly() -> None:
    """Then libwebp stores rectangles, which must not be laid on the group before."""
    pictures = [np.full((6, 10, 3), 7, np.uint8)]
    for index in range(1, 9):
        pictures.append(pictures[-1].copy())
        pictures[-1][index % 6, index] = 200
    np.testing.assert_array_equal(read(written(pictures))[0], pictures)


def test_equal_pictures_are_one_that_stands_longer() -> None:
    one, other = noise(2)
    # The group of four equal ones is a still image for Pillow, which has no duration.
    found, durations = read(written([one] * 4 + [other] * 2 + [one]))
    np.testing.assert_array_equal(found, [one, other, one])
    assert durations == [400, 200, 100]


@pytest.mark.parametrize("fps", [15.0, 60.0, 7.5])
def test_times_do_not_drift(fps: float) -> None:
    _, durations = read(written(noise(23), fps))
    assert sum(durations) == round(1000 * 23 / fps)
    assert set(durations) <= {int(1000 / fps), int(1000 / fps) + 1}


def test_the_container_says_its_length_and_repeats_for_ever() -> None:
    content = written(noise(5)).getvalue()
    assert content[:4] + content[8:12] == b"RIFFWEBP"
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    with Image.open(io.BytesIO(content)) as image:
        assert image.info["loop"] == 0


def test_what_is_no_video() -> None:
    with pytest.raises(ValueError, match="without a picture"):
        written([])
    with pytest.raises(ValueError, match=r"a picture of \(10, 5\) in a video of \(10, 6\)"):
        written([*noise(1), np.zeros((5, 10, 3), np.uint8)])
