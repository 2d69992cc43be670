"""What a check of `spool doctor` found, and how it is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class CheckStatus(StrEnum):
    """How bad it is."""

    OK = "ok"
    DOUBTFUL = "doubtful"  # works, or may work, but somebody should look
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was looked at.

    Attributes:
        about: `program`, `database`, `disk`, `clock`, `settings`, `commits`, `answers`,
            or `endpoint NAME`.
        said: what was found.
        cure: what to do about it; empty if nothing is to be done.
    """

    about: str
    health: CheckStatus
    said: str
    cure: str = ""

    def __str__(self) -> str:
        mark = "ok" if self.health is CheckStatus.OK else self.health.upper()
        return f"{mark:<9} {self.about}: {self.said}{'; ' + self.cure if self.cure else ''}"

    def as_object(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "health": str(self.health)}


def ok(about: str, said: str) -> CheckResult:
    """Nothing is to be done."""
    return CheckResult(about, CheckStatus.OK, said)


def doubtful(about: str, said: str, cure: str = "") -> CheckResult:
    """Somebody should look."""
    return CheckResult(about, CheckStatus.DOUBTFUL, said, cure)


def broken(about: str, said: str, cure: str = "") -> CheckResult:
    """It cannot work."""
    return CheckResult(about, CheckStatus.BROKEN, said, cure)
