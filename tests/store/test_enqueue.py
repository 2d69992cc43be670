"""Prompts go in once, by the page, and what cannot be stored is refused by name."""

from __future__ import annotations

import threading
import tracemalloc
from dataclasses import replace

import pytest

from tests.store.cast import cancelled, completed, failed, interrupted, sign_on, take, words
from worker.errors import InputError, Verdict
from worker.records import Added, NewPrompt
from worker.store.enqueue import PAGE


def numbered(count, **same):
    return (NewPrompt(prompt=f"p{n}", custom_id=f"c{n}", **same) for n in range(count))


def test_every_field_arrives(store, sql):
    """What is added is what a plain SQL client then sees."""
    prompt = NewPrompt(
        prompt="Grüße \U0001f642",
        custom_id="c",
        endpoint="gpu",
        model="phi",
        system="Be brief.",
        options={"temperature": 0},
        priority=3,
        metadata={"who": "ada"},
        max_attempts=2,
    )
    assert store.add([prompt], batch="night", source="prompts.jsonl") == Added(1, 0)
    assert sql(
        "SELECT b.name, b.source, custom_id, endpoint, model, prompt, system, priority,"
        " max_attempts, status, attempts FROM prompts p JOIN batches b ON b.id = p.batch_id"
    ) == [
        (
            "night",
            "prompts.jsonl",
            "c",
            "gpu",
            "phi",
            "Grüße \U0001f642",
            "Be brief.",
            3,
            2,
            "queued",
            0,
        )
    ]
    detail = store.prompt(store.find("c")[0])
    assert (detail.options, detail.metadata) == ({"temperature": 0}, {"who": "ada"})
    assert detail.messages is None


def test_adding_the_same_file_twice_adds_nothing_twice(store, sql):
    """Those already there are counted and left alone, whatever state they are in."""
    assert store.add(numbered(2500), batch="b") == Added(2500, 0)
    sign_on(store)
    take(store, limit=5)
    assert store.add(numbered(2501), batch="b") == Added(1, 2500)
    assert sql("SELECT status, count(*) FROM prompts GROUP BY status ORDER BY status") == [
        ("queued", 2496),
        ("running", 5),
    ]


CONVERSATION = NewPrompt(
    messages=[{"role": "user", "content": "Why?"}],
    custom_id="c",
    model="m",
    system="s",
    options={"temperature": 0, "top_p": 1},
)


@pytest.mark.parametrize(
    "changed",
    [
        {"messages": [{"role": "user", "content": "Why not?"}]},
        {"messages": None, "prompt": "Why?"},
        {"model": "other"},
        {"model": None},
        {"system": "t"},
        {"options": {"temperature": 1, "top_p": 1}},
        {"options": None},
    ],
)
def test_whatever_changes_the_request_is_a_change(store, changed):
    """And is left alone, or with `replace` queued anew, once."""
    store.add([CONVERSATION], batch="b")
    edited = replace(CONVERSATION, **changed)
    assert store.compare([edited], batch="b") == Added(changed=1)
    assert store.add([edited], batch="b") == Added(changed=1)
    assert store.add([CONVERSATION], batch="b") == Added(existing=1)
    assert store.add([edited], batch="b", replace=True) == Added(replaced=1)
    assert store.add([edited], batch="b", replace=True) == Added(existing=1)
    detail = store.prompt(store.find("c")[0])
    given = {name: getattr(edited, name) for name in ("messages", "prompt", "system", "model")}
    assert {name: getattr(detail, name) for name in given} == given
    assert detail.options == edited.options


@pytest.mark.parametrize(
    "same",
    [
        {"options": {"top_p": 1, "temperature": 0}},
        {"messages": [{"content": "Why?", "role": "user"}]},
        {"priority": 7},
        {"metadata": {"k": 1}},
        {"endpoint": "gpu"},
        {"max_attempts": 2},
    ],
)
def test_what_is_asked_is_all_that_counts(store, same):
    """Where a prompt is sent, when, and what is noted beside it is no part of it."""
    store.add([CONVERSATION], batch="b")
    assert store.add([replace(CONVERSATION, **same)], batch="b", replace=True) == Added(existing=1)


def test_prompts_that_were_inserted_in_sql_are_compared_too(store, sql):
    """By what they ask: they have no hash, like those of older versions."""
    store.add([CONVERSATION, replace(CONVERSATION, custom_id="d")], batch="b")
    sql("UPDATE prompts SET request_hash = NULL")
    edited = replace(CONVERSATION, system="t")
    given = [edited, replace(CONVERSATION, custom_id="d")]
    assert store.compare(given, batch="b") == Added(existing=1, changed=1)
    # On PostgreSQL `add` runs here as a submitter, who may not read what others asked.
    found = Added(existing=1, changed=1) if store.is_sqlite else Added(existing=2)
    assert store.add(given, batch="b") == found


def test_a_prompt_is_replaced_in_every_state(store, sql):
    """One that streams is taken from its worker, whose text stays with its run."""
    states = ("completed", "failed", "cancelled", "interrupted", "streaming", "queued")
    store.add([NewPrompt(prompt="old", custom_id=state) for state in states], batch="b")
    sign_on(store)
    runs = take(store, limit=5)
    store.commit("w1", [words(run, 0, "text") for run in runs], [])
    endings = [completed(runs[0]), failed(runs[1]), cancelled(runs[2]), interrupted(runs[3])]
    store.commit("w1", [], endings)
    new = [NewPrompt(prompt="new", custom_id=state, priority=3) for state in states]
    assert store.add(new, batch="b", replace=True) == Added(replaced=6)
    assert set(
        sql(
            "SELECT status, prompt, priority, attempts, crashes, error_code, error, finished_at,"
            " run_id FROM prompts"
        )
    ) == {("queued", "new", 3, 0, 0, None, None, None, None)}
    assert set(sql("SELECT output, partial_output, finish_reason FROM results")) == {
        (None, None, None)
    }
    assert sql("SELECT count(*) FROM attempts WHERE text = 'text'") == [(5,)]
    assert store.commit("w1", [words(runs[4], 1, "more")], []) == {runs[4].id}
    assert [run.attempt for run in take(store, limit=6)] == [2, 2, 2, 2, 2, 1]


def test_a_batch_says_where_it_was_first_added_from(store):
    """A path that earlier versions kept as it was typed is the same path."""
    assert store.add(numbered(1), batch="b", source="/x/p.jsonl") == Added(1)
    assert store.add(numbered(1), batch="b", source="/x/p.jsonl") == Added(existing=1)
    other = Added(existing=1, other_source="/x/p.jsonl")
    assert store.add(numbered(1), batch="b", source="/y/p.jsonl") == other
    assert store.compare(numbered(1), batch="b", source="/y/p.jsonl") == other
    for typed in ("p.jsonl", "./p.jsonl", "x/p.jsonl"):
        store.add(numbered(1), batch=typed, source=typed)
        assert store.add(numbered(1), batch=typed, source="/x/p.jsonl") == Added(existing=1)


def test_the_same_custom_id_in_another_batch_is_another_prompt(store):
    """A custom id names a prompt within its batch."""
    assert store.add(numbered(2), batch="a") == Added(2, 0)
    assert store.add(numbered(2), batch="b") == Added(2, 0)
    assert store.add(numbered(2)) == Added(2, 0)
    assert store.add(numbered(2)) == Added(2, 0)  # without a batch nothing is recognised
    assert len(store.find("c1")) == 4
    assert len(store.find("c1", "a")) == 1


def test_a_custom_id_twice_in_one_file_is_one_prompt(store):
    """The first one wins, also within a page; the second one is called what it is, a change."""
    twice = [NewPrompt(prompt="first", custom_id="c"), NewPrompt(prompt="second", custom_id="c")]
    assert store.add(twice, batch="b") == Added(1, changed=1)
    assert store.prompt(store.find("c")[0]).prompt == "first"


def test_prompts_of_a_batch_need_no_custom_id(store):
    """Without one they are never recognised."""
    assert store.add([NewPrompt(prompt="x")] * 3, batch="b") == Added(3, 0)


def test_nothing_to_add_adds_nothing(store, sql):
    """Not even a batch."""
    assert store.add([], batch="b") == Added(0, 0)
    assert sql("SELECT * FROM batches") == []


def test_the_order_of_the_file_is_the_order_of_the_queue(store):
    """Across pages, too."""
    sign_on(store)
    store.add(numbered(PAGE + 50), batch="b")
    runs = take(store, limit=PAGE + 50)
    assert [run.prompt for run in runs] == [f"p{n}" for n in range(PAGE + 50)]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (NewPrompt(custom_id="bad"), "exactly one of prompt and messages"),
        (NewPrompt(prompt="x", messages=[], custom_id="bad"), "exactly one of prompt and messages"),
        (NewPrompt(prompt="x\0y", custom_id="bad"), "U+0000"),
        (NewPrompt(prompt="x", system="\ud800", custom_id="bad"), "surrogate"),
        (NewPrompt(prompt="x", metadata={"k": ["\0"]}, custom_id="bad"), "metadata"),
        (NewPrompt(prompt="x", metadata={"\0": 1}, custom_id="bad"), "metadata"),
        (NewPrompt(prompt="x", options={"k": float("nan")}, custom_id="bad"), "options"),
        (NewPrompt(prompt="x", options={"k": object()}, custom_id="bad"), "options"),
        (NewPrompt(messages=[{"content": "\udfff"}], custom_id="bad"), "surrogate"),
        (NewPrompt(prompt="x", priority=2**31, custom_id="bad"), "priority"),
        (NewPrompt(prompt="x", max_attempts=0, custom_id="bad"), "max_attempts"),
        (NewPrompt(prompt="x", endpoint="", custom_id="bad"), "endpoint"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(store, sql, prompt, said):
    """Both databases refuse the same, before they see it; pages before it stay."""
    with pytest.raises(InputError, match="'bad'") as caught:
        store.add([*numbered(PAGE), NewPrompt(prompt="good"), prompt], batch="b")
    assert said in str(caught.value)
    assert caught.value.verdict is Verdict.FAIL
    assert sql.one("SELECT count(*) FROM prompts") == PAGE


def test_a_backslash_before_u0000_is_only_text(store):
    """Escaped in JSON it looks like the forbidden character."""
    metadata = {"path": "\\u0000"}
    store.add([NewPrompt(prompt="x", metadata=metadata)])
    assert store.prompt(1).metadata == metadata


def test_two_people_adding_the_same_batch_at_once_add_it_once(open_store, sql):
    """The batch is created once, and every prompt once."""
    stores = [open_store(), open_store()]
    gate = threading.Barrier(2)
    added = []

    def add(store):
        gate.wait()
        added.append(store.add(numbered(3000), batch="b", source="f"))

    threads = [threading.Thread(target=add, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.added for each in added) == 3000
    assert sum(each.existing for each in added) == 3000
    assert sql.one("SELECT count(*) FROM batches") == 1
    assert sql.one("SELECT count(*) FROM prompts") == 3000


def test_memory_does_not_grow_with_the_file(sqlite_store):
    """Ten times the prompts need no more memory."""

    def peak(count):
        tracemalloc.start()
        sqlite_store.add(numbered(count, system="x" * 500), batch=f"b{count}")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1000)
    assert peak(20_000) < 1.5 * peak(2000)


@pytest.mark.parametrize(
    "long",
    [
        lambda n: NewPrompt(prompt=f"{n}" + "x" * 1_000_000),
        lambda n: NewPrompt(prompt="x", options={"n": n, "grammar": "x" * 1_000_000}),
        lambda n: NewPrompt(prompt="x", metadata={"n": n, "source": "x" * 1_000_000}),
    ],
    ids=["prompt", "options", "metadata"],
)
def test_long_prompts_go_in_a_few_at_a_time(sqlite_store, long):
    """A page of a thousand of them would be gigabytes, whatever of them is long."""
    tracemalloc.start()
    prompts = map(long, range(40))
    assert sqlite_store.add(prompts, batch="b") == Added(40, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
