"""What runs produced and how they ended goes in together, once, exactly as it was."""

from __future__ import annotations

import dataclasses
import itertools

import msgspec
import pytest

from tests.store.cast import (
    cancelled,
    completed,
    failed,
    interrupted,
    sign_on,
    start,
    take,
    words,
)
from worker.errors import ErrorCode, ImpossibleTransition, StoreError, Verdict
from worker.records import Ending, ExtraPiece, Kind, NewPrompt, Usage
from worker.states import PromptEvent, RunEvent

ODD = "a\u2028b\u0085c\r\n\U0001f468\u200d\U0001f469\u200d\U0001f467 \u202eא\ufeff'\"\\%s:x ` \t é"


def stored(store, run, kind=Kind.TEXT):
    return "".join(text for _, text in store.text(run.id, kind))


def test_nothing_to_commit_is_nothing(store):
    """And no run is lost by it."""
    assert store.commit("w1", [], []) == frozenset()


def test_the_last_words_and_the_ending_are_one_transaction(store, sql):
    """Chunks, usage, finish reason, run and prompt: all there, or nothing."""
    run = start(store)
    ending = completed(
        run,
        usage=Usage(11, 22),
        chars=9,
        chunks=2,
        http_status=200,
        request_id="req-1",
        first_text_seconds_ago=2.0,
    )
    assert store.commit("w1", [words(run, 0, "Be"), words(run, 1, "cause.")], [ending]) == set()
    assert sql(
        "SELECT status, finish_reason, prompt_tokens, completion_tokens, chars, chunks,"
        " http_status, request_id, error_code, error, finished_at IS NOT NULL FROM runs"
    ) == [("completed", "stop", 11, 22, 9, 2, 200, "req-1", None, None, True)]
    assert sql.one("SELECT done_frame FROM runs") in (True, 1)
    assert sql("SELECT status, attempts, error_code, finished_at IS NOT NULL FROM prompts") == [
        ("completed", 1, None, True)
    ]
    assert stored(store, run) == "Because."


def test_a_run_says_what_it_asked_from_its_first_text_on(store, sql):
    """With the first flush, or with the ending of a run without one; sent again, it stays."""
    run, silent, older = start(store), start(store), start(store)
    first = dataclasses.replace(words(run, 0, "a"), request_hash="h1")
    for chunks in ([first, words(older, 0, "x")], [first], [words(run, 1, "b")]):
        assert store.commit("w1", chunks, []) == frozenset()
    hashes = "SELECT request_hash FROM runs ORDER BY id"
    assert sql(hashes) == [("h1",), (None,), (None,)]
    endings = [interrupted(run), interrupted(silent, request_hash="h2"), interrupted(older)]
    store.commit("w1", [], endings)
    assert sql(hashes) == [("h1",), ("h2",), (None,)]


def test_what_is_no_text_is_stored_with_the_text_around_it(store, sql):
    """Once, also when the same flush is sent again; and nothing of a run that is lost."""
    run = start(store)
    pieces = (ExtraPiece(run.id, 0, "logprobs", "[1]"), ExtraPiece(run.id, 1, "audio", '"\u2028"'))
    chunk = dataclasses.replace(words(run, 0, "Be"), extras=pieces)
    for _ in range(2):
        assert store.commit("w1", [chunk], []) == set()
    assert sql("SELECT run_id, seq, kind, data FROM run_extras ORDER BY seq") == [
        (run.id, 0, "logprobs", "[1]"),
        (run.id, 1, "audio", '"\u2028"'),
    ]
    last = dataclasses.replace(words(run, 1, ""), extras=(ExtraPiece(run.id, 2, "audio", "2"),))
    assert store.commit("w2", [last], []) == {run.id}
    assert sql.one("SELECT count(*) FROM run_extras") == 2
    assert store.commit("w1", [last], [completed(run)]) == set()
    assert sql.one("SELECT data FROM run_extras WHERE seq = 2") == "2"


def test_calls_are_put_together_by_what_is_stored(store, sql):
    """Also of a run whose last words are unknown, and of no run that called nothing."""
    run, cut, plain = start(store), start(store), start(store)
    piece = '{"index":0,"id":"c","name":"f","arguments":"{}"}\n'
    chunks = [words(each, 0, piece, Kind.TOOL_CALLS) for each in (run, cut)]
    store.commit("w1", [*chunks, words(plain, 0, "x")], [])
    store.commit("w1", [], [completed(run, calls_tools=True), completed(plain)])
    store.commit("w1", [], [interrupted(cut, chars=None)])
    whole = '[{"index":0,"id":"c","name":"f","arguments":"{}"}]'
    assert sql("SELECT tool_calls FROM runs ORDER BY id") == [(whole,), (whole,), (None,)]


def test_the_first_text_came_when_it_came(store, sql):
    """Its age at the ending is turned into a time of the database's clock."""
    run, silent = start(store), start(store)
    store.commit("w1", [], [completed(run, first_text_seconds_ago=90.0), completed(silent)])
    early = "'-1 minute'" if store.is_sqlite else "interval '1 minute'"
    before = (
        f"datetime(finished_at, {early}) > datetime(first_text_at)"
        if store.is_sqlite
        else f"finished_at - {early} > first_text_at"
    )
    assert sql(f"SELECT id FROM runs WHERE {before}") == [(run.id,)]
    assert sql("SELECT id FROM runs WHERE first_text_at IS NULL") == [(silent.id,)]


def test_an_interrupted_prompt_is_queued_again_with_its_delay(store, sql):
    """The text stays, the attempt is charged, and the prompt waits for a stated moment."""
    run = start(store)
    store.commit("w1", [words(run, 0, "So f")], [interrupted(run, delay_seconds=3600.0)])
    assert sql("SELECT status, error_code, error, done_frame FROM runs") == [
        ("interrupted", "connection_lost", "reset by peer", False)
    ]
    assert sql("SELECT status, attempts, error_code, error, finished_at, run_id FROM prompts") == [
        ("queued", 1, "connection_lost", "reset by peer", None, run.id)
    ]
    assert take(store) == []
    backlog = store.backlog(["default"])
    assert (backlog.ready, backlog.later) == (0, 1)
    assert 3590 < backlog.next_in_seconds <= 3600
    assert stored(store, run) == "So f"


def test_what_is_handed_back_at_once_can_be_claimed_at_once(store):
    """A shutdown delays nobody, and charges nothing."""
    run = start(store)
    store.commit("w1", [], [interrupted(run, error_code="shutdown", charged=False)])
    (again,) = take(store)
    assert (again.prompt_id, again.attempts) == (run.prompt_id, 1)


@pytest.mark.parametrize(
    ("ending", "run_state", "prompt_state", "code"),
    [
        (failed, "failed", "failed", "bad_request"),
        (cancelled, "cancelled", "cancelled", "cancelled"),
        (completed, "completed", "completed", None),
    ],
)
def test_every_final_ending_is_final(store, sql, ending, run_state, prompt_state, code):
    """Run and prompt get their states, their reason, and the time."""
    run = start(store)
    assert store.commit("w1", [], [ending(run)]) == frozenset()
    assert sql("SELECT status, error_code, finished_at IS NOT NULL FROM runs") == [
        (run_state, code, True)
    ]
    assert sql("SELECT status, error_code, finished_at IS NOT NULL FROM prompts") == [
        (prompt_state, code, True)
    ]


def test_the_last_attempt_may_interrupt_the_run_and_fail_the_prompt(store, sql):
    """Another attempt might have helped, but none is left."""
    run = start(store, max_attempts=1)
    ending = msgspec.structs.replace(
        interrupted(run, error_code="idle_timeout"), prompt_event=PromptEvent.FAIL
    )
    store.commit("w1", [], [ending])
    assert sql("SELECT status FROM runs") == [("interrupted",)]
    assert sql("SELECT status, error_code FROM prompts") == [("failed", "idle_timeout")]


def test_a_prompt_that_its_owner_gave_up_is_not_queued_again(store, sql):
    """An interruption comes to the same as the cancellation that was asked for."""
    run = start(store)
    sql("UPDATE prompts SET cancel_requested_at = created_at")
    store.commit("w1", [], [interrupted(run, delay_seconds=60.0)])
    assert sql("SELECT status, error_code, finished_at IS NOT NULL FROM prompts") == [
        ("cancelled", "cancelled", True)
    ]
    assert sql("SELECT status FROM runs") == [("interrupted",)]


def test_who_does_not_know_how_far_a_run_came_has_it_measured(store, sql):
    """It is handed back by a worker that never carried it: what is stored says how long it is."""
    run = start(store)
    store.commit("w1", [words(run, 0, "hm", Kind.THINKING), words(run, 1, "some")], [])
    store.commit("w1", [words(run, 2, " words")], [interrupted(run, chars=None)])
    rows = sql("SELECT chars, chunks, first_text_at IS NOT NULL FROM runs")
    assert rows == [(len("some words"), 3, True)]


def test_a_completion_beats_a_request_to_cancel(store, sql):
    """The answer is there; nobody is served by throwing it away."""
    run = start(store)
    store.cancel_queued()
    sql("UPDATE prompts SET cancel_requested_at = created_at")
    store.commit("w1", [], [completed(run)])
    assert sql("SELECT status FROM prompts") == [("completed",)]


def test_text_is_stored_as_it_came(store, sql):
    """Odd characters, empty-looking chunks, several kinds, each in its order."""
    run = start(store)
    kinds = itertools.cycle([Kind.TEXT, Kind.THINKING, Kind.TOOL_CALLS])
    chunks = [
        words(run, seq, f"{ODD}{seq}|", kind) for seq, kind in zip(range(30), kinds, strict=False)
    ]
    chunks.append(words(run, 30, ""))
    store.commit("w1", chunks[19::-1], [])
    store.commit("w1", chunks[:19:-1], [completed(run)])  # order is that of seq, not of arrival
    for kind in Kind:
        expected = "".join(chunk.text for chunk in chunks if chunk.kind is kind)
        assert stored(store, run, kind) == expected
    assert sql.one("SELECT output FROM results") == stored(store, run)


def test_thousands_of_chunks_are_one_commit(store, sql):
    """No limit on parameters is met, on either database."""
    store.add([NewPrompt(prompt="x")] * 300)
    sign_on(store)
    runs = take(store, limit=300)
    chunks = [words(run, seq, f"{run.id}.{seq} ") for run in runs for seq in range(40)]
    assert store.commit("w1", chunks, [completed(run) for run in runs]) == frozenset()
    assert sql.one("SELECT count(*) FROM chunks") == 12_000
    assert sql.one("SELECT count(*) FROM results WHERE output LIKE '%.39 '") == 300


def test_a_long_chunk_is_stored_whole(store):
    """A megabyte in one piece."""
    run = start(store)
    text = "Grüße, Welt! " * 80_000
    store.commit("w1", [words(run, 0, text)], [completed(run)])
    assert stored(store, run) == text


class TestSentAgain:
    """The answer to a commit was lost; nobody knows whether it happened; it is sent again."""

    @pytest.mark.parametrize("ending", [completed, failed, cancelled, interrupted])
    def test_an_ending_that_was_applied_is_not_lost(self, store, sql, ending):
        run = start(store)
        call = ("w1", [words(run, 0, "a"), words(run, 1, "b")], [ending(run)])
        assert store.commit(*call) == frozenset()
        before = (
            sql("SELECT * FROM runs"),
            sql("SELECT * FROM prompts"),
            sql("SELECT * FROM chunks"),
        )
        assert store.commit(*call) == frozenset()
        after = sql("SELECT * FROM runs"), sql("SELECT * FROM prompts"), sql("SELECT * FROM chunks")
        assert before == after

    def test_chunks_that_were_stored_are_not_doubled(self, store):
        run = start(store)
        assert store.commit("w1", [words(run, 0, "a")], []) == frozenset()
        assert store.commit("w1", [words(run, 0, "a"), words(run, 1, "b")], []) == frozenset()
        assert stored(store, run) == "ab"

    def test_more_may_have_come_since(self, store):
        run, other = start(store), start(store)
        store.commit("w1", [words(run, 0, "a")], [completed(run)])
        again = [words(run, 0, "a"), words(other, 0, "o")]
        assert store.commit("w1", again, [completed(run), failed(other)]) == frozenset()
        assert (stored(store, run), stored(store, other)) == ("a", "o")

    def test_an_ending_survives_that_its_prompt_is_carried_again(self, store, sql):
        run = start(store)
        store.commit("w1", [], [interrupted(run)])
        (again,) = take(store)
        assert store.commit("w1", [], [interrupted(run)]) == frozenset()
        assert sql("SELECT status, run_id FROM prompts") == [("running", again.id)]

    def test_another_ending_than_the_one_that_was_applied_is_lost(self, store, sql):
        run = start(store)
        store.commit("w1", [], [interrupted(run)])
        assert store.commit("w1", [], [completed(run)]) == {run.id}
        assert store.commit("w1", [], [interrupted(run, error_code="other")]) == {run.id}
        assert sql("SELECT status FROM runs") == [("interrupted",)]

    def test_another_text_under_the_same_number_is_an_error_not_a_silent_loss(self, store):
        run = start(store)
        store.commit("w1", [words(run, 0, "a")], [])
        with pytest.raises(StoreError, match="another text") as caught:
            store.commit("w1", [words(run, 0, "b"), words(run, 1, "c")], [])
        assert caught.value.verdict is Verdict.STOP
        assert stored(store, run) == "a"


def test_only_a_done_frame_completes(store, sql):
    """Or a finish reason, for endpoints that are known to send no done frame."""
    run, other = start(store), start(store)
    with pytest.raises(ImpossibleTransition, match="done frame"):
        store.commit("w1", [], [completed(run, done_frame=False, finish_reason=None)])
    assert store.commit("w1", [], [completed(other, done_frame=False)]) == frozenset()
    assert sql("SELECT status FROM runs ORDER BY id") == [("streaming",), ("completed",)]


def test_an_ending_that_the_state_table_does_not_know_changes_nothing(store, sql):
    """A claim is no ending, and a run ends once."""
    run = start(store)
    wrong = Ending(run.id, run.prompt_id, RunEvent.COMPLETE, PromptEvent.RETRY, done_frame=True)
    with pytest.raises(ImpossibleTransition):
        store.commit("w1", [words(run, 0, "a")], [wrong])
    with pytest.raises(ImpossibleTransition, match="twice"):
        store.commit("w1", [], [completed(run), failed(run)])
    assert sql("SELECT status FROM runs") == [("streaming",)]
    assert sql("SELECT * FROM chunks") == []


def test_what_a_server_says_of_itself_cannot_keep_a_run_from_ending(store, sql):
    """Odd characters in an error message are replaced."""
    run = start(store)
    store.commit("w1", [], [failed(run, error="nul \0, half \ud83d, é", request_id="\0")])
    assert sql("SELECT error, request_id FROM runs") == [("nul \ufffd, half ?, é", "\ufffd")]


@pytest.mark.parametrize("text", ["half \ud83d pair"])
def test_text_that_no_database_stores_is_said_to_be_so(store, sql, text):
    """The decoders never produce it; if one did, nothing else of the commit would be written."""
    run, other = start(store), start(store)
    chunks = [words(other, 0, "fine"), words(run, 0, text)]
    with pytest.raises(StoreError) as caught:
        store.commit("w1", chunks, [completed(run), failed(other)])
    assert (caught.value.code, caught.value.verdict) == (ErrorCode.UNSTORABLE, Verdict.FAIL)
    assert sql("SELECT * FROM chunks") == []
    assert sql("SELECT status FROM runs") == [("streaming",)] * 2
    assert sql("SELECT status FROM prompts") == [("running",)] * 2
