"""What takes long takes turns: one for each step of the loop, in the order of asking."""

from __future__ import annotations

import asyncio

from tests.fakes.aio import aio
from worker.http.transport.turns import Turns


@aio
async def test_one_turn_for_each_step_of_the_loop():
    """A thousand bodies together hold the loop no longer than one."""
    turns, taken = Turns(), []

    async def body(number: int) -> None:
        await turns.next()
        taken.append(number)

    bodies = [asyncio.ensure_future(body(number)) for number in range(20)]
    most, before = 0, 0
    while len(taken) < 20:
        await asyncio.sleep(0)
        most, before = max(most, len(taken) - before), len(taken)
    assert most == 1
    assert taken == list(range(20))
    await asyncio.gather(*bodies)


@aio
async def test_one_that_was_cancelled_takes_no_turn():
    """And the others still get theirs."""
    turns = Turns()
    waiting = [asyncio.ensure_future(turns.next()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(*waiting[1:])
    await turns.next()
