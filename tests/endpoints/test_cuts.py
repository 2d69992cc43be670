"""Who broke off together, at what age, and who goes on how many at a time."""

from __future__ import annotations

from tests.fakes.scripted_stream import run
from worker.endpoints.cuts import ALIKE_PROMPTS, TOGETHER_SECONDS, WENT_ON_SECONDS, Cuts
from worker.run.context import RunHandle


def flight(id_: int, *, sent_at: float = 0.0, in_vain: int = 0) -> RunHandle:
    return RunHandle(run(id_, runs_without_progress=in_vain), sent_at=sent_at)


def test_what_breaks_off_at_one_moment_is_one_cut():
    """With one id, that no other has."""
    cuts = Cuts()
    first = cuts.note(flight(1), at=10.0)
    assert cuts.note(flight(2), at=10.0 + TOGETHER_SECONDS) is first
    assert first.is_company
    assert cuts.note(flight(1), at=10.1 + TOGETHER_SECONDS) is not first, "not with itself"
    later = cuts.note(flight(3), at=12.0)
    assert later is not first
    assert not later.is_company
    assert 0 < first.cut_id != later.cut_id < 2**63


def test_one_age_of_several_prompts_at_different_times_is_told():
    """A proxy cuts each answer after a minute; what broke off together may have begun together."""
    cuts = Cuts()
    assert cuts.shared_age() is None
    for number in range(ALIKE_PROMPTS):
        cuts.note(flight(number, sent_at=100.0 * number), at=100.0 * number + 60 + number)
    assert cuts.shared_age() == 60 + ALIKE_PROMPTS - 1
    assert cuts.shared_age(58.0) == 58.0
    assert cuts.shared_age(30.0) is None
    together = Cuts()
    for number in range(9):
        together.note(flight(number), at=60.0)
    assert together.shared_age() is None
    poison = Cuts()
    for number in range(9):
        poison.note(flight(1, sent_at=100.0 * number), at=100.0 * number + 60)
    assert poison.shared_age() is None


def test_who_went_on_where_others_broke_off_has_outlived_them():
    """A frame well after; one that came at once may have been sent before."""
    cuts = Cuts()
    old, young = flight(1, sent_at=0.0), flight(2, sent_at=20.0)
    cuts.note(flight(3), at=10.0)
    old.heard(1, at=10.0 + WENT_ON_SECONDS)
    assert not cuts.outlived(old)
    old.heard(2, at=10.1 + WENT_ON_SECONDS)
    young.heard(1, at=30.0)
    assert cuts.outlived(old)
    assert not cuts.outlived(young)


def test_suspects_go_on_by_halves():
    """Down to one alone; one that comes through makes room for twice as many."""
    cuts = Cuts()
    assert cuts.room_for_suspects([], 16, at=40.0) == 8
    assert cuts.room_for_suspects([], 1, at=40.0) == 1
    aboard = [flight(number, in_vain=2) for number in range(8)]
    assert cuts.room_for_suspects(aboard[:3], 16, at=0.0) == 5
    room = []
    for at in (10.0, 20.0, 30.0, 40.0):
        for control in aboard:
            cut = cuts.note(control, at=at)
        cuts.halve(cut)
        cuts.halve(cut)
        room.append(cuts.room_for_suspects([], 16, at=40.0))
        aboard = aboard[: room[-1]]
    assert room == [4, 2, 1, 1]
    cuts.completed(flight(99))
    assert cuts.room_for_suspects([], 16, at=40.0) == 1
    cuts.completed(aboard[0])
    assert cuts.room_for_suspects([], 16, at=40.0) == 2


def test_a_suspect_that_outlived_what_it_died_of_makes_room_long_before_its_end():
    """A server that restarted for an hour: its answers of an hour must not go one by one after."""
    cuts = Cuts()
    for at in (30.0, 60.0):
        cuts.note(flight(1, sent_at=at - 30, in_vain=2), at=at)
        cut = cuts.note(flight(2, sent_at=at - 30, in_vain=2), at=at)
    cuts.halve(cut)
    old = flight(1, sent_at=100.0, in_vain=2)
    assert cuts.room_for_suspects([old], 16, at=100.0 + 60) == 0
    assert cuts.room_for_suspects([old], 16, at=100.0 + 61) == 2
    assert cuts.room_for_suspects([old], 16, at=100.0 + 62) == 2, "it is counted once"
    cuts.completed(old)
    assert cuts.room_for_suspects([], 16, at=100.0 + 63) == 2


def test_the_one_that_was_there_each_time_is_alone():
    """Its company changes; a server that dies without it excuses it."""
    cuts = Cuts()
    poison = flight(1, in_vain=2)
    for number in range(3):
        cut = cuts.note(flight(10 + number), at=100.0 * number)
        assert cuts.note(poison, at=100.0 * number) is cut
    assert cuts.is_alone(poison, cut)
    assert not cuts.is_alone(flight(12), cut), "it has not broken off twice before"
    cuts.note(flight(50), at=1000.0)
    cut = cuts.note(poison, at=1100.0)
    cuts.note(flight(51), at=1100.0)
    assert not cuts.is_alone(poison, cut)


def test_nobody_is_alone_without_company():
    """Concurrency 1: five restarts of a server are no evidence."""
    cuts = Cuts()
    only = flight(1, in_vain=2)
    for number in range(5):
        cut = cuts.note(only, at=100.0 * number)
    assert not cuts.is_alone(only, cut)
