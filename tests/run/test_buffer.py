"""Deltas in, chunks out: order, kinds, numbers, sizes, and a budget that is always given back."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from worker.records import Chunk, ExtraPiece, Kind
from worker.run import buffer as buffers
from worker.run.buffer import Budget, Buffer, Limits

KINDS = st.sampled_from(list(Kind))
TEXTS = st.text(max_size=30)


def filled(*pieces: tuple[Kind, str], limits: Limits | None = None) -> Buffer:
    buffer = Buffer(7, limits or Limits(), Budget(10**9))
    for at, (kind, text) in enumerate(pieces):
        buffer.add(kind, text, at=float(at))
    return buffer


def test_neighbours_of_one_kind_become_one_chunk():
    """A row for each flush, not for each token."""
    buffer = filled((Kind.TEXT, "a"), (Kind.TEXT, "b"), (Kind.THINKING, "c"), (Kind.TEXT, "d"))
    assert buffer.take() == [
        Chunk(7, 0, Kind.TEXT, "ab"),
        Chunk(7, 1, Kind.THINKING, "c"),
        Chunk(7, 2, Kind.TEXT, "d"),
    ]


def test_numbers_never_come_back():
    """`(run_id, seq)` is the key of a chunk for ever."""
    buffer = filled((Kind.TEXT, "a"))
    assert [chunk.seq for chunk in buffer.take()] == [0]
    assert buffer.take() == []
    buffer.add(Kind.TEXT, "b", at=1)
    assert [chunk.seq for chunk in buffer.take()] == [1]
    assert buffer.chunks == 2


def test_a_long_text_becomes_several_rows(monkeypatch):
    """One row, and one database parameter, stays small."""
    monkeypatch.setattr(buffers, "MAX_CHUNK_CHARS", 4)
    chunks = filled((Kind.TEXT, "abcdefghij")).take()
    assert [chunk.text for chunk in chunks] == ["abcd", "efgh", "ij"]
    assert [chunk.seq for chunk in chunks] == [0, 1, 2]


def test_nothing_is_nothing():
    """An empty delta starts no clock and makes no row."""
    buffer = filled((Kind.TEXT, ""))
    assert (buffer.due_at, buffer.first_text_at, buffer.take()) == (None, None, [])


def test_a_flush_is_due_when_the_oldest_text_is_old():
    """Its age counts from the first text that waits, not from the last."""
    buffer = Buffer(7, Limits(flush_seconds=2, flush_bytes=100), Budget(10**9))
    assert not buffer.due(at=1e9)
    buffer.add(Kind.TEXT, "a", at=10)
    buffer.add(Kind.TEXT, "b", at=11.5)
    assert buffer.due_at == 12
    assert not buffer.due(at=11.9)
    assert buffer.due(at=12)
    buffer.take()
    assert (buffer.due_at, buffer.due(at=1e9)) == (None, False)
    buffer.add(Kind.TEXT, "c", at=20)
    assert buffer.due_at == 22


def test_a_flush_is_due_when_enough_waits():
    """Bytes count, as the database stores them, not characters."""
    buffer = Buffer(7, Limits(flush_seconds=60, flush_bytes=4), Budget(10**9))
    buffer.add(Kind.TEXT, "abc", at=0)
    assert not buffer.due(at=0)
    buffer.add(Kind.TEXT, "é", at=0)
    assert buffer.waiting_bytes == 5
    assert buffer.due(at=0)


def test_half_a_surrogate_pair_is_counted_and_passed_on():
    """The database refuses it with a code of its own; here it would be an internal error."""
    buffer = filled((Kind.TEXT, "\ud800"))
    assert buffer.waiting_bytes == 3
    assert buffer.take()[0].text == "\ud800"


def test_full_counts_what_waits_and_what_is_on_its_way():
    """Memory is bounded by both together."""
    buffer = Buffer(7, Limits(stream_bytes=10), Budget(10**9))
    buffer.add(Kind.TEXT, "123456", at=0)
    buffer.take()
    assert not buffer.full
    buffer.add(Kind.TEXT, "7890", at=0)
    assert buffer.full
    buffer.landed()
    assert not buffer.full


def test_the_budget_of_the_worker_fills_every_buffer():
    """A run with nothing of its own must not read either, when the others hold everything."""
    budget = Budget(5)
    one, other = Buffer(1, Limits(), budget), Buffer(2, Limits(), budget)
    one.add(Kind.TEXT, "12345", at=0)
    assert budget.exhausted
    assert other.full
    one.discard()
    assert not other.full
    assert budget.used_bytes == 0


def test_what_decoders_hold_is_charged_and_given_back():
    """A limit that counts most of what it bounds bounds nothing."""
    budget = Budget(1000)
    one, other = Buffer(1, Limits(), budget), Buffer(2, Limits(), budget)
    assert not one.hold(300)
    one.add(Kind.TEXT, "x" * 700, at=0)
    assert budget.used_bytes == 1000
    assert other.full
    assert not one.hold(100)
    assert budget.used_bytes == 800
    one.discard()
    assert (budget.used_bytes, budget.held_bytes, budget.holders) == (0, 0, 0)


def test_who_holds_the_longest_frame_gives_way_when_half_of_the_budget_is_held():
    """Streams with ordinary frames go on beside one that grows without end."""
    budget = Budget(1000)
    small = [Buffer(number, Limits(), budget) for number in range(4)]
    giant = Buffer(9, Limits(), budget)
    assert not any(each.hold(20) for each in small)
    assert not giant.hold(420)
    assert giant.hold(430)
    assert not any(each.hold(20) for each in small)
    giant.discard()
    assert not any(each.hold(120) for each in small)
    assert any(each.hold(130) for each in small)


def test_only_text_counts_as_characters_of_the_answer():
    """`chars` is the length of the output; a first thought is a first sign of life."""
    buffer = Buffer(7, Limits(), Budget(10**9))
    buffer.add(Kind.THINKING, "hm", at=3)
    buffer.add(Kind.TEXT, "née", at=5)
    buffer.add(Kind.TOOL_CALLS, "[]", at=6)
    assert (buffer.chars, buffer.first_text_at) == (3, 3)


@given(st.lists(st.tuples(KINDS, TEXTS)), st.lists(st.booleans()), st.integers(1, 5))
def test_no_text_is_lost_doubled_or_moved(pieces, takes, longest):
    """Whatever the pieces and the flushes: the same text, per kind-run, in the same order."""
    default = buffers.MAX_CHUNK_CHARS
    buffers.MAX_CHUNK_CHARS = longest
    try:
        buffer = Buffer(7, Limits(), Budget(10**9))
        chunks: list[Chunk] = []
        for at, ((kind, text), take) in enumerate(
            zip(pieces, itertools.chain(takes, itertools.repeat(False)), strict=False)
        ):
            buffer.add(kind, text, at=at)
            if take:
                chunks += buffer.take()
        chunks += buffer.take()
    finally:
        buffers.MAX_CHUNK_CHARS = default
    assert [chunk.seq for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.text for chunk in chunks)
    assert all(len(chunk.text) <= longest for chunk in chunks)
    sent = [(kind, character) for kind, text in pieces for character in text]
    kept = [(chunk.kind, character) for chunk in chunks for character in chunk.text]
    assert kept == sent
    assert buffer.chars == sum(kind is Kind.TEXT for kind, _ in sent)


class Accounts(RuleBasedStateMachine):
    """Several runs share a budget; what is booked is exactly what is held."""

    @initialize()
    def begin(self):
        self.budget = Budget(200)
        self.limits = Limits(stream_bytes=100, flush_bytes=20)
        self.buffers = [Buffer(run_id, self.limits, self.budget) for run_id in range(3)]
        self.waiting = [0, 0, 0]
        self.flying = [0, 0, 0]

    @rule(which=st.integers(0, 2), kind=KINDS, text=TEXTS)
    def add(self, which, kind, text):
        self.buffers[which].add(kind, text, at=0.0)
        self.waiting[which] += len(text.encode())

    @rule(which=st.integers(0, 2))
    def take(self, which):
        taken = sum(len(chunk.text.encode()) for chunk in self.buffers[which].take())
        assert taken == self.waiting[which]
        self.flying[which] += taken
        self.waiting[which] = 0

    @rule(which=st.integers(0, 2))
    def land(self, which):
        self.buffers[which].landed()
        self.flying[which] = 0

    @rule(which=st.integers(0, 2))
    def discard(self, which):
        self.buffers[which].discard()
        self.waiting[which] = self.flying[which] = 0

    @invariant()
    def the_books_agree(self):
        held = sum(self.waiting) + sum(self.flying)
        assert self.budget.used_bytes == held
        for which, buffer in enumerate(self.buffers):
            own = self.waiting[which] + self.flying[which]
            assert buffer.full == (own >= 100 or held >= 200)
            assert (buffer.due_at is None) == (self.waiting[which] == 0)

    def teardown(self):
        for buffer in getattr(self, "buffers", []):
            buffer.discard()
            assert buffer.take() == []
        assert not getattr(self, "budget", Budget(1)).used_bytes


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_what_is_no_text_goes_with_the_text_around_it() -> None:
    """It is due like text, counts against the budget like text, and is numbered by itself."""
    budget = Budget(1000)
    buffer = Buffer(7, Limits(flush_seconds=1.0), budget)
    buffer.add(Kind.TEXT, "a", at=0.0)
    buffer.add_extra("logprobs", "[1]", at=0.5)
    buffer.add(Kind.THINKING, "b", at=0.6)
    assert (budget.used_bytes, buffer.due_at) == (5, 1.0)
    first, last = buffer.take()
    assert (first.extras, last.extras) == ((), (ExtraPiece(7, 0, "logprobs", "[1]"),))
    buffer.add_extra("audio", '"é"', at=2.0)
    assert buffer.due_at == 3.0
    (alone,) = buffer.take()
    assert (alone.seq, alone.kind, alone.text) == (2, Kind.TEXT, "")
    assert alone.extras == (ExtraPiece(7, 1, "audio", '"é"'),)
    assert buffer.take() == []
    buffer.landed()
    assert budget.used_bytes == 0
