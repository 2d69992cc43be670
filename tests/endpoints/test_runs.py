"""The runs under way, as witnesses; what they prove together is in test_monitor.py."""

from __future__ import annotations

from tests.fakes.aio import aio
from tests.fakes.clock import FakeClock
from tests.fakes.scripted_stream import run
from worker.endpoints.cuts import Cuts
from worker.endpoints.runs import VERDICT_SECONDS, Runs
from worker.errors import Broken
from worker.run.attribution import Evidence
from worker.run.context import RunHandle


def flight(id_: int, *, sent_at: float = 0.0) -> RunHandle:
    return RunHandle(run(id_), sent_at=sent_at)


def test_who_is_beside_a_run():
    """Sent before the moment, and not failed; those that wait for a verdict still have a slot."""
    runs = Runs(FakeClock())
    one, beside, failed, later = (flight(n, sent_at=float(n)) for n in range(4))
    for control in (one, beside, failed, later):
        runs.began(control)
    failed.failed_at = 2.5
    assert runs.beside(one, 2.9) == [beside]
    assert runs.alive() == [one, beside, later]
    assert len(runs.under_way) == 4
    runs.ended(failed)
    assert len(runs.under_way) == 3


def test_who_waits_and_who_is_answered():
    """The latest that waits will tell about all that were sent before it."""
    runs = Runs(FakeClock())
    old, new = flight(1, sent_at=1.0), flight(2, sent_at=2.0)
    runs.began(old)
    runs.began(new)
    assert (runs.waiting, runs.later_waits(old), runs.later_waits(new)) == (2, True, False)
    assert not runs.any_streams()
    new.heard(1, at=5.0)
    runs.waits_no_more(new)
    assert (runs.waiting, runs.later_waits(old), runs.any_streams()) == (1, False, True)
    assert runs.heard_since(4.9)
    assert not runs.heard_since(5.0)


@aio
async def test_a_neighbour_that_neither_speaks_nor_ends_is_no_evidence():
    """Nobody waits for it longer than half a minute."""
    clock = FakeClock(autojump_seconds=0)
    runs, cuts = Runs(clock), Cuts()
    one, mute = flight(1), flight(2)
    runs.began(one)
    runs.began(mute)
    at = one.failed_at = clock.monotonic()
    verdict = await runs.verdict(one, cuts.note(one, at=at), Broken("reset"), at)
    assert verdict is Evidence.NONE
    assert clock.monotonic() - at >= VERDICT_SECONDS
