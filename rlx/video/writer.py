"""A file for a video: what its name's ending means, and that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlx.video.errors import VideoError

#: Takes a picture uint8 `[H, W, 3]`; all pictures of a video have one size.
Add = Callable[[NDArray[np.uint8]], None]

WEBP, MP4 = ".webp", ".mp4"


def check_file(file: Path) -> None:
    """Raise unless a video of this name can be written here.

    Raises:
        VideoError: its ending is unknown, or the package for it is not installed.
    """
    ending = file.suffix.lower()
    if ending == MP4:
        missing = [name for name in ("imageio", "imageio_ffmpeg") if importlib.util.find_spec(name) is None]
        if missing:
            raise VideoError(
                f"MP4 needs {' and '.join(missing)}, not installed here",
                str(file),
                "pip install 'rlx[video]', or write .webp, which needs nothing",
            )
    elif ending != WEBP:
        what = f"ending {file.suffix!r} unknown" if file.suffix else "a name without an ending"
        raise VideoError(what, str(file), "known: .webp, .mp4")


@contextlib.contextmanager
def video_file(file: Path, fps: float) -> Iterator[Add]:
    """Write a video; yields what takes its pictures.

    The file appears under its name when the block ends. If the block raises, nothing is left, and a file that
    was there before stays. Height and width must be even for `.mp4`.

    Args:
        file: `.webp` (lossless) or `.mp4` (H.264). Its folder is made.
        fps: pictures per second, above 0.

    Raises:
        VideoError: as `check_file`.
        ValueError: no picture, or pictures of different sizes.
    """
    check_file(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.stem}.{os.getpid()}.tmp{file.suffix.lower()}")
    try:
        with (_mp4 if file.suffix.lower() == MP4 else _webp)(temporary, fps) as add:
            yield add
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _webp(file: Path, fps: float) -> Iterator[Add]:
    from rlx.video.webp import WebpAnimation

    with file.open("wb") as handle:
        animation = WebpAnimation(handle, fps)
        yield animation.add
        animation.close()


@contextlib.contextmanager
def _mp4(file: Path, fps: float) -> Iterator[Add]:
    import imageio.v2

    writer = imageio.v2.get_writer(
        file,
        format="FFMPEG",
        fps=fps,
        codec="libx264",
        quality=8,
        # Otherwise pictures are stretched to multiples of 16.
        macro_block_size=1,
        ffmpeg_log_level="error",
    )
    added = 0

    def add(picture: NDArray[np.uint8]) -> None:
        nonlocal added
        writer.append_data(np.ascontiguousarray(picture))
        added += 1

    try:
        yield add
    finally:
        writer.close()
    if not added:
        raise ValueError("a video without a picture")
