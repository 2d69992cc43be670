"""The server's own words are found in every shape in which servers report errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.wire.errors.bodies import ServerError, page_words, read, read_body

SHAPES = [
    ({"error": {"message": "M", "type": "t", "param": None, "code": "c"}}, "M", None, {"t", "c"}),
    ({"error": {"message": "M", "code": 429}}, "M", 429, set()),
    ({"error": {"message": "M", "code": "503"}}, "M", 503, set()),
    ({"error": {"message": "M", "code": "5030"}}, "M", None, set()),
    ({"error": {"message": "M", "code": 200}}, "M", None, set()),
    ({"error": {"message": "M", "code": True}}, "M", None, set()),
    ({"error": {"message": "M", "http_status_code": 422}}, "M", None, set()),
    ({"type": "error", "error": {"type": "t", "message": "M"}}, "M", None, {"t", "error"}),
    ({"type": "error", "code": "c", "message": "M"}, "M", None, {"error", "c"}),
    ({"error": "M"}, "M", None, set()),
    ({"error": "M", "StatusCode": 429, "Status": "429 Too Many"}, "M", 429, set()),
    ({"error": "M", "error_type": "overloaded"}, "M", None, {"overloaded"}),
    ({"error": json.dumps({"error": {"code": 400, "message": "M", "type": "t"}})}, "M", 400, {"t"}),
    ({"object": "error", "message": "M", "type": "t", "code": 503}, "M", 503, {"t"}),
    ({"code": 500, "message": "M", "type": "t"}, "M", 500, {"t"}),
    ({"detail": "M"}, "M", None, set()),
    ({"detail": [{"loc": ["body", "x"], "msg": "bad"}]}, "body.x: bad", None, set()),
    ({"detail": [{"msg": "a"}, {"msg": "b"}]}, "a; b", None, set()),
    ([{"error": {"code": 429, "message": "M", "status": "S"}}], "M", 429, {"S"}),
    (
        {"response": {"status": "failed", "error": {"code": "c", "message": "M"}}},
        "M",
        None,
        {"c", "failed"},
    ),
    (
        {"error": {"message": "M", "param": "stream_options"}},
        "M (parameter stream_options)",
        None,
        set(),
    ),
    ({"error": {"message": "M p", "param": "p"}}, "M p", None, set()),
    ({"error": {"message": "M", "metadata": {"raw": "U"}}}, "M (upstream: U)", None, set()),
    ({"error": {"message": {"detail": "M"}}}, "M", None, set()),
    ({"error": "invalid_grant", "error_description": "M"}, "M", None, set()),
    ({"error_code": 17, "error_msg": "M"}, "M", None, set()),
    ({"errors": [{"message": "M", "code": 5006}], "success": False}, "M", None, set()),
    ({"id": "c", "x_groq": {"id": "r", "error": "M"}}, "M", None, set()),
    ("M", "M", None, set()),
    ({"foo": 1}, '{"foo": 1}', None, set()),
    ({"error": True}, '{"error": true}', None, set()),
    ({}, "", None, set()),
    ([], "", None, set()),
    (None, "", None, set()),
]


@pytest.mark.parametrize(("said", "message", "number", "names"), SHAPES)
def test_shapes(said, message, number, names):
    report = read(said)
    assert (report.message, report.number, report.names) == (message, number, names)


@pytest.mark.parametrize(("said", "message", "number", "names"), SHAPES[:20])
def test_bodies_of_these_shapes(said, message, number, names):
    """Pretty-printed too, and behind a byte order mark."""
    report = read_body(b"\xef\xbb\xbf" + json.dumps(said, indent=2).encode())
    assert (report.message, report.number, report.names) == (message, number, names)


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"error":{"message":"M","code":"insufficient_quota"}}\n\n',
        b'id:1\nevent:error\n:HTTP_STATUS/429\ndata:{"code":"insufficient_quota","message":"M"}\n\n',
        b'event: error\r\ndata: {"message":"M","code":"insufficient_quota"}\r\n\r\n',
    ],
)
def test_an_error_response_in_the_form_of_an_event(body):
    """The stream was asked for, so some refuse it as one."""
    report = read_body(body)
    assert (report.message, report.names) == ("M", {"insufficient_quota"})
    cut = b'data: {"error":{"mess'
    assert read_body(cut).message == cut.decode()


def test_waits_and_ids_inside_a_report():
    said = {"error": {"message": "M", "details": [{"@type": "x"}, {"retryDelay": "34s"}]}}
    assert read(said).wait_seconds == 34.0
    assert read({"error": {"message": "M"}, "request_id": "req_1"}).request_id == "req_1"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"upstream connect error", "upstream connect error"),
        (b"<html><head><title> 502 Bad\nGateway </title></head>x</html>", "502 Bad Gateway"),
        (b"<html><script>var x = '<p>';</script><p>Sign <b>in</b></p></html>", "Sign in"),
        (b'{"error": {"mess', '{"error": {"mess'),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"  \n", ""),
    ],
)
def test_bodies_that_are_not_json(body, words):
    assert read_body(body) == ServerError(message=words)


def test_long_messages_are_clipped_to_one_line():
    report = read({"error": "x\n" * 5000})
    assert len(report.message) <= 1000
    assert "\n" not in report.message
    assert page_words("plain < text") == "plain < text"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "code",
                    "type",
                    "detail",
                    "details",
                    "response",
                    "metadata",
                    "loc",
                    "msg",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(json_values)
def test_no_shape_crashes_it(said):
    report = read(said)
    report.message.encode()
    assert read_body(json.dumps(said).encode()).number == report.number or isinstance(said, str)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "part", ["<", "<script", "<script>", "<title", "<title>", "<title></title"]
)
def test_a_page_is_read_once(part):
    """However it is made: while it is read, no stream of this worker goes on."""
    page = part * (1_000_000 // len(part))
    assert len(read_body(page.encode()).message) <= 1000
