"""The one error of this package."""

from __future__ import annotations

from rlx.errors import RlxError


class VideoError(RlxError):
    """A video cannot be written as it was asked for."""
