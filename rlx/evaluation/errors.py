"""The error of this package that a user can cause; wrong arrays are ValueErrors."""

from __future__ import annotations

from rlx.errors import RlxError


class TooFewSeedsError(RlxError):
    """An interval is asked for, and there is only one seed: nothing says how much seeds differ."""
