"""A run goes on with the text of an earlier one: nothing is lost, doubled, or open to others."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from tests.fakes.roles import as_role
from tests.store.cast import completed, expire, interrupted, sign_on, start, take, words
from worker.records import Beginning
from worker.store.schema import grants


@pytest.mark.parametrize("role", grants.ROLES)
def test_only_text_that_a_later_run_holds_can_be_dropped(role, postgres_url, postgres_store):
    """A worker may not delete text; it may drop the copies that its own run has copied on."""
    store = postgres_store
    sign_on(store)
    first = start(store)
    texts = ("one ", "two ", "three")
    store.commit("w1", [words(first, n, t) for n, t in enumerate(texts)], [interrupted(first)])
    (second,) = take(store)
    store.commit("w1", [words(second, n, t) for n, t in enumerate(("one ", "other"))], [])
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("UPDATE runs SET continues_run_id = %s WHERE id = %s", (first.id, second.id))
        owner.execute("UPDATE runs SET carried_chunks = 2 WHERE id = %s", (first.id,))
        with psycopg.connect(as_role(postgres_url, role), autocommit=True) as session:
            call = f"SELECT spool_drop_copied({first.id}, {second.id})"
            if role != grants.WORKER:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(call)
                return
            session.execute(call)
            session.execute(f"SELECT spool_drop_copied({second.id}, {first.id})")
        left = owner.execute("SELECT run_id, seq, text FROM chunks ORDER BY 1, 2").fetchall()
    assert left == [
        (first.id, 1, "two "),
        (first.id, 2, "three"),
        (second.id, 0, "one "),
        (second.id, 1, "other"),
    ]


TEXTS = ("one ", "two ", "thr", "ee fo")  # kept is "one two three"


@pytest.fixture
def pair(store):
    """A run that was cut, and the next one of its prompt."""
    sign_on(store)
    first = start(store)
    chunks = [words(first, n, text) for n, text in enumerate(TEXTS)]
    chunks[0] = replace(chunks[0], request_hash=first.request_hash())
    store.commit("w1", chunks, [interrupted(first, chars=16, chunks=4, frames=4)])
    (second,) = take(store)
    return first, second


def going_on(first, second, *, bounds=(4,), **more):
    """The first chunk of a run that goes on with another."""
    beginning = Beginning(
        second.id, first.id, "prefill", chunks=4, last_text="ee", bounds=bounds, chars=13, **more
    )
    return replace(words(second, 4, " four"), beginning=beginning, request_hash="h")


def text(sql, run):
    return sql.one(f"SELECT text FROM attempts WHERE run_id = {run.id}")


@pytest.mark.parametrize("bounds", [(4,), (1, 2, 4), (3, 4)])
@pytest.mark.parametrize("in_one", [True, False])
def test_what_is_kept_is_copied_in_the_commit_of_the_first_chunk(store, sql, pair, bounds, in_one):
    """In one go or in slices, with the ending or before it; sent again, it changes nothing."""
    first, second = pair
    chunk = going_on(first, second, bounds=bounds, tokens=4, dropped_chars=3)
    end = completed(second, chars=18, chunks=5)
    for group in [([chunk], [end])] if in_one else [([chunk], []), ([], [end])]:
        for _ in range(2):
            assert not store.commit("w1", *group)
    assert (text(sql, first), text(sql, second)) == ("one two three fo", "one two three four")
    columns = "continues_run_id, carried_chars, carried_chunks, carried_tokens, dropped_chars"
    assert sql(f"SELECT {columns}, continued_by FROM runs WHERE id = {second.id}") == [
        (first.id, 13, 4, 4, 3, "prefill")
    ]
    assert sql.one("SELECT total_completion_tokens FROM results") is None
    assert sql.one("SELECT output FROM results") == "one two three four"


def test_a_text_that_the_database_lost_is_not_gone_on_with(store, sql, pair):
    """What is missing in the earlier run would be a hole in the answer."""
    first, second = pair
    sql(f"DELETE FROM chunks WHERE run_id = {first.id} AND seq = 3")
    lost = store.commit("w1", [going_on(first, second)], [completed(second, chars=18, chunks=5)])
    assert lost.forgotten == {second.id}
    assert sql("SELECT status, error_code FROM runs WHERE attempt = 2") == [
        ("interrupted", "commits_forgotten")
    ]
    assert text(sql, first) == "one two thr"


def test_a_run_that_is_lost_copies_nothing(store, sql, pair):
    """The fence holds for copies as well."""
    first, second = pair
    expire(sql)
    store.rescue("w2", max_crashes=3)
    refused = store.commit("w1", [going_on(first, second, bounds=(1, 4))], [])
    assert refused == {second.id}
    assert text(sql, second) is None


def test_the_earlier_runs_of_a_prompt_are_told_with_what_decides(store, sql, pair):
    """The latest first; those that answer another question are not among them."""
    first, second = pair
    (told,) = store.earlier_runs(second.prompt_id, second.id)
    facts = (told.run_id, told.attempt, told.code, told.chars, told.tokens, told.carried_chars)
    assert facts == (first.id, 1, "connection_lost", 16, 4, None)
    assert told.request_hash == second.request_hash()
    assert told.seconds >= 0
    rows, has_more = store.pieces(first.id)
    assert ([text for _, _, text in rows], has_more) == (list(TEXTS), False)
    sql(f"INSERT INTO run_extras (run_id, seq, kind, data) VALUES ({first.id}, 0, 'x', '1')")
    assert store.pieces(first.id)[1]
    sql("UPDATE prompts SET first_attempt = 2")
    assert store.earlier_runs(second.prompt_id, second.id) == []
