"""A file becomes prompts, or a list of what is wrong with its lines."""

from __future__ import annotations

import json

from tests.server.talking import PLACES, batch_of, checked, client, line
from worker.records import Endpoint
from worker.server.batch_input import endpoint_for
from worker.store import Selection


def test_a_file_with_bad_lines_queues_nothing_and_names_them(served, store):
    """Each with its line and a word for programs."""
    url, context = served
    api = client(url)
    other = json.dumps({**json.loads(line("c")), "url": "/v1/responses"})
    batch = batch_of(api, line("a"), "{", line("a"), other, line("d", stream=True))
    batch = checked(api, context, batch)
    assert batch.status == "failed"
    assert [(each.line, each.code) for each in batch.errors.data] == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
        (4, "url_mismatch"),
        (5, "streaming_unsupported"),
    ]
    assert store.count(Selection()) == 0
    assert checked(api, context, batch_of(api, "")).errors.data[0].code == "empty_file"


def test_the_model_of_a_line_chooses_the_endpoint():
    """By the name of the endpoint, else by the model that it serves."""
    other = Endpoint(name="fast", dialect="openai-chat", base_url="http://y", model="small")
    places = {**PLACES, "fast": other}
    assert endpoint_for("fast", places) == endpoint_for("small", places) == "fast"
    assert endpoint_for("m", places) == "default"
    assert endpoint_for("unknown", places) is None
    assert endpoint_for(["fast"], places) is None
