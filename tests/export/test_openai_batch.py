"""Lines have the shapes that OpenAI's own batch files have, in the API that was asked for."""

from __future__ import annotations

import io

import pytest

from tests.export.rows import Texts, failed, objects, row
from worker.export import openai_batch
from worker.records import BATCH_URL, Kind
from worker.states import PromptState

ANSWER = {(7, Kind.TEXT): ["Hel", "lo."]}
CALL = (
    '{"index":0,"id":"call_1","name":"f","arguments":"{\\"a\\""}\n{"index":0,"arguments":": 1}"}\n'
)
UNIX = 1795348800  # noon of the rows


def lines(rows, texts=ANSWER):
    out, errors = io.StringIO(), io.StringIO()
    written = openai_batch.write(rows, Texts(texts), out, errors)
    return objects(out.getvalue()), objects(errors.getvalue()), written


def body(given, texts=ANSWER):
    ((line,), _, _) = lines([given], texts)
    return line["response"]["body"]


def test_a_completed_prompt_is_an_output_line():
    """The shape of the example in OpenAI's own reference."""
    ((line,), errors, written) = lines([row()])
    assert line == {
        "id": "batch_req_1",
        "custom_id": "c",
        "response": {
            "status_code": 200,
            "request_id": "req_x",
            "body": {
                "id": "chatcmpl-7",
                "object": "chat.completion",
                "created": UNIX,
                "model": "m",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Hello.", "refusal": None},
                        "logprobs": None,
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            },
        },
        "error": None,
    }
    assert errors == []
    assert (written.output, written.errors, written.left_out) == (1, 0, 0)


def test_what_never_got_an_answer_has_no_response():
    """`response: null`, and the error by code and message."""
    (_, (line,), _) = lines([failed(error_code="too_many_crashes", error="three workers died")])
    assert line["response"] is None
    assert line["error"] == {"code": "too_many_crashes", "message": "three workers died"}


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (500, "server_error")]
)
def test_an_http_error_has_a_response_and_no_error(status, kind):
    """The error is inside its body."""
    (_, (line,), _) = lines([failed(http_status=status)])
    assert line["error"] is None
    assert line["response"]["status_code"] == status
    assert line["response"]["body"]["error"] == {
        "message": "no",
        "type": kind,
        "param": None,
        "code": "bad_request",
    }


def test_a_cancelled_prompt_is_an_error_line():
    """With a code, though nobody failed."""
    (_, (line,), _) = lines([failed(status=PromptState.CANCELLED, error_code=None, error=None)])
    assert line["error"] == {"code": "cancelled", "message": "the prompt is cancelled"}


def test_failures_without_a_file_are_counted():
    """Whoever reads only the output file shall be told."""
    written = openai_batch.write([failed(), row()], Texts(ANSWER), io.StringIO(), None)
    assert (written.output, written.left_out) == (1, 1)


def test_a_prompt_without_a_custom_id_is_known_by_its_id():
    """A batch line must have one."""
    assert lines([row(custom_id=None)])[0][0]["custom_id"] == "prompt-1"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("stop", "stop"),
        ("end_turn", "stop"),
        (None, "stop"),
        ("max_tokens", "length"),
        ("length", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ],
)
def test_finish_reasons_are_openais_words(raw, expected):
    """Its typed clients know no others."""
    assert body(row(finish_reason=raw))["choices"][0]["finish_reason"] == expected


def test_tool_calls_are_whole():
    """Pieces are put together; the arguments stay a string."""
    choice = body(row(), ANSWER | {(7, Kind.TOOL_CALLS): [CALL]})["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    ]


def test_thinking_is_kept_apart_from_the_answer():
    """Under the name that vLLM gives it."""
    message = body(row(), ANSWER | {(7, Kind.THINKING): ["hm"]})["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hello.", "hm")


def test_unknown_usage_is_left_out():
    """Zero would be a lie."""
    assert "usage" not in body(row(prompt_tokens=None, completion_tokens=None))


def test_a_completions_line_is_answered_as_one():
    """By the url that `add` kept."""
    answer = body(row(metadata={BATCH_URL: "/v1/completions"}))
    assert (answer["object"], answer["id"]) == ("text_completion", "cmpl-7")
    assert answer["choices"] == [
        {"index": 0, "text": "Hello.", "logprobs": None, "finish_reason": "stop"}
    ]


def test_a_responses_line_is_answered_as_one():
    """Text and calls as items of the output."""
    texts = ANSWER | {(7, Kind.TOOL_CALLS): [CALL]}
    answer = body(row(metadata={BATCH_URL: "/v1/responses"}), texts)
    assert (answer["object"], answer["status"]) == ("response", "completed")
    message, call = answer["output"]
    assert message["content"] == [{"type": "output_text", "text": "Hello.", "annotations": []}]
    assert (call["type"], call["call_id"], call["arguments"]) == (
        "function_call",
        "call_1",
        '{"a": 1}',
    )
    assert answer["usage"]["total_tokens"] == 7


def test_a_response_that_was_cut_by_its_limit_is_incomplete():
    """As the API itself says it."""
    answer = body(row(metadata={BATCH_URL: "/v1/responses"}, finish_reason="max_output_tokens"))
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
