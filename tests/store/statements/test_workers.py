"""The rows of workers: signed on by hand or by themselves, leaving, next door, buried."""

from __future__ import annotations

from tests.store.cast import expire, sign_on, start, take
from worker.records import Neighbour, NewPrompt, WorkerInfo
from worker.states import PromptState

PROCESS = {"boot_id": "b", "pid_namespace": "n", "started_ticks": "7"}


def sign_on_here(store, worker_id: str, pid: int, host: str = "here", process=PROCESS):
    store.register(WorkerInfo(worker_id, host, pid, "0", process), 300.0)


def test_a_worker_that_somebody_signed_off_by_hand_recovers(store, sql):
    """It registers when it finds out, and claims again."""
    sign_on(store)
    sql("UPDATE workers SET stopped_at = started_at")
    store.add([NewPrompt(prompt="x")])
    assert take(store) == []
    assert not store.renew("w1", 60.0)
    sign_on(store)
    assert sql.one("SELECT stopped_at FROM workers") is None
    assert len(take(store)) == 1


def test_neighbours_are_the_living_of_this_host_that_say_who_they_are(store, sql):
    """Not oneself, nobody elsewhere, nobody whose lease is over, no older version."""
    for worker_id, pid in (("me", 1), ("w2", 2), ("w3", 3), ("w4", 4)):
        sign_on_here(store, worker_id, pid)
    sign_on_here(store, "w5", 5, host="there")
    sign_on_here(store, "w6", 6, process=None)
    expire(sql, "w3")
    store.sign_off("w4")
    assert store.neighbours("me", "here") == [Neighbour("w2", 2, PROCESS)]


def test_what_a_dead_neighbour_held_is_taken_back_at_once(store, sql):
    """No lease has to run out, and no patience is due; the living next door keep theirs."""
    held = start(store, "w1")
    start(store, "w2")
    sign_on(store, "me")
    given = {"max_crashes": 3, "fair": lambda _: False}
    (rescued,) = store.rescue("me", dead=["w1"], **given)
    assert (rescued.run_id, rescued.prompt_state) == (held.id, PromptState.QUEUED)
    assert sql("SELECT crashes FROM prompts ORDER BY id") == [(1,), (0,)]
    assert store.neighbours("me", "host") == [], "and its row says that its lease is over"


def test_a_dead_neighbour_counts_when_a_prompt_is_given_up(store, sql):
    """Its lease was cut short: it has not renewed since."""
    store.add([NewPrompt(prompt="killer")])
    sign_on(store, "me")
    for number in range(3):
        sign_on(store, f"w{number}")
        take(store, f"w{number}")
        (rescued,) = store.rescue("me", max_crashes=3, dead=[f"w{number}"])
    assert rescued.prompt_state is PromptState.FAILED


def test_what_is_killed_after_it_was_told_to_stop_is_no_crash(store, sql):
    """SIGTERM, and SIGKILL half a minute later, as often as one likes."""
    store.add([NewPrompt(prompt="long")])
    for number in range(4):
        sign_on(store, f"w{number}")
        take(store, f"w{number}")
        store.leave(f"w{number}")
        expire(sql, f"w{number}")
        (rescued,) = store.rescue("me", max_crashes=3)
        assert rescued.prompt_state is PromptState.QUEUED
    assert sql("SELECT status, crashes, error_code FROM prompts") == [("queued", 0, "shutdown")]
    assert sql("SELECT DISTINCT error_code FROM runs") == [("shutdown",)]
    assert sql.one("SELECT error FROM runs LIMIT 1").startswith(
        "the worker that carried it was told"
    )
