"""The errors of this package; each names what is nearest to what was asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from rlx.errors import RlxError


class UnknownGameError(RlxError):
    """No game of the 57 has this name, or no reference has a curve of it."""


class UnknownReferenceError(RlxError):
    """No published result has this name."""


class ReferenceDataError(RlxError):
    """A data file of the package is missing or damaged."""


def did_you_mean(text: str, choices: Iterable[str]) -> str:
    """Return `did you mean 'x' or 'y'?` with at most three choices, or an empty text.

    Case, hyphens and underscores do not count, and a choice that contains the text is near.
    """
    by_key: dict[str, str] = {}
    for choice in choices:
        by_key.setdefault(plain(choice), choice)
    key = plain(text)
    near = difflib.get_close_matches(key, by_key, n=3, cutoff=0.6)
    if len(key) > 2:
        near += [other for other in by_key if key in other and other not in near]
    return f"did you mean {' or '.join(repr(by_key[found]) for found in near[:3])}?" if near else ""


def plain(text: str) -> str:
    """Return the letters and digits of a text in lower case."""
    return "".join(letter for letter in text.lower() if letter.isalnum())
