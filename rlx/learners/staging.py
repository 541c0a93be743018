"""Moving windows to the learner's device: pinned, double-buffered, on a stream of its own."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from rlx.replay.windows import Windows

Batch = dict[str, torch.Tensor]

# Windows that came through the object store are read-only; the learner never writes to them.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

#: In front of a sparse column's name: where its values are known.
SPARSE_KNOWN = "known/"

#: Window fields that learning needs on the device, besides the columns.
_FIELDS = ("frames", "in_episode", "probabilities")


def window_arrays(windows: Windows) -> dict[str, np.ndarray]:
    """Return the arrays that go to the device.

    `frames`, `in_episode`, `probabilities`, columns, sparse columns.
    """
    arrays = {name: getattr(windows, name) for name in _FIELDS}
    arrays["probabilities"] = arrays["probabilities"].astype(np.float32)
    known = {SPARSE_KNOWN + name: flags for name, flags in windows.sparse_known.items()}
    return {**windows.columns, **windows.sparse, **known, **arrays}


class Staging:
    """Copy window arrays to a device.

    On CUDA every array goes through one of two sets of pinned buffers and a copy stream, so that the
    copy of one batch runs beside the update on the one before. uint8 frames travel as uint8; stacking
    and scaling happen on the device. On the CPU the arrays are used where they lie, unless `buffered`
    asks for the same two sets of buffers (tests of this path on machines without a GPU).
    """

    def __init__(self, device: torch.device, *, buffered: bool | None = None) -> None:
        self.device = device
        self.cuda = device.type == "cuda"
        self.buffered = self.cuda if buffered is None else buffered
        self._sets: list[Batch] = [{}, {}]
        self._copied: list[torch.cuda.Event | None] = [None, None]
        self._turn = 0
        self._stream = torch.cuda.Stream(device) if self.cuda else None

    def stage(self, windows: Windows) -> Batch:
        """Start the copy of a batch; `ready` must be called before it is used."""
        arrays = window_arrays(windows)
        if not self.buffered:
            return {name: torch.from_numpy(array) for name, array in arrays.items()}
        turn, self._turn = self._turn, 1 - self._turn
        copied = self._copied[turn]
        if copied is not None:
            copied.synchronize()  # the pinned set is free once its last copy has left
        buffers = self._sets[turn]
        for name, array in arrays.items():
            source = torch.from_numpy(array)
            if name not in buffers or buffers[name].shape != source.shape:
                buffers[name] = torch.empty(source.shape, dtype=source.dtype, pin_memory=self.cuda)
            buffers[name].copy_(source)
        if self._stream is None:
            return {name: buffers[name].to(self.device, copy=True) for name in arrays}
        with torch.cuda.stream(self._stream):
            batch = {name: buffers[name].to(self.device, non_blocking=True) for name in arrays}
            event = torch.cuda.Event()
            event.record(self._stream)
        self._copied[turn] = event
        return batch

    def ready(self, batch: Batch) -> Batch:
        """Make the update's stream wait for the copy and own its memory."""
        if self._stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self._stream)
            for tensor in batch.values():
                tensor.record_stream(current)
        return batch
