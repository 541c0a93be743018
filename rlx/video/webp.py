"""Animated WebP, lossless, written while it is made.

Pillow wants all pictures of an animation at once: a minute of 860 x 400 pixels at 50 per second is three
gigabytes. Here it encodes them in groups, and what it encoded goes into one file: an animation is a list of
`ANMF` chunks in a RIFF container, and each group begins with a whole picture, so groups need nothing of each
other.

Source: [WebP], "Extended File Format" and "Animation".
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Pictures that are encoded together; so many are in memory.
GROUP = 64

_ANIMATED = 0x02
_NO_BLENDING = 0x02
#: Of libwebp, for pictures with few colours: larger numbers cost time and save less than a tenth.
_EFFORT = {"lossless": True, "method": 2, "quality": 20}


class WebpAnimation:
    """An animation in a file that is open for writing; `close` completes it, and leaves the file open.

    Args:
        file: empty, and able to seek.
        fps: pictures per second, above 0.
        group: pictures that are encoded together.
    """

    def __init__(self, file: BinaryIO, fps: float, group: int = GROUP) -> None:
        self._file = file
        self._fps = fps
        self._group = group
        self._waiting: list[Image.Image] = []
        self._written = 0
        self._size: tuple[int, int] | None = None

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Append a picture uint8 `[H, W, 3]`.

        Raises:
            ValueError: its size is not that of the first one.
        """
        image = Image.fromarray(picture)
        if self._size is None:
            self._size = image.size
            self._file.write(_header(image.size))
        if image.size != self._size:
            raise ValueError(f"a picture of {image.size} in a video of {self._size}")
        self._waiting.append(image)
        if len(self._waiting) == self._group:
            self._flush()

    def close(self) -> None:
        """Encode what waits and write the container's size.

        Raises:
            ValueError: there is no picture.
        """
        if self._size is None:
            raise ValueError("a video without a picture")
        self._flush()
        length = self._file.tell()
        self._file.seek(4)
        self._file.write(struct.pack("<I", length - 8))
        self._file.seek(length)

    def _milliseconds(self, pictures: int) -> int:
        """Return when this picture begins; rounded once, so that no error adds up."""
        return round(1000 * pictures / self._fps)

    def _flush(self) -> None:
        if not self._waiting:
            return
        first, *others = self._waiting
        count = len(self._waiting)
        begins = [self._milliseconds(self._written + i) for i in range(count + 1)]
        durations = [after - begin for begin, after in itertools.pairwise(begins)]
        buffer = io.BytesIO()
        first.save(buffer, "WEBP", save_all=bool(others), append_images=others, duration=durations, **_EFFORT)
        chunks = list(_chunks(buffer.getvalue()))
        if any(name == b"ANMF" for name, _ in chunks):
            for name, content in chunks:
                if name == b"ANMF":
                    self._file.write(_chunk(name, content))
        else:
            # One picture, or several that are equal: then there is no animation, and no duration.
            assert self._size is not None
            self._file.write(_whole_frame(self._size, sum(durations), chunks))
        self._written += count
        self._waiting = []


def _header(size: tuple[int, int]) -> bytes:
    """Return the start of an animation that repeats for ever; the length of the whole is left open."""
    width, height = size
    canvas = bytes([_ANIMATED, 0, 0, 0]) + _uint24(width - 1) + _uint24(height - 1)
    background_and_loops = struct.pack("<IH", 0xFF000000, 0)
    return b"RIFF\0\0\0\0WEBP" + _chunk(b"VP8X", canvas) + _chunk(b"ANIM", background_and_loops)


def _whole_frame(size: tuple[int, int], milliseconds: int, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Return a still image's data as one frame of an animation."""
    width, height = size
    where = _uint24(0) + _uint24(0) + _uint24(width - 1) + _uint24(height - 1)
    image = b"".join(_chunk(name, content) for name, content in chunks if name in (b"VP8L", b"VP8 "))
    return _chunk(b"ANMF", where + _uint24(milliseconds) + bytes([_NO_BLENDING]) + image)


def _chunks(riff: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of every chunk of a WebP file."""
    at = 12
    while at + 8 <= len(riff):
        name, length = riff[at : at + 4], struct.unpack_from("<I", riff, at + 4)[0]
        yield name, riff[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")
