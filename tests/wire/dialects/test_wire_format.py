"""Every request asks for a stream, says what it accepts, and holds no key."""

import json

import pytest

from tests.wire.dialects.test_request import run
from tests.wire.reading import endpoint
from worker.errors import Busy, Refused
from worker.wire import DIALECTS
from worker.wire.dialects.wire_format import WireFormat


def ask(name, *, options=None, base_url="http://h/v1", where=None, **prompt):
    """The request for a prompt, and its body as a value."""
    settings = {"base_url": base_url, **(where or {})}
    request = DIALECTS[name].request(
        endpoint(name, **settings), run(**{"prompt": "p", "options": options or {}} | prompt)
    )
    return request, json.loads(request.body)


@pytest.mark.parametrize("name", DIALECTS)
def test_what_every_request_has_in_common(name):
    request, body = ask(name, where={"api_key": "secret-key", "headers": {"x-secret": "hidden"}})
    assert request.method == "POST"
    assert body["stream"] is True
    assert body["model"] == "m"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    kind = "application/x-ndjson" if name.startswith("ollama") else "text/event-stream"
    assert request.headers["accept"] == kind
    assert "secret" not in repr(request)
    assert "hidden" not in repr(request)


@pytest.mark.parametrize("name", DIALECTS)
def test_the_runs_model_wins_over_the_endpoints(name):
    assert ask(name, model="other")[1]["model"] == "other"
    assert ask(name, model="")[1]["model"] == "m"
    assert "model" not in ask(name, model="", where={"model": ""})[1]


@pytest.mark.parametrize("name", DIALECTS)
def test_a_prompt_of_nothing_is_refused(name):
    with pytest.raises(Refused, match="neither text nor messages"):
        ask(name, prompt=None)


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("option", ["model", "messages"])
def test_options_cannot_contradict_the_prompt(name, option):
    with pytest.raises(Refused, match=option):
        ask(name, options={option: "x"})


@pytest.mark.parametrize("name", DIALECTS)
def test_unknown_options_pass_through_as_they_are(name):
    value = {"deep": [1, {"x": None}], "t": 0.5}
    body = ask(name, options={"brand_new": value})[1]
    holder = body["options"] if name.startswith("ollama") else body
    assert holder["brand_new"] == value


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("ollama-chat", {"authorization": "Bearer k"}),
        ("openai-chat", {"authorization": "Bearer k"}),
        ("openai-responses", {"authorization": "Bearer k"}),
        ("llamacpp-completion", {"authorization": "Bearer k"}),
        ("anthropic-messages", {"x-api-key": "k"}),
    ],
)
def test_the_key_goes_where_the_dialect_wants_it(name, header):
    assert DIALECTS[name].authorization("k") == header


REJECTION = "HTTP 400: Unrecognized request argument supplied: stream_options"


@pytest.mark.parametrize("status", [400, 422])
def test_a_rejected_extra_is_left_out_once(status):
    dialect = DIALECTS["openai-chat"]
    request, body = ask("openai-chat", options={"seed": 1})
    error = Refused(REJECTION, http_status=status)
    simpler = dialect.simpler(request, error)
    assert json.loads(simpler.body) == {k: v for k, v in body.items() if k != "stream_options"}
    assert (simpler.url, simpler.headers, simpler.method) == (
        request.url,
        request.headers,
        request.method,
    )
    assert dialect.simpler(simpler, error) is None
    inner = Refused("HTTP 400: Unrecognized key: include_usage", http_status=status)
    assert dialect.simpler(request, inner) == simpler


@pytest.mark.parametrize(
    "error",
    [
        Refused("HTTP 400: max_tokens is too large", http_status=400),
        Refused(REJECTION, http_status=404),
        Refused(REJECTION),
        Busy(REJECTION, http_status=503),
    ],
)
def test_other_rejections_have_no_simpler_form(error):
    request, _ = ask("openai-chat")
    assert DIALECTS["openai-chat"].simpler(request, error) is None


def test_only_what_the_user_did_not_ask_for_is_dropped():
    for name in ("ollama-chat", "anthropic-messages", "openai-responses", "llamacpp-completion"):
        request, _ = ask(name, options={"stream_options": {}})
        error = Refused(REJECTION, http_status=400)
        assert DIALECTS[name].simpler(request, error) is None


def test_a_dialect_is_a_value():
    assert all(isinstance(dialect, WireFormat) for dialect in DIALECTS.values())
    assert [name for name, dialect in DIALECTS.items() if dialect.name != name] == []
