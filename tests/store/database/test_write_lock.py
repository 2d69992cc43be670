"""Nobody who waits for the write lock is overtaken, and nobody is forgotten."""

from __future__ import annotations

import threading

import pytest

from worker.errors import StoreBusy
from worker.store.database import write_lock as turnstiles
from worker.store.database.write_lock import WriteLock


def wait_until(condition):
    for _ in range(10_000_000):
        if condition():
            return
    raise AssertionError("it never happened")


def test_threads_are_served_in_the_order_in_which_they_came():
    turnstile, served = WriteLock(), []

    def wait(number):
        with turnstile.turn(60):
            served.append(number)

    threads = []
    with turnstile.turn(60):
        for number in range(20):
            threads.append(threading.Thread(target=wait, args=(number,)))
            threads[-1].start()
            wait_until(lambda number=number: len(turnstile._waiting) == number + 1)
    for thread in threads:
        thread.join()
    assert served == list(range(20))


def test_who_gives_up_leaves_the_queue():
    turnstile = WriteLock()
    with turnstile.turn(60):
        with pytest.raises(StoreBusy), turnstile.turn(0.01):
            pass
        assert not turnstile._waiting
    with turnstile.turn(0.01):
        pass


def test_a_turn_that_comes_while_one_gives_up_is_not_lost():
    """The ticket was handed over just before the time-out fired: we have the lock."""
    turnstile = WriteLock()

    class Late:
        def acquire(self, timeout=-1):
            if timeout < 0:
                return True
            turnstile._waiting.clear()  # the holder has just passed it on
            return False

    turnstile._taken = True
    real = turnstiles.threading.Lock
    turnstiles.threading.Lock = Late
    try:
        assert turnstile._enter(0.01)
    finally:
        turnstiles.threading.Lock = real
