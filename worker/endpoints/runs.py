"""The runs under way at one endpoint, as witnesses of how it is."""

from __future__ import annotations

from math import inf

from worker.clock import Clock
from worker.endpoints.cuts import TOGETHER_SECONDS, WENT_ON_SECONDS, Cut
from worker.errors import ErrorCode, SpoolError
from worker.run.attribution import Evidence
from worker.run.context import RunHandle

VERDICT_SECONDS = 30.0  # a run that failed waits no longer for what others may show
LOOK_SECONDS = 1.0  # between two looks at what the others do


class Runs:
    """Who is under way, who waits for a first frame, and who went on where another broke off."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._under_way: dict[int, RunHandle] = {}
        self._waiting: dict[int, RunHandle] = {}  # for their first frame, in the order of sending

    @property
    def under_way(self) -> list[RunHandle]:
        """All that have a slot, those included that wait for a verdict."""
        return list(self._under_way.values())

    @property
    def waiting(self) -> int:
        """How many wait for their first frame."""
        return len(self._waiting)

    def began(self, control: RunHandle) -> None:
        """A run is sent."""
        self._under_way[control.run.id] = self._waiting[control.run.id] = control

    def waits_no_more(self, control: RunHandle) -> None:
        """Its first frame came, or never will."""
        self._waiting.pop(control.run.id, None)

    def ended(self, control: RunHandle) -> None:
        """Its end is stored."""
        self._waiting.pop(control.run.id, None)
        self._under_way.pop(control.run.id, None)

    def alive(self) -> list[RunHandle]:
        """Those that have not failed."""
        return [each for each in self._under_way.values() if each.failed_at is None]

    def any_streams(self) -> bool:
        """Whether any of them is being answered."""
        return any(not each.is_waiting for each in self.alive())

    def beside(self, control: RunHandle, at: float) -> list[RunHandle]:
        """Those that were sent before that moment and have not failed."""
        return [each for each in self.alive() if each is not control and each.sent_at < at]

    def later_waits(self, control: RunHandle) -> bool:
        """Whether a run that was sent later waits for its first frame: it will tell."""
        last = next(reversed(self._waiting.values()), None)
        return last is not None and last.sent_at > control.sent_at

    def heard_since(self, at: float) -> bool:
        """Whether any of them received a frame since then."""
        return any(_heard(each) > at for each in self._under_way.values())

    async def verdict(self, control: RunHandle, cut: Cut, error: SpoolError, at: float) -> Evidence:
        """Whether those beside a run that broke off did so as well, or went on."""
        if error.code is ErrorCode.IDLE_TIMEOUT and control.heard_at is not None:
            middle = (control.heard_at + at) / 2  # of its silence
            if any(_heard(each) > middle for each in self.beside(control, at)):
                return Evidence.WELL
        await self._clock.sleep(0)  # who broke off in this very moment has not said so yet
        while self._clock.monotonic() < at + VERDICT_SECONDS:
            if cut.is_company:
                return Evidence.DOWN
            beside = self.beside(control, at)
            if not beside:
                return Evidence.NONE
            if any(_heard(each) > at + WENT_ON_SECONDS for each in beside):
                return Evidence.WELL
            await self._clock.sleep(TOGETHER_SECONDS)
        return Evidence.NONE


def _heard(control: RunHandle) -> float:
    return -inf if control.heard_at is None else control.heard_at
