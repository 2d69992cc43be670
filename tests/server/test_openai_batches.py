"""The official client runs batches through a real server, and reads what came of them."""

from __future__ import annotations

import json

import openai
import pytest

from tests.server.talking import answer_one, batch_of, checked, client, line
from worker.server.batch_input import cancel


def test_a_batch_is_uploaded_run_and_read_by_the_official_client(served, store):
    """And what failed is in the other file."""
    url, context = served
    api = client(url)
    batch = checked(api, context, batch_of(api, line("a"), line("b"), metadata={"for": "me"}))
    assert (batch.status, batch.request_counts.total) == ("in_progress", 2)
    assert batch.output_file_id is None
    answer_one(store)
    cancel(context, batch.id)
    batch = api.batches.retrieve(batch.id)
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1)
    (answer,) = api.files.content(batch.output_file_id).text.splitlines()
    assert json.loads(answer)["response"]["body"]["object"] == "chat.completion"
    assert len(api.files.content(batch.error_file_id).text.splitlines()) == 1
    assert api.files.retrieve(batch.output_file_id).bytes == len(answer) + 1
    assert [each.id for each in api.batches.list(limit=1)] == [batch.id]
    assert [each.id for each in api.models.list()] == ["m"]


def test_a_retried_create_makes_no_second_batch(served):
    """Where the client names what it asks."""
    url, _ = served
    api = client(url)
    sent = api.files.create(file=("in.jsonl", line("a").encode()), purpose="batch")
    asked = {"input_file_id": sent.id, "endpoint": "/v1/chat/completions"}
    made = [
        api.batches.create(
            **asked, completion_window="1h", extra_headers={"Idempotency-Key": "once"}
        )
        for _ in range(2)
    ]
    assert made[0].id == made[1].id
    with pytest.raises(openai.BadRequestError):
        api.batches.create(**asked, completion_window="soon")


def test_a_cancelled_batch_says_so(served):
    """Nothing of it is started any more."""
    url, context = served
    api = client(url)
    batch = checked(api, context, batch_of(api, line("a")))
    assert api.batches.cancel(batch.id).status == "cancelled"
    with pytest.raises(openai.ConflictError):
        api.batches.cancel(batch.id)
