"""The numba decorator of this package, typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile on first use, cache on disk, release the interpreter lock while running."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))
