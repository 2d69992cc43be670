"""Answers and failures are read from the rows, and nothing else."""

from __future__ import annotations

from tests.server.talking import answer_one, batch_of, checked, client, line
from worker.server.openai_batches import sweep


def test_a_window_that_closes_keeps_what_is_done(served, store, sql):
    """The rest is in the error file, as `batch_expired`."""
    url, context = served
    api = client(url)
    batch = checked(api, context, batch_of(api, line("a"), line("b")))
    answer_one(store)
    sql("UPDATE batches SET deadline_at = '2026-01-01 00:00:00.000'")
    sweep(context)
    batch = api.batches.retrieve(batch.id)
    assert batch.status == "expired"
    assert len(api.files.content(batch.output_file_id).text.splitlines()) == 1
    assert "batch_expired" in api.files.content(batch.error_file_id).text
