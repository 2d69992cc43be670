"""A prompt is claimed once, in its turn, and only by a worker that holds a lease."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import event

from tests.store.cast import completed, expire, failed, interrupted, sign_on, start, take
from worker.records import NewPrompt
from worker.store.statements import priority_levels


def queue(store, *prompts, **same):
    store.add([NewPrompt(**{"prompt": text, **same}) for text in prompts])


def claimed(store, **more):
    return [run.prompt for run in take(store, limit=100, **more)]


def test_a_claim_says_everything_that_the_run_needs(store):
    """Nothing has to be read again before the request is sent."""
    sign_on(store)
    store.add(
        [
            NewPrompt(
                messages=[{"role": "user", "content": "Grüße"}],
                custom_id="c",
                model="phi",
                system="Be brief.",
                options={"z": 1, "a": {"b": [1.5, None]}},
                max_attempts=2,
            )
        ]
    )
    (run,) = take(store)
    assert run.prompt is None
    assert run.messages == [{"role": "user", "content": "Grüße"}]
    assert (run.custom_id, run.model, run.system) == ("c", "phi", "Be brief.")
    assert list(run.options) == ["z", "a"]  # the order of keys is the owner's
    assert run.options["a"] == {"b": [1.5, None]}
    assert (run.attempt, run.attempts, run.max_attempts) == (1, 1, 2)
    assert run.endpoint == "default"


def test_null_means_what_the_worker_is_set_to(store):
    """`model` and `max_attempts` of a bare prompt come from the settings."""
    sign_on(store)
    queue(store, "Why?")
    (run,) = store.claim("w1", "default", 1, dialect="d", model="m", max_attempts=7)
    assert (run.model, run.max_attempts, run.options) == ("m", 7, {})


def test_the_highest_priority_comes_first_then_the_oldest(store):
    """Runs are returned, and numbered, in that order."""
    sign_on(store)
    queue(store, "old", "new")
    queue(store, "urgent", priority=5)
    queue(store, "whenever", priority=-5)
    runs = take(store, limit=3) + take(store)
    assert [run.prompt for run in runs] == ["urgent", "old", "new", "whenever"]
    assert [run.id for run in runs] == sorted(run.id for run in runs)


def test_a_prompt_waits_for_its_moment(store, sql):
    """`available_at` in the future keeps it in the queue."""
    sign_on(store)
    sql("INSERT INTO prompts (prompt, available_at) VALUES ('tomorrow', '2999-01-01 00:00:00')")
    sql("INSERT INTO prompts (prompt, available_at) VALUES ('long ago', '2020-01-01 00:00:00')")
    assert claimed(store) == ["long ago"]


def test_a_claim_is_for_one_endpoint_and_keeps_to_its_limit(store):
    """Other endpoints' prompts stay where they are."""
    sign_on(store)
    queue(store, "a", "b", "c")
    queue(store, "elsewhere", endpoint="gpu")
    assert [run.prompt for run in take(store, limit=2)] == ["a", "b"]
    assert claimed(store, endpoint="gpu") == ["elsewhere"]
    assert claimed(store, endpoint="nowhere") == []
    assert claimed(store) == ["c"]


def test_a_prompt_that_its_owner_wants_cancelled_is_not_claimed(store, sql):
    """Also when the request came by plain SQL."""
    sign_on(store)
    queue(store, "unwanted", "wanted")
    sql("UPDATE prompts SET cancel_requested_at = created_at WHERE prompt = 'unwanted'")
    assert claimed(store) == ["wanted"]


@pytest.mark.parametrize("how", ["unknown", "expired", "signed off"])
def test_without_a_lease_nothing_is_claimed(store, sql, how):
    """What it claimed would be taken from it at once."""
    queue(store, "Why?")
    if how != "unknown":
        sign_on(store)
    if how == "expired":
        expire(sql)
    if how == "signed off":
        store.sign_off("w1")
    assert take(store) == []
    assert sql.one("SELECT status FROM prompts") == "queued"
    assert sql.one("SELECT count(*) FROM runs") == 0


def test_the_attempt_is_counted_in_the_claim(store, sql):
    """A prompt that kills its worker before anything else happens is counted too."""
    run = start(store)
    assert sql("SELECT status, attempts, runs, run_id FROM prompts") == [("running", 1, 1, run.id)]
    assert sql("SELECT prompt_id, attempt, worker_id, status, dialect, model FROM runs") == [
        (run.prompt_id, 1, "w1", "streaming", "ollama-chat", "llama")
    ]


def test_attempt_numbers_are_never_given_twice(store, sql):
    """An attempt that was not charged is still a run of its own."""
    run = start(store)
    for attempt in (2, 3):
        store.commit("w1", [], [interrupted(run, charged=False)])
        (run,) = take(store)
        assert (run.attempt, run.attempts) == (attempt, 1)
    store.commit("w1", [], [interrupted(run)])
    (run,) = take(store)
    assert (run.attempt, run.attempts) == (4, 2)


def test_what_is_finished_is_not_claimed(store):
    """Completed and failed prompts are out of the queue."""
    store.commit("w1", [], [completed(start(store))])
    store.commit("w1", [], [failed(start(store))])
    assert take(store, limit=10) == []


def test_two_workers_never_get_the_same_prompt(open_store, sql):
    """Claims that run at the same time, from several stores, are disjoint and complete."""
    stores = [open_store() for _ in range(4)]
    queue(stores[0], *(f"p{number}" for number in range(200)))
    for number, store in enumerate(stores):
        sign_on(store, f"w{number}")
    gate = threading.Barrier(len(stores))
    got = [[] for _ in stores]

    def claim_all(number):
        gate.wait()
        while runs := take(stores[number], f"w{number}", limit=7):
            got[number] += runs

    threads = [threading.Thread(target=claim_all, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = [run for each in got for run in each]
    assert len(runs) == len({run.id for run in runs}) == len({run.prompt_id for run in runs})
    assert sorted(run.prompt for run in runs) == sorted(f"p{number}" for number in range(200))
    assert sql("SELECT status, attempts, count(*) FROM prompts GROUP BY status, attempts") == [
        ("running", 1, 200)
    ]


def test_a_claim_is_a_handful_of_statements(store):
    """However many prompts it takes: a look, and one on PostgreSQL, two on SQLite."""
    sign_on(store)
    queue(store, *(f"p{number}" for number in range(300)))
    database = store._work_db
    take(store, limit=10)
    seen = []
    prepared = database.prepared
    database.prepared = lambda statement: seen.append("prepared") or prepared(statement)
    event.listen(database.engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    assert len(take(store, limit=250)) == 250
    assert [each for each in seen if not each.startswith("BEGIN")] == ["prepared"] * (
        3 if store.is_sqlite else 2
    )


def test_an_idle_worker_leaves_the_write_lock_alone(sqlite_store, connect, sqlite_url):
    """It looks first, and a claim that got less than it asked for sees that there was no more."""
    sign_on(sqlite_store)
    queue(sqlite_store, "one", "two")
    assert claimed(sqlite_store) == ["one", "two"]
    connect(sqlite_url)("BEGIN IMMEDIATE")  # would keep a claim waiting
    assert claimed(sqlite_store) == []


def test_a_ready_prompt_is_found_below_any_number_of_priorities(sqlite_store, connect, sqlite_url):
    """Those that wait for later stand in front of it, each with a priority of its own."""
    sign_on(sqlite_store)
    connect(sqlite_url)(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        f" WHERE i <= {priority_levels.LEVELS}) INSERT INTO prompts (prompt, priority, available_at)"
        " SELECT 'later', i, '2999-01-01 00:00:00' FROM n"
    )
    assert claimed(sqlite_store) == []
    queue(sqlite_store, "now")
    assert claimed(sqlite_store) == ["now"]


def test_a_claim_that_was_filled_is_followed_by_one_that_does_not_look_first(sqlite_store):
    """There is more, or soon will be; to ask would cost as much as to take."""
    sign_on(sqlite_store)
    queue(sqlite_store, "one", "two", "three")
    seen = []
    event.listen(sqlite_store._work_db.engine, "checkout", lambda *_: seen.append("transaction"))
    assert [run.prompt for run in take(sqlite_store)] == ["one"]
    assert seen == ["transaction"] * 2
    assert [run.prompt for run in take(sqlite_store)] == ["two"]
    assert seen == ["transaction"] * 3


def test_a_prompt_that_somebody_else_locks_is_passed_over(postgres_store, postgres_sql):
    """A client that looks at a row FOR UPDATE keeps nobody from working on the others."""
    sign_on(postgres_store)
    queue(postgres_store, "locked", "free")
    postgres_sql("BEGIN")
    postgres_sql("SELECT 1 FROM prompts WHERE prompt = 'locked' FOR UPDATE")
    assert claimed(postgres_store) == ["free"]
    postgres_sql("COMMIT")
    assert claimed(postgres_store) == ["locked"]


@pytest.mark.parametrize("column", ["messages", "options"])
def test_a_prompt_that_nobody_can_read_fails_and_the_next_one_is_claimed(store, sql, column):
    """JSON knows numbers that are longer than Python reads; the queue does not stop there."""
    sign_on(store)
    digits = "7" * 5000
    columns, values = ("messages", f"'[{digits}]'")
    if column == "options":
        columns, values = ("prompt, options", f"""'x', '{{"a": {digits}}}'""")
    sql(f"INSERT INTO prompts ({columns}) VALUES ({values})")
    queue(store, "behind it")
    assert claimed(store) == ["behind it"]
    assert sql("SELECT status, error_code FROM prompts ORDER BY id") == [
        ("failed", "bad_request"),
        ("running", None),
    ]
    assert sql("SELECT status, error LIKE '%cannot be read%' FROM runs ORDER BY id") == [
        ("failed", True),
        ("streaming", None),
    ]
    assert store.owned("w1").keys() == {2}


def test_bytes_that_are_no_text_do_not_stop_the_queue(store, sql):
    """SQLite lets any program store broken UTF-8 as text; it is read with replacements."""
    sign_on(store)
    broken = "CAST(x'61FF62' AS TEXT)" if store.is_sqlite else "'a' || chr(65533) || 'b'"
    sql(f"INSERT INTO prompts (prompt) VALUES ({broken})")
    queue(store, "behind it")
    assert claimed(store) == ["a\ufffdb", "behind it"]
