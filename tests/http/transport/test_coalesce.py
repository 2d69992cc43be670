"""One timer wakes whatever is parked, in order, and never later than asked."""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref

from benchmarks.worlds.loop import WorldLoop
from worker.http.transport.coalesce import READS_PER_SECOND_MAX, Wheel

INTERVAL = 0.08


def simulated(test):
    """Run a coroutine in simulated time: a busy machine is as fast as an idle one."""

    @functools.wraps(test)
    def run():
        with asyncio.Runner(loop_factory=WorldLoop) as runner:
            runner.run(test())

    return run


class Sleeper:
    def __init__(self, log: list[Sleeper]) -> None:
        self.log = log
        self.woken_at: float | None = None
        self.woken = asyncio.Event()

    def wake(self) -> None:
        self.woken_at = asyncio.get_running_loop().time()
        self.log.append(self)
        self.woken.set()


@simulated
async def test_who_parks_is_woken_within_the_interval():
    """Also when the time asked for is longer: the interval is the limit."""
    wheel, sleeper = Wheel(INTERVAL), Sleeper([])
    start = asyncio.get_running_loop().time()
    assert wheel.park(sleeper, 60)
    await sleeper.woken.wait()
    assert sleeper.woken_at is not None
    assert INTERVAL * 0.99 <= sleeper.woken_at - start <= INTERVAL * 1.01


@simulated
async def test_a_shorter_wait_ends_before_a_longer_one():
    """However late it was asked for within the turn."""
    log: list[Sleeper] = []
    wheel, long, short = Wheel(INTERVAL), Sleeper(log), Sleeper(log)
    assert wheel.park(long, INTERVAL)
    assert wheel.park(short, INTERVAL / 4)
    await long.woken.wait()
    assert log == [short, long]


@simulated
async def test_less_than_a_slot_is_not_worth_parking():
    """The caller then goes on reading."""
    wheel, sleeper = Wheel(INTERVAL), Sleeper([])
    assert not wheel.park(sleeper, INTERVAL / 10)


@simulated
async def test_many_share_one_timer_and_all_wake():
    """A thousand streams cost as many timers as one."""
    log: list[Sleeper] = []
    wheel = Wheel(INTERVAL)
    sleepers = [Sleeper(log) for _ in range(1000)]
    for number, sleeper in enumerate(sleepers):
        assert wheel.park(sleeper, INTERVAL * (1 + number % 8) / 8)
    await asyncio.gather(*(sleeper.woken.wait() for sleeper in sleepers))
    assert sorted(map(id, log)) == sorted(map(id, sleepers))


@simulated
async def test_after_a_rest_it_turns_again():
    """The timer stops when nobody is parked and starts with the next one."""
    wheel = Wheel(INTERVAL)
    for _ in range(2):
        sleeper = Sleeper([])
        wheel.park(sleeper, INTERVAL / 2)
        await sleeper.woken.wait()


@simulated
async def test_closed_it_wakes_nobody_and_holds_nobody():
    """A transport that is closed leaves nothing behind."""
    wheel = Wheel(INTERVAL)
    sleeper = Sleeper([])
    gone = weakref.ref(sleeper)
    wheel.park(sleeper, INTERVAL / 8)
    wheel.close()
    del sleeper
    gc.collect()
    assert gone() is None


@simulated
async def test_the_more_are_parked_the_slower_it_turns():
    """A worker reads so often a second, however many streams it has; never later than the most."""
    for parked, interval in ((10, 0.08), (READS_PER_SECOND_MAX // 10, 0.1), (10_000, 0.2)):
        wheel, sleepers = Wheel(0.08, 0.2), [Sleeper([]) for _ in range(parked)]
        start = asyncio.get_running_loop().time()
        for sleeper in sleepers:
            assert wheel.park(sleeper, 60)
        await asyncio.gather(*(sleeper.woken.wait() for sleeper in sleepers))
        waited = max(sleeper.woken_at or 0.0 for sleeper in sleepers) - start
        # The first slot was armed when one was parked.
        assert interval * 7 / 8 <= waited <= interval * 1.01


@simulated
async def test_it_is_never_faster_than_asked():
    """A shorter `most` than the interval is no shorter interval."""
    assert Wheel(0.2, 0.1).most_seconds == 0.2
