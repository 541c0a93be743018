"""Endings, missing packages, and that a file is there whole or not at all."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rlx.video.errors import VideoError
from rlx.video.writer import check_file, video_file
from tests.video.test_webp import noise, read


def blocks(count: int) -> list[NDArray[np.uint8]]:
    """Return plain pictures, each brighter than the one before."""
    return [np.full((32, 48, 3), 20 + 20 * index, np.uint8) for index in range(count)]


def test_webp_in_a_folder_that_is_new(tmp_path: Path) -> None:
    file = tmp_path / "new" / "video.WEBP"
    with video_file(file, 20) as add:
        for picture in noise(3):
            add(picture)
        assert not file.exists(), "not before it is whole"
    found, durations = read(file)
    np.testing.assert_array_equal(found, noise(3))
    assert durations == [50] * 3
    assert [path.name for path in file.parent.iterdir()] == ["video.WEBP"]


def test_mp4_has_the_pictures_and_the_time(tmp_path: Path) -> None:
    imageio = pytest.importorskip("imageio.v2", reason="needs the extra video")
    pytest.importorskip("imageio_ffmpeg", reason="needs the extra video")
    file = tmp_path / "video.mp4"
    with video_file(file, 10) as add:
        for picture in blocks(8):
            add(picture)
    reader = imageio.get_reader(file)
    facts = reader.get_meta_data()
    assert (facts["codec"], facts["size"], facts["fps"]) == ("h264", (48, 32), 10)
    assert facts["duration"] == pytest.approx(0.8)
    found = [np.asarray(picture) for picture in reader]
    assert len(found) == 8
    for seen, given in zip(found, blocks(8), strict=True):
        # H.264 loses a little.
        assert abs(float(seen.mean()) - float(given.mean())) < 4
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


@pytest.mark.parametrize("ending", [".webp", ".mp4"])
def test_nothing_is_left_of_what_failed(tmp_path: Path, ending: str) -> None:
    if ending == ".mp4":
        pytest.importorskip("imageio_ffmpeg", reason="needs the extra video")
    file = tmp_path / f"video{ending}"
    file.write_text("what was there")

    def interrupted() -> None:
        with video_file(file, 10) as add:
            add(blocks(1)[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ValueError, match="without a picture"), video_file(file, 10):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_text() == "what was there"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.gif", r"a\.gif: ending '\.gif' unknown; known: \.webp, \.mp4"),
        ("a", r"a: a name without an ending; known: \.webp, \.mp4"),
    ],
)
def test_endings_that_are_not_known(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(VideoError, match=message):
        check_file(tmp_path / name)
    with pytest.raises(VideoError), video_file(tmp_path / name, 10):
        pass
    assert not list(tmp_path.iterdir())


def test_mp4_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec("json")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "imageio_ffmpeg" else found)
    with pytest.raises(VideoError, match=r"MP4 needs imageio_ffmpeg, .*pip install 'rlx\[video\]'"):
        check_file(tmp_path / "a.mp4")
    check_file(tmp_path / "a.webp")
