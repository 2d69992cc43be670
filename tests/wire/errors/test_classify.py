"""The verdict on an error is that of docs/dialects.md, and its message is never empty."""

import json

import pytest

from tests.wire.corpus import REJECTIONS
from tests.wire.reading import is_retryable, outcome
from worker.errors import Busy, Crashed, ErrorCode, Refused, ServerFailed, Verdict
from worker.wire.errors.classify import failure, stream_failure


def rejected(status, said=None, **headers):
    body = b"" if said is None else json.dumps(said).encode()
    return failure(status, {name.replace("_", "-"): str(v) for name, v in headers.items()}, body)


@pytest.mark.parametrize("case", REJECTIONS, ids=str)
def test_recorded_rejections(case):
    error = failure(case.status, case.headers, case.body)
    want = case.expect
    assert (outcome(error), is_retryable(error)) == (want["outcome"], want["retryable"])
    assert (want["error_contains"] or "") in error.message
    assert error.http_status == case.status
    assert f"HTTP {case.status}" in error.message
    if "retry_after_s" in want:
        assert error.retry_after_seconds == want["retry_after_s"]


@pytest.mark.parametrize(
    ("status", "kind", "code", "charged"),
    [
        (400, Refused, ErrorCode.BAD_REQUEST, True),
        (401, Refused, ErrorCode.UNAUTHORIZED, True),
        (402, Refused, ErrorCode.QUOTA_EXHAUSTED, True),
        (403, Refused, ErrorCode.UNAUTHORIZED, True),
        (404, Refused, ErrorCode.NOT_FOUND, True),
        (408, Busy, ErrorCode.OVERLOADED, False),
        (409, ServerFailed, ErrorCode.SERVER_ERROR, True),
        (413, Refused, ErrorCode.BAD_REQUEST, True),
        (422, Refused, ErrorCode.BAD_REQUEST, True),
        (424, ServerFailed, ErrorCode.SERVER_ERROR, True),
        (425, ServerFailed, ErrorCode.SERVER_ERROR, True),
        (429, Busy, ErrorCode.RATE_LIMITED, False),
        (500, ServerFailed, ErrorCode.SERVER_ERROR, True),
        (501, Refused, ErrorCode.BAD_REQUEST, True),
        (502, ServerFailed, ErrorCode.SERVER_ERROR, True),
        (503, Busy, ErrorCode.OVERLOADED, False),
        (504, Busy, ErrorCode.OVERLOADED, False),
        (529, Busy, ErrorCode.OVERLOADED, False),
        (524, Busy, ErrorCode.OVERLOADED, False),
        (498, Busy, ErrorCode.OVERLOADED, False),
        (499, Crashed, ErrorCode.SERVER_ERROR, True),
        (307, Refused, ErrorCode.BAD_REQUEST, True),
        (999, ServerFailed, ErrorCode.SERVER_ERROR, True),
    ],
)
def test_by_status_alone(status, kind, code, charged):
    error = rejected(status)
    assert (type(error), error.code, error.charged) == (kind, code, charged)
    assert error.message == f"HTTP {status} without a message"
    assert error.verdict is kind.verdict


def test_the_number_inside_beats_the_status():
    assert type(rejected(500, {"error": {"message": "m", "code": 400}})) is Refused
    assert type(rejected(400, {"error": {"message": "m", "code": 502}})) is ServerFailed
    assert type(rejected(400, {"error": "m", "StatusCode": 429})) is Busy


@pytest.mark.parametrize(
    "name", ["insufficient_quota", "billing_hard_limit_reached", "billing_error"]
)
def test_an_empty_account_is_not_cured_by_waiting(name):
    error = rejected(429, {"error": {"message": "m", "code": name}}, retry_after=5)
    assert (error.code, error.verdict) == (ErrorCode.QUOTA_EXHAUSTED, Verdict.FAIL)
    in_stream = stream_failure({"error": {"message": "m", "type": name}}, had_output=True)
    assert (in_stream.code, in_stream.verdict) == (ErrorCode.QUOTA_EXHAUSTED, Verdict.FAIL)


@pytest.mark.parametrize(
    ("status", "words", "kind", "code"),
    [
        (
            429,
            "Your account org-x is suspended due to insufficient balance, please recharge",
            Refused,
            ErrorCode.QUOTA_EXHAUSTED,
        ),
        (400, "Your credit balance is too low to access", Refused, ErrorCode.QUOTA_EXHAUSTED),
        (
            412,
            "Account x is suspended, possibly due to reaching the monthly spending limit",
            Refused,
            ErrorCode.QUOTA_EXHAUSTED,
        ),
        (400, "API key not valid. Please pass a valid API key.", Refused, ErrorCode.UNAUTHORIZED),
        (400, "Incorrect API key provided.", Refused, ErrorCode.UNAUTHORIZED),
        (
            400,
            "The model has crashed without additional information. (Exit code: 1844)",
            Crashed,
            ErrorCode.SERVER_ERROR,
        ),
        (
            500,
            "model runner has unexpectedly stopped, this may be due to resource limitations",
            Crashed,
            ErrorCode.SERVER_ERROR,
        ),
        (500, "litellm.InternalServerError: Connection error.", ServerFailed, "unreachable"),
        (502, "dial tcp 10.0.0.1:80: connect: connection refused", ServerFailed, "unreachable"),
        (400, "connection error: is no valid value", Refused, ErrorCode.BAD_REQUEST),
    ],
)
def test_words_that_are_clearer_than_their_number(status, words, kind, code):
    """An empty account that says 429, a crash that says 400, a dead upstream that says 500."""
    error = rejected(status, {"error": {"message": words}})
    assert (type(error), error.code) == (kind, code)
    assert error.charged is (code != ErrorCode.UNREACHABLE)


def test_an_exceeded_quota_that_names_a_wait_is_a_rate_limit():
    """Google says so of a quota that is full for the minute; the wait tells the two apart."""
    words = "You exceeded your current quota. Please retry in 34s."
    error = rejected(429, {"error": {"message": words}})
    assert (type(error), error.retry_after_seconds) == (Busy, 34.0)


def test_a_retry_after_charges_nobody():
    error = rejected(500, {"error": {"message": "m"}}, retry_after=7)
    assert (type(error), error.charged, error.retry_after_seconds) == (Busy, False, 7.0)
    error = rejected(500, {"error": {"message": "m"}}, retry_after="nonsense")
    assert (type(error), error.charged, error.retry_after_seconds) == (ServerFailed, True, None)
    assert rejected(400, retry_after=7).charged


def test_the_servers_own_word_on_retrying_wins():
    assert rejected(500, x_should_retry="false").verdict is Verdict.FAIL
    assert rejected(400, x_should_retry="true").verdict is Verdict.RETRY_LATER
    assert rejected(429, x_should_retry="false").verdict is Verdict.FAIL
    assert rejected(500, x_should_retry="perhaps").verdict is Verdict.RETRY_LATER


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            {"error": {"message": "m", "code": "context_length_exceeded"}},
            ErrorCode.CONTEXT_EXCEEDED,
        ),
        (
            {"error": {"message": "m", "type": "exceed_context_size_error"}},
            ErrorCode.CONTEXT_EXCEEDED,
        ),
        ({"error": "This model's maximum context length is 10 tokens"}, ErrorCode.CONTEXT_EXCEEDED),
        ({"error": {"message": "prompt is too long: 9 > 8"}}, ErrorCode.CONTEXT_EXCEEDED),
        ({"error": {"message": "max_tokens is too large"}}, ErrorCode.BAD_REQUEST),
    ],
)
def test_too_long_a_prompt_has_a_code_of_its_own(said, code):
    assert rejected(400, said).code is code


def test_request_ids():
    assert rejected(500, {}, x_request_id="a", request_id="b").request_id == "a"
    assert rejected(500, {}, request_id="b").request_id == "b"
    assert rejected(500, {"request_id": "c"}).request_id == "c"
    assert rejected(500, {}).request_id is None
    assert failure(500, {"X-Request-Id": "d"}, b"").request_id == "d"


def test_a_redirect_names_where_to_and_what_to_check():
    error = rejected(308, location="https://other/v1")
    assert "https://other/v1" in error.message
    assert "base_url" in error.message


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        ({"error": {"message": "m", "type": "overloaded_error"}}, Busy, ErrorCode.OVERLOADED),
        ({"error": {"message": "m", "type": "rate_limit_error"}}, Busy, ErrorCode.RATE_LIMITED),
        ({"error": {"code": "rate_limit_exceeded", "message": "m"}}, Busy, ErrorCode.RATE_LIMITED),
        ({"error": {"code": "server_is_overloaded", "message": "m"}}, Busy, ErrorCode.OVERLOADED),
        ({"error": {"message": "m", "type": "api_error"}}, ServerFailed, ErrorCode.SERVER_ERROR),
        ({"error": "m"}, ServerFailed, ErrorCode.SERVER_ERROR),
        ({"error": "prediction aborted, x"}, ServerFailed, ErrorCode.GENERATION_ABORTED),
        (
            {"error": {"message": "m", "http_status_code": 422}},
            ServerFailed,
            ErrorCode.SERVER_ERROR,
        ),
        (
            {"error": {"message": "m", "type": "invalid_request_error"}},
            Refused,
            ErrorCode.BAD_REQUEST,
        ),
        (
            {"error": {"message": "m", "type": "authentication_error"}},
            Refused,
            ErrorCode.UNAUTHORIZED,
        ),
        ({"error": {"message": "m", "type": "permission_error"}}, Refused, ErrorCode.UNAUTHORIZED),
        ({"error": {"message": "m", "type": "not_found_error"}}, Refused, ErrorCode.NOT_FOUND),
        ({"error": {"message": "m", "type": "request_too_large"}}, Refused, ErrorCode.BAD_REQUEST),
        ({"error": {"message": "m", "type": "BadRequestError"}}, Refused, ErrorCode.BAD_REQUEST),
        ({"error": {"message": "m", "type": "NotFoundError"}}, Refused, ErrorCode.NOT_FOUND),
        ({"error": {"message": "m", "code": "invalid_prompt"}}, Refused, ErrorCode.BAD_REQUEST),
        ({"error": {"message": "m", "code": "image_too_large"}}, Refused, ErrorCode.BAD_REQUEST),
        ({"error": {"message": "m", "code": 404}}, Refused, ErrorCode.NOT_FOUND),
    ],
)
def test_in_a_stream_before_any_output(said, kind, code):
    error = stream_failure(said, had_output=False)
    assert (type(error), error.code) == (kind, code)
    assert error.charged is (kind is not Busy)
    assert error.http_status is None


@pytest.mark.parametrize("inner", [{"code": 400}, {"type": "invalid_request_error"}])
def test_in_a_stream_after_output_a_bad_request_is_not_believed(inner):
    error = stream_failure({"error": {"message": "m", **inner}}, had_output=True)
    assert (type(error), error.verdict) == (ServerFailed, Verdict.RETRY_LATER)
    assert error.code is ErrorCode.SERVER_ERROR


def test_a_wait_that_is_only_in_the_sentence():
    said = {"error": {"code": "rate_limit_exceeded", "message": "Please retry after 8 seconds."}}
    assert stream_failure(said, had_output=False).retry_after_seconds == 8.0


@pytest.mark.parametrize("said", [{}, {"error": {}}, {"error": {"message": ""}}, None, ""])
def test_never_without_words(said):
    assert len(stream_failure(said, had_output=False).message) > 20
    assert len(rejected(500, said).message) > len("HTTP 500: ")
