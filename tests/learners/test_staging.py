"""Buffered copies are the same as the arrays used where they lie."""

from __future__ import annotations

import numpy as np
import torch

from rlx.learners.staging import Staging, window_arrays
from tests.learners.windows import make_windows


def test_buffered_equals_direct() -> None:
    rng = np.random.default_rng(0)
    direct, buffered = (Staging(torch.device("cpu"), buffered=flag) for flag in (False, True))
    for _ in range(5):
        windows = make_windows(rng, stack=2)
        one, other = (s.ready(s.stage(windows)) for s in (direct, buffered))
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_a_staged_batch_survives_the_next_ones() -> None:
    rng = np.random.default_rng(1)
    staging = Staging(torch.device("cpu"), buffered=True)
    windows = [make_windows(rng) for _ in range(4)]
    staged = [staging.stage(w) for w in windows]
    for w, batch in zip(windows, staged, strict=True):
        np.testing.assert_array_equal(batch["frames"], w.frames)


def test_a_batch_of_another_size_gets_buffers_of_its_own() -> None:
    rng = np.random.default_rng(2)
    staging = Staging(torch.device("cpu"), buffered=True)
    for size in (8, 4, 8, 12):
        windows = make_windows(rng, batch=size)
        np.testing.assert_array_equal(staging.stage(windows)["reward"], windows["reward"])


def test_frames_travel_as_they_are_stored() -> None:
    windows = make_windows(np.random.default_rng(3), dtype=np.uint8)
    batch = Staging(torch.device("cpu"), buffered=True).stage(windows)
    assert batch["frames"].dtype == torch.uint8
    assert batch["probabilities"].dtype == torch.float32
    assert set(batch) == {"frames", "in_episode", "probabilities", *windows.columns}
    assert set(window_arrays(windows)) == set(batch)


def test_read_only_arrays_are_taken() -> None:
    windows = make_windows(np.random.default_rng(4))
    windows.frames.flags.writeable = False
    np.testing.assert_array_equal(Staging(torch.device("cpu")).stage(windows)["frames"], windows.frames)
