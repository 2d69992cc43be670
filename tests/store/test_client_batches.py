"""Batches of clients: made once, counted from their prompts, seen by their owner."""

from __future__ import annotations

from worker.records import NewPrompt
from worker.states import PromptState
from worker.store import Selection


def add(store, batch_id="batch_1", *, owner="", key=None, seconds=3600.0):
    return store.add_batch(
        batch_id,
        owner=owner,
        endpoint="/v1/chat/completions",
        input_file_id="file-1",
        completion_window="24h",
        window_seconds=seconds,
        metadata={"a": "b"},
        idempotency_key=key,
    )


def test_a_key_that_was_used_before_gives_the_same_batch(store):
    """To the same owner; without a key each is another."""
    first = add(store, "batch_1", key="k")
    assert add(store, "batch_2", key="k") == first
    assert add(store, "batch_3", key="k", owner="ann").id == "batch_3"
    assert {add(store, f"batch_{n}").id for n in (4, 5)} == {"batch_4", "batch_5"}
    assert first.metadata == {"a": "b"}


def test_counts_are_those_of_the_prompts(store):
    """Nothing about progress is stored twice."""
    add(store)
    store.add([NewPrompt(prompt="x", custom_id=f"{n}") for n in range(3)], batch="batch_1")
    batch = store.asked_batch("batch_1", owner="")
    assert (batch.open, batch.total, batch.last_finished_at) == (3, 3, None)
    store.cancel(Selection(batch="batch_1"))
    batch = store.asked_batch("batch_1", owner="")
    assert batch.counts == {PromptState.CANCELLED: 3}
    assert batch.open == 0
    assert batch.last_finished_at is not None
    assert store.request_of("batch_1", "1") is not None
    assert store.request_of("batch_1", "9") is None


def test_a_list_goes_on_where_it_ended_and_shows_no_batch_of_another(store):
    """Nor those of the command line."""
    store.add([NewPrompt(prompt="x")], batch="by hand")
    for n in range(3):
        add(store, f"batch_{n}", owner="ann")
    page = store.asked_batches(owner="ann", limit=2)
    assert [each.id for each in page] == ["batch_2", "batch_1"]
    rest = store.asked_batches(owner="ann", limit=2, before=page[-1].number)
    assert [each.id for each in rest] == ["batch_0"]
    assert store.asked_batches(owner="", limit=2) == []
    assert store.asked_batch("batch_0", owner="") is None


def test_a_batch_is_late_while_its_window_is_closed_and_something_is_open(store):
    """What has ended, or was found wrong, is not."""
    add(store, "batch_1", seconds=-1.0)
    add(store, "batch_2")
    store.add([NewPrompt(prompt="x", custom_id="a")], batch="batch_1")
    store.mark_validated("batch_1")
    assert store.late_batches() == [("batch_1", "")]
    store.mark_expired("batch_1")
    store.cancel(Selection(batch="batch_1"))
    assert store.late_batches() == []
    add(store, "batch_3", seconds=-1.0)
    store.fail_batch("batch_3", [{"code": "empty_file"}])
    assert store.late_batches() == []
    assert store.asked_batch("batch_3", owner="").errors == [{"code": "empty_file"}]


def test_what_no_server_has_finished_to_validate_is_found_again(store):
    """Each of the ends takes it off the list, and each is written once."""
    for n in range(4):
        add(store, f"batch_{n}")
    assert len(store.batches_to_validate()) == 4
    assert store.batches_to_validate(older_than_seconds=3600.0) == []
    store.mark_validated("batch_0")
    store.fail_batch("batch_1", [])
    store.mark_expired("batch_2")
    assert store.batches_to_validate() == [("batch_3", "")]
    store.mark_cancelled("batch_3")
    since = store.asked_batch("batch_3", owner="").cancel_requested_at
    store.mark_cancelled("batch_3")
    assert store.asked_batch("batch_3", owner="").cancel_requested_at == since
