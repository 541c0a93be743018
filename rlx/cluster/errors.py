"""Errors of clusters: each says what, where and what next. The CLI words them in one place."""

from __future__ import annotations

from rlx.errors import RlxError


class ClusterError(RlxError):
    """The provider refuses, cannot be reached, or does not have what the cluster needs."""


class ClusterUsageError(RlxError):
    """The verb does not go with this cluster file, or with this terminal."""
