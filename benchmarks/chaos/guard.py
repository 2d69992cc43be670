"""One guard: what it is, how it is taken away, and the test that notices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One guard, how it is taken away, and who notices.

    Attributes:
        guard: what is taken away.
        file: where it is.
        old: the text that is replaced; occurs once.
        new: what stands there instead.
        test: the test that fails then.
    """

    guard: str
    file: str
    old: str
    new: str
    test: str
