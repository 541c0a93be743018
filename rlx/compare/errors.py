"""The errors of a comparison: each says what, where and what next."""

from __future__ import annotations

from rlx.errors import RlxError


class CompareError(RlxError):
    """What is to be compared cannot be: a result is damaged, missing, or does not fit."""


class CompareUsageError(CompareError):
    """The question is wrong: an option that cannot be read, or a name that nothing has."""


class MixedProtocolsError(CompareError):
    """Scores were measured in different ways and would stand in one column."""
