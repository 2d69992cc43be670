"""The clock of a world jumps to the next timer, and says so when there is none."""

from __future__ import annotations

import asyncio
import time

import pytest

from benchmarks.worlds.loop import EPOCH, NothingLeft, WorldClock, WorldLoop, pass_


def play(main):
    with asyncio.Runner(loop_factory=WorldLoop) as runner:
        return runner.run(main())


def test_six_hours_pass_in_the_order_of_their_timers():
    """Sleepers wake at their own time, whoever lay down first."""
    woken = []

    async def sleeper(seconds):
        await pass_(seconds)
        woken.append((seconds, asyncio.get_running_loop().time()))

    async def main():
        await asyncio.gather(*map(sleeper, (6 * 3600, 60, 3600, 60.5)))

    play(main)
    assert [(asked, pytest.approx(asked)) for asked, _ in woken] == woken
    assert [asked for asked, _ in woken] == [60, 60.5, 3600, 6 * 3600]


def test_a_timer_never_fires_early_not_even_by_a_rounding_error():
    """A loop that sleeps until a moment would spin for ever just before it."""

    async def main():
        loop = asyncio.get_running_loop()
        at = 0.0
        for step in (0.1, 0.2, 0.7, 1 / 3, 1e-9):
            at += step
            await pass_(at - loop.time())
            assert loop.time() >= at

    play(main)


def test_time_stands_still_while_something_runs():
    """Work costs no simulated time, however long it takes."""

    async def main():
        before = asyncio.get_running_loop().time()
        time.perf_counter()
        for _ in range(1000):
            await asyncio.sleep(0)
        assert asyncio.get_running_loop().time() == before

    play(main)


def test_a_timeout_fires_at_its_moment():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(90):
                await pass_(91)
        assert asyncio.get_running_loop().time() == pytest.approx(90)

    play(main)


def test_a_world_in_which_nothing_can_happen_any_more_is_an_error():
    """A world that stands still would never end."""

    async def main():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(NothingLeft):
        play(main)


def test_what_is_handed_to_a_thread_is_done_at_once_and_its_error_comes_back():
    async def main():
        assert await asyncio.to_thread(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)

    play(main)


def test_wall_time_and_monotonic_time_are_those_of_the_loop():
    async def main():
        loop = asyncio.get_running_loop()
        clock, again = WorldClock(loop, 1), WorldClock(loop, 1)
        await clock.sleep(3600)
        assert (clock.now() - EPOCH).total_seconds() == pytest.approx(clock.monotonic()) == 3600
        assert clock.random() == again.random() != WorldClock(loop, 2).random()

    play(main)
