"""What may not stand in a request is refused before it is sent, without being repeated."""

from __future__ import annotations

import httpx
import pytest

from worker.http.transport import serialize


def request(**arguments) -> httpx.Request:
    return httpx.Request("POST", "http://host:1/path?q=1", **arguments)


def test_a_head_is_the_request_line_and_the_headers():
    """In the order in which httpx has them."""
    asked = request(headers={"x-a": "1"}, content=b"hi")
    assert serialize.head(asked) == (
        b"POST /path?q=1 HTTP/1.1\r\nHost: host:1\r\nx-a: 1\r\nContent-Length: 2\r\n\r\n"
    )


@pytest.mark.parametrize("value", [b"a\r\nb", b"\n", b" ", b"\t", b"a\x00b", b"a\rb"])
def test_a_bad_value_is_refused_and_kept_secret(value):
    """It is often a key with a line break; the message must not show it."""
    asked = request(headers=[(b"Authorization", b"Bearer secret-key" + value)])
    with pytest.raises(httpx.LocalProtocolError, match="Authorization") as caught:
        serialize.head(asked)
    assert "secret-key" not in str(caught.value)


@pytest.mark.parametrize("name", [b"a b", b"a:b", b"", b"a\n"])
def test_a_bad_name_is_refused(name):
    """Otherwise it could smuggle a header in."""
    with pytest.raises(httpx.LocalProtocolError):
        serialize.head(request(headers=[(name, b"x")]))


def test_a_bad_method_is_refused():
    """The same holds for the request line."""
    with pytest.raises(httpx.LocalProtocolError):
        serialize.head(httpx.Request("GET / HTTP/1.1\r\nX:", "http://host/"))


def test_a_request_names_its_host():
    """Servers refuse HTTP/1.1 without it."""
    asked = request()
    del asked.headers["host"]
    with pytest.raises(httpx.LocalProtocolError, match="Host"):
        serialize.head(asked)


def test_the_length_of_the_body_is_announced_or_there_are_chunks():
    """None means chunks; no header means no body."""
    assert serialize.body_length(request(content=b"four")) == 4
    assert serialize.body_length(request()) == 0
    assert serialize.body_length(request(headers={"transfer-encoding": "chunked"})) is None
    with pytest.raises(httpx.LocalProtocolError):
        serialize.body_length(request(headers={"content-length": "-4"}))


def test_an_empty_piece_is_no_chunk():
    """A chunk of nothing would end the body."""
    assert serialize.chunk(b"") == b""
    assert serialize.chunk(b"0123456789abcdef!") == b"11\r\n0123456789abcdef!\r\n"
