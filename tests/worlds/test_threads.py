"""Threads of a world wait by its clock, run one at a time, and wake in a settled order."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.worlds.loop import WorldLoop, pass_
from benchmarks.worlds.threads import Threads


def play(main):
    with asyncio.Runner(loop_factory=WorldLoop) as runner:
        loop = runner.get_loop()
        return runner.run(main(loop, Threads(loop)))


def test_a_thread_that_waits_an_hour_wakes_after_an_hour():
    async def main(loop, threads):
        woken = []
        event = threads.Event()
        thread = threads.Thread(
            target=lambda: woken.append((event.wait(3600), round(loop.time(), 6)))
        )
        thread.start()
        await pass_(4000)
        assert woken == [(False, 3600)]
        assert not thread.is_alive()

    play(main)


def test_an_event_wakes_who_waits_for_it_at_once():
    async def main(loop, threads):
        woken = []
        event = threads.Event()
        threads.Thread(target=lambda: woken.append((event.wait(), round(loop.time(), 6)))).start()
        await pass_(10)
        event.set()
        assert event.is_set()
        await pass_(1)
        assert woken == [(True, 10)]

    play(main)


def test_a_condition_is_looked_at_again_when_it_is_notified_or_its_time_is_over():
    async def main(loop, threads):
        said, ready = [], threads.Condition()

        def work():
            with ready:
                said.append(
                    (ready.wait_for(lambda: len(said) == 1, timeout=5), round(loop.time(), 6))
                )
                said.append((ready.wait_for(lambda: False, timeout=5), round(loop.time(), 6)))

        threads.Thread(target=work).start()
        await pass_(2)
        said.append("now")
        with ready:
            ready.notify()
        await pass_(60)
        assert said == ["now", (True, 2), (False, 7)]

    play(main)


def test_to_join_a_thread_that_was_told_to_end_waits_for_its_last_words():
    async def main(loop, threads):
        said, event = [], threads.Event()
        thread = threads.Thread(target=lambda: (event.wait(), said.append("ended")))
        thread.start()
        await pass_(1)
        event.set()
        thread.join()
        assert said == ["ended"]

    play(main)


def test_the_event_loop_itself_never_waits():
    """It would stand still for good: the one that could wake it waits for it."""

    async def main(loop, threads):
        with pytest.raises(RuntimeError, match="event loop"):
            threads.Event().wait(1)

    play(main)
