"""How fast, and how long: measured where one watches, and not guessed where one looks once."""

from __future__ import annotations

from worker.cli.throughput import Throughput, todo
from worker.states import PromptState
from worker.store.rows import QueueStatus, Tally


def queue(queued=0, completed=0, failed=0, hour=0, minute=0, running=0):
    counts = {
        PromptState.QUEUED: queued,
        PromptState.RUNNING: running,
        PromptState.COMPLETED: completed,
        PromptState.FAILED: failed,
    }
    return QueueStatus(
        tallies=(Tally("b", "default", counts),),
        completed_last_hour=hour,
        completed_last_minute=minute,
    )


def test_nothing_to_do_is_nothing_to_say():
    """However much was done."""
    assert Throughput().words(queue(completed=9, minute=9, hour=9), 0.0) == ""


def test_what_is_not_finished_is_to_do():
    """Also what streams."""
    assert todo(queue(queued=3, running=2, completed=5, failed=7)) == 5


def test_a_single_look_goes_by_the_last_minute():
    """And tells no end before it knows more than that minute."""
    begun = queue(queued=1000, completed=120, minute=120, hour=120)
    assert Throughput().words(begun, 0.0) == "1,000 to do, 2.0 a second completed"
    steady = queue(queued=1000, completed=900, minute=120, hour=900)
    assert Throughput().words(steady, 0.0) == (
        "1,000 to do, 2.0 a second completed, about 8 min 20 s left"
    )


def test_slow_answers_are_counted_by_the_minute():
    """A rate of 0.0 says nothing."""
    assert Throughput().words(queue(queued=60, minute=3, hour=30), 0.0) == (
        "60 to do, 3.0 a minute completed, about 20 min 0 s left"
    )


def test_a_watcher_measures_between_looks():
    """Over a minute at most, and never with an end that is infinitely far."""
    pace = Throughput()
    assert pace.words(queue(queued=1000), 0.0) == "1,000 to do"
    assert pace.words(queue(queued=980, completed=20), 2.0) == "980 to do"
    assert pace.words(queue(queued=800, completed=200), 10.0) == (
        "800 to do, 20.0 a second completed, about 40 s left"
    )
    assert pace.words(queue(queued=800, completed=200), 300.0) == "800 to do"
    assert pace.words(queue(queued=800, completed=200), 310.0) == "800 to do"


def test_deleted_answers_are_no_negative_rate():
    """Somebody prunes while somebody watches."""
    pace = Throughput()
    pace.words(queue(queued=5, completed=100), 0.0)
    assert pace.words(queue(queued=5), 10.0) == "5 to do"
