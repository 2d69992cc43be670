"""A response is read the same however it is cut, and what is not HTTP is refused."""

from __future__ import annotations

import httpx
import pytest

from worker.http.transport.parse import HEAD_LIMIT_BYTES, ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def parse(data: bytes, *, size: int, method: str = "POST") -> tuple[ResponseParser, bytes]:
    parser, body = ResponseParser(method), b""
    for start in range(0, len(data), size):
        parser.feed(data[start : start + size])
        body += parser.take()
    return parser, body


GOOD = {
    "length": (OK + b"Content-Length: 5\r\n\r\nhello", b"hello", True),
    "length nought": (OK + b"Content-Length: 0\r\n\r\n", b"", True),
    "chunks": (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello", True),
    "chunk extensions": (CHUNKED + b"5;a=b\r\nhello\r\n0;z\r\n\r\n", b"hello", True),
    "chunk size in capitals": (CHUNKED + b"A\r\n0123456789\r\n00\r\n\r\n", b"0123456789", True),
    "space after the chunk size": (CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", b"hello", True),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n", b"hello", True),
    "both framings": (
        OK + b"Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"hello",
        True,
    ),
    "close asked for": (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", b"hi", False),
    "close among others": (
        OK + b"Connection: X, Close\r\nContent-Length: 2\r\n\r\nhi",
        b"hi",
        False,
    ),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", False),
    "100 first": (
        b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi",
        b"hi",
        True,
    ),
    "103 first": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi",
        b"hi",
        True,
    ),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", b"hi", True),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", b"hi", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", True),
    "upgrade offered": (
        OK + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
        b"hi",
        True,
    ),
}


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
@pytest.mark.parametrize("name", GOOD)
def test_body_and_end_are_found_however_the_bytes_are_cut(name, size):
    """Every framing, whole and byte by byte."""
    data, body, keep_alive = GOOD[name]
    parser, got = parse(data, size=size)
    assert got == body
    assert parser.complete
    assert parser.keep_alive is keep_alive


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("name", GOOD)
def test_what_follows_a_response_ends_the_connection(name, size):
    """Bytes that nobody asked for are never taken for the body or for the next response."""
    data, body, _ = GOOD[name]
    parser = ResponseParser("POST")
    got = b""
    stream = data + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!"
    for start in range(0, len(stream), size):
        if parser.complete:
            return  # the connection no longer feeds it
        parser.feed(stream[start : start + size])
        got += parser.take()
    assert got == body
    assert not parser.keep_alive


@pytest.mark.parametrize("end_early", [True, False])
@pytest.mark.parametrize(
    "name", [name for name in GOOD if name not in {"no content", "not modified"}]
)
def test_a_prefix_is_never_complete(name, end_early):
    """Whatever is cut off, the end of file is reported as what it is."""
    data, _, _ = GOOD[name]
    for length in range(len(data)) if end_early else ():
        parser, _ = parse(data[:length], size=1 << 20) if length else (ResponseParser("POST"), b"")
        assert not parser.complete
        with pytest.raises(httpx.RemoteProtocolError):
            parser.end_of_file()
    parser, _ = parse(data, size=1 << 20)
    parser.end_of_file()


def test_without_a_length_the_end_of_file_is_the_end_of_the_body():
    """A close-delimited body ends cleanly; only the done frame can tell whether it was whole."""
    parser, body = parse(OK + b"\r\nhel", size=1)
    parser.feed(b"lo")
    assert (body + parser.take(), parser.complete) == (b"hello", False)
    parser.end_of_file()
    assert parser.complete
    assert not parser.keep_alive


def test_messages_of_a_cut_body_say_what_is_missing():
    """The words are those of httpx, since people search for them."""
    parser, _ = parse(OK + b"Content-Length: 10\r\n\r\nabc", size=100)
    with pytest.raises(httpx.RemoteProtocolError, match=r"received 3 bytes, expected 10"):
        parser.end_of_file()
    parser, _ = parse(CHUNKED + b"5\r\nab", size=100)
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete chunked read"):
        parser.end_of_file()
    with pytest.raises(httpx.RemoteProtocolError, match=r"without sending a response"):
        ResponseParser("GET").end_of_file()


@pytest.mark.parametrize("framing", [b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_response_to_head_has_no_body(framing):
    """Its headers speak of a body that never comes."""
    parser, body = parse(OK + framing + b"\r\n", size=1, method="HEAD")
    assert (parser.complete, parser.keep_alive, body) == (True, True, b"")


def test_a_body_that_must_not_be_there_is_dropped_and_ends_the_connection():
    """A server that answers HEAD with a body cannot be talked to any further."""
    parser, body = parse(OK + b"Content-Length: 2\r\n\r\nhi", size=100, method="HEAD")
    assert (parser.complete, parser.keep_alive, body) == (True, False, b"")


def test_status_reason_version_and_headers_are_told():
    """Case and order of the headers are the server's; trailers are not among them."""
    parser, _ = parse(
        b"HTTP/1.1 418 I'm a teapot\r\nX-A: 1\r\nx-a: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\nX-Trailer: 1\r\n\r\n",
        size=3,
    )
    assert (parser.status, parser.reason, parser.http_version) == (
        418,
        b"I'm a teapot",
        b"HTTP/1.1",
    )
    assert parser.headers == [(b"X-A", b"1"), (b"x-a", b"2"), (b"Transfer-Encoding", b"chunked")]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        OK + b"Content-Length: many\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        OK + b"no colon\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\nabc",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"2\r\nabcd\r\n",
        CHUNKED + b"-2\r\nab\r\n",
        CHUNKED + b"fffffffffffffffffffff\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_what_is_not_http_is_refused(data, size):
    """With the class that httpx has for it, however it is cut."""
    with pytest.raises(httpx.RemoteProtocolError):
        parse(data, size=size)


def test_text_before_a_bad_chunk_is_kept():
    """The bytes that came before the fault are delivered."""
    parser = ResponseParser("POST")
    with pytest.raises(httpx.RemoteProtocolError):
        parser.feed(CHUNKED + b"5\r\nhello\r\nzz\r\n")
    assert parser.take() == b"hello"


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (OK, b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"),
        (OK + b"X: ", b"y" * 1000),
        (b"HTTP/1.1 200 ", b"K" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"1\r\na\r\n0\r\n", b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"),
        (CHUNKED + b"5;", b"extension" * 100),
    ],
)
def test_framing_without_end_is_stopped(start, more):
    """Headers, trailers, chunk extensions and 1xx responses cannot fill the memory."""
    parser = ResponseParser("POST")
    if start:
        parser.feed(start)
    enough = HEAD_LIMIT_BYTES // len(more)
    for _ in range(enough - 10):
        parser.feed(more)
    with pytest.raises(httpx.RemoteProtocolError, match=str(HEAD_LIMIT_BYTES)):
        any(parser.feed(more) for _ in range(20))


def test_a_long_head_that_comes_in_one_read_is_stopped_too():
    """The limit does not depend on how the bytes arrive."""
    head = OK + b"X: " + b"y" * HEAD_LIMIT_BYTES + b"\r\nContent-Length: 2\r\n\r\nhi"
    with pytest.raises(httpx.RemoteProtocolError, match="of headers"):
        parse(head, size=1 << 20)


def test_chunks_of_one_read_are_one_block():
    """A read costs one object, not one per token."""
    parser = ResponseParser("POST")
    parser.feed(CHUNKED + b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n")
    assert parser.take() == b"abc"
    assert parser.take() == b""


def test_released_it_is_freed_at_once():
    """The C parser holds the object that holds it; nothing may wait for the garbage collector."""
    import gc
    import weakref

    parser = ResponseParser("POST")
    gone = weakref.ref(parser)
    gc.disable()
    try:
        parser.release()
        del parser
        assert gone() is None
    finally:
        gc.enable()


ODD = {
    "length twice": b"Content-Length: 5\r\ncontent-length: 5\r\n",
    "length listed": b"Content-Length: 5, 5\r\n",
    "length last": b"X: 1\r\nContent-Length: 5\r\nContent-Length:5\r\n",
    "folded": b"X-Cause: one\r\n two\r\n\tthree\r\nContent-Length: 5\r\n",
    "folded last": b"Content-Length: 5\r\nX-Cause: one\r\n two\r\n",
    "space before the colon": b"Content-Length : 5\r\nX-Cause\t: 1\r\n",
    "all of it": b"X : one\r\n two\r\nContent-Length : 5\r\ncontent-length: 5\r\n",
}


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("fields", ODD.values(), ids=ODD)
def test_an_odd_head_whose_meaning_is_clear_is_read(fields, size, before):
    """As browsers and h11 read it; the connection carries nothing more."""
    parser, body = parse(before + OK + fields + b"\r\nhello", size=size)
    assert (parser.status, parser.complete, body) == (200, True, b"hello")
    assert not parser.keep_alive
    if b"two" in fields:
        assert any(value.startswith(b"one two") for _, value in parser.headers)


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 6\r\n",
        b"no colon\r\nContent-Length: 5\r\n",
        b"X: \x00\r\nContent-Length: 5\r\n",
    ],
)
def test_an_odd_head_without_a_clear_meaning_is_refused(fields, size):
    """To guess where a body ends would be to guess what it says."""
    with pytest.raises(httpx.RemoteProtocolError):
        parse(OK + fields + b"\r\nhello", size=size)


def test_chunked_twice_is_chunked():
    """Two proxies add the same field."""
    twice = b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
    parser, body = parse(OK + twice + b"5\r\nhello\r\n0\r\n\r\n", size=1000)
    assert (parser.complete, body) == (True, b"hello")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x46", "it speaks TLS; should base_url begin with https://"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH-2.0-OpenSSH"),
        (b"\xff\xfe" * 100, "xff"),
    ],
)
def test_what_is_no_http_is_quoted(data, said):
    """Whoever typed the wrong port sees who is there."""
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        parse(data, size=1000)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_head_that_is_odd_and_endless_is_stopped():
    """What waits to be rewritten counts."""
    parser = ResponseParser("POST")
    with pytest.raises(httpx.RemoteProtocolError, match="framing"):  # noqa: PT012
        parser.feed(OK + b"X : 1\r\n")
        for _ in range(2 * HEAD_LIMIT_BYTES // 1000):
            parser.feed(b"Y: " + b"y" * 997)
