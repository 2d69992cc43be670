"""The nearest of a list, for whoever misspelt a word of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LIKENESS = 0.6  # of 1: what most people mean when they mistype


def nearest(word: str, known: Iterable[str], *, likeness: float = LIKENESS) -> str | None:
    """The known word that is most like `word`, or None if none is like it."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=likeness)
    return close[0] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the end of a message, or nothing."""
    close = nearest(word, known)
    return f"; did you mean {close}?" if close else ""
