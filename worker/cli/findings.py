"""What a check of `spool doctor` found, and how it is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Health(StrEnum):
    """How bad it is."""

    OK = "ok"
    DOUBTFUL = "doubtful"  # works, or may work, but somebody should look
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: `program`, `database`, `disk`, `clock`, `settings`, `commits`, `answers`,
            or `endpoint NAME`.
        said: what was found.
        cure: what to do about it; empty if nothing is to be done.
    """

    about: str
    health: Health
    said: str
    cure: str = ""

    def __str__(self) -> str:
        mark = "ok" if self.health is Health.OK else self.health.upper()
        return f"{mark:<9} {self.about}: {self.said}{'; ' + self.cure if self.cure else ''}"

    def as_object(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "health": str(self.health)}


def ok(about: str, said: str) -> Finding:
    """Nothing is to be done."""
    return Finding(about, Health.OK, said)


def doubtful(about: str, said: str, cure: str = "") -> Finding:
    """Somebody should look."""
    return Finding(about, Health.DOUBTFUL, said, cure)


def broken(about: str, said: str, cure: str = "") -> Finding:
    """It cannot work."""
    return Finding(about, Health.BROKEN, said, cure)
