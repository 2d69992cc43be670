"""One response: bytes in, head and blocks of body out; no socket, no clock.

The work is done by llhttp (httptools).  Its body callback is ``list.append``
itself, so a chunk costs no Python frame; ``take`` joins what one read brought.
llhttp does not tell three things that matter here, so this class does: whether
an end of file is an end of body, whether the connection may be used again, and
that a server which sends framing without end (headers, trailers, chunk
extensions) must be stopped.

Heads that llhttp refuses although their meaning is clear are written anew and read
again: folded lines, a space before the colon, the same Content-Length twice.
"""

from __future__ import annotations

import re
from enum import Enum

import httptools
import httpx

HEAD_LIMIT_BYTES = 64 * 1024  # h11 allows 100 KiB, nginx 32 KiB
_BODYLESS = frozenset({204, 304})
_SWITCHING_PROTOCOLS = 101
_INFORMATIONAL_BELOW = 200
_FOLD = re.compile(rb"\r?\n[ \t]+")
_SPACED_NAME = re.compile(rb"^([-!#$%&'*+.^_`|~0-9A-Za-z]+)[ \t]+:", re.MULTILINE)
_INFORMATIONAL = re.compile(rb"HTTP/\d\.\d 1\d\d")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_TLS_RECORD = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")
_LENGTH = b"content-length:"
_QUOTED_BYTES = 40  # of what is no HTTP, in a message


class BodyFraming(Enum):
    """How the end of a body is known."""

    NONE = "no body"
    CHUNKED = "chunked"
    LENGTH = "content-length"
    CLOSE = "end of file"


class ResponseParser:
    """Reads one response to a request with the given method.

    Attributes:
        head_complete: status and headers are there.
        complete: the last byte of the body is there.
        keep_alive: the connection may carry another request afterwards.
        received: bytes fed so far, also of a head that is not complete yet.
    """

    def __init__(self, method: str) -> None:
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.http_version = b"HTTP/1.1"
        self.framing = BodyFraming.NONE
        self.head_complete = False
        self.complete = False
        self.keep_alive = False
        self.received = 0
        self._method = method
        self._length = 0  # announced
        self._delivered = 0
        self._barren = 0  # bytes since the last byte of body
        self._surplus_at: int | None = None  # where the body of another message begins
        self._fault: str | None = None
        self._body: list[bytes] = []
        self.on_body = self._body.append
        self._head = bytearray()  # as it came, until it is complete
        self._refused: httptools.HttpParserError | None = None
        self._rewritten = False
        self._parser = self._machine()

    def _machine(self) -> httptools.HttpResponseParser:
        machine = httptools.HttpResponseParser(self)
        # What h11 takes, and some servers in the wild send.
        machine.set_dangerous_leniencies(
            lenient_chunked_length=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        return machine

    def feed(self, data: bytes | memoryview) -> None:
        """Take one read; raises httpx.RemoteProtocolError."""
        self.received += len(data)
        before = len(self._body)
        if not self.head_complete:
            self._head += data
        try:
            self._parse(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                raise httpx.RemoteProtocolError(self._reason(error)) from error
            self.keep_alive = False  # something follows the response: not ours to understand
        if self.head_complete:
            self._head.clear()
        if self._surplus_at is not None:
            del self._body[self._surplus_at :]
        if len(self._body) > before:
            self._barren = 0
        elif not self.complete:
            self._barren += len(data)
            if self._barren > HEAD_LIMIT_BYTES:
                self._fault = f"more than {HEAD_LIMIT_BYTES} bytes of framing without a body byte"
        if self._fault:
            raise httpx.RemoteProtocolError(self._fault)

    def _parse(self, data: bytes | memoryview) -> None:
        """Feed llhttp; a head that it refuses is fed once more when it is whole, and plainer."""
        try:
            if self._refused is None:
                self._parser.feed_data(data)
                return
        except httptools.HttpParserError as error:
            if self.head_complete or self._rewritten or not self._head.startswith(b"HTTP/"):
                raise
            self._refused = error
        while (end := _HEAD_END.search(self._head)) and _INFORMATIONAL.match(self._head):
            del self._head[: end.end()]
        if end is None:
            return  # the limit of a head holds here as well
        self._refused, self._rewritten = None, True
        self.headers.clear()
        self.reason = b""
        self._parser = self._machine()
        self._parser.feed_data(
            _plainer(bytes(self._head[: end.start()])) + self._head[end.start() :]
        )

    def _reason(self, error: Exception) -> str:
        """What is wrong with these bytes, in words."""
        if self.head_complete or self._fault or self._head.startswith(b"HTTP/"):
            return self._fault or str(error) or type(error).__name__
        if _TLS_RECORD.match(self._head):
            return "it speaks TLS; should base_url begin with https:// there?"
        return repr(bytes(self._head[:_QUOTED_BYTES])).removeprefix("b")

    def take(self) -> bytes:
        """The body bytes that came since the last call, as one block."""
        body = self._body
        if not body:
            return b""
        block = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self._delivered += len(block)
        if self.framing is BodyFraming.NONE:
            self.keep_alive = False  # a body that must not be there
            return b""
        return block

    def end_of_file(self) -> None:
        """The server closes its side; raises httpx.RemoteProtocolError unless that is the end."""
        if self.complete:
            return
        if not self.head_complete:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        if self.framing is BodyFraming.CLOSE:
            self.complete = True
            return
        got = "incomplete chunked read"
        if self.framing is BodyFraming.LENGTH:
            got = f"received {self._delivered} bytes, expected {self._length}"
        raise httpx.RemoteProtocolError(
            f"peer closed connection without sending complete message body ({got})"
        )

    def release(self) -> None:
        """Let go of the C parser, which holds methods of this object in a cycle."""
        del self._parser

    # llhttp calls these.

    def on_message_begin(self) -> None:
        """A head begins: the first, the one after a 1xx, or one that nobody asked for."""
        if self.complete:
            self.keep_alive = False
            if self._surplus_at is None:
                self._surplus_at = len(self._body)
        elif not self.head_complete:
            self.headers.clear()
            self.reason = b""

    def on_status(self, reason: bytes) -> None:
        """A piece of the reason phrase."""
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody here wants."""
        if not self.head_complete:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there, though it may be that of a 1xx response."""
        status = self._parser.get_status_code()
        if status < _INFORMATIONAL_BELOW:
            if status == _SWITCHING_PROTOCOLS:
                self._fault = "the server switches protocols without having been asked"
            return
        if self.head_complete:
            return
        self.status = status
        self.http_version = b"HTTP/" + self._parser.get_http_version().encode()
        self.head_complete = True
        self._decide(self._fields())
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_LIMIT_BYTES:
            self._fault = f"more than {HEAD_LIMIT_BYTES} bytes of headers"

    def on_message_complete(self) -> None:
        """The last byte of a message, perhaps only of a 1xx response."""
        self.complete = self.head_complete

    def _fields(self) -> dict[bytes, bytes]:
        """The headers that frame the message, in lower case."""
        fields: dict[bytes, bytes] = {}
        for name, value in self.headers:
            name, value = name.lower(), value.strip().lower()  # noqa: PLW2901 - as they are meant
            fields[name] = fields[name] + b"," + value if name in fields else value
        return fields

    def _decide(self, fields: dict[bytes, bytes]) -> None:
        """How the body ends and whether the connection lives on (RFC 9112, section 6.3)."""
        connection = {token.strip() for token in fields.get(b"connection", b"").split(b",")}
        is_odd = self._rewritten  # such a server is not trusted with a second response
        is_last = self.http_version != b"HTTP/1.1" or b"close" in connection
        self.keep_alive = not (is_last or is_odd)
        if self._method == "HEAD" or self.status in _BODYLESS:
            self.complete = True
        elif (coding := fields.get(b"transfer-encoding")) is not None:
            self.framing = BodyFraming.CHUNKED
            if {each.strip() for each in coding.split(b",")} != {b"chunked"}:
                self._fault = "only Transfer-Encoding: chunked is supported"
        elif (length := fields.get(b"content-length")) is not None:
            self.framing = BodyFraming.LENGTH
            self._length = int(length)  # llhttp has refused anything but digits
        else:
            self.framing = BodyFraming.CLOSE
            self.keep_alive = False


def _plainer(head: bytes) -> bytes:
    """The same head without folded lines, spaces before colons, and repeated lengths."""
    lines = [
        line.rstrip(b"\r") for line in _SPACED_NAME.sub(rb"\1:", _FOLD.sub(b" ", head)).split(b"\n")
    ]
    lengths = [line for line in lines if _is_length(line)]
    values = {value.strip() for line in lengths for value in line[len(_LENGTH) :].split(b",")}
    if len(values) == 1:  # several that contradict each other stay as they are
        lines = [line for line in lines if not _is_length(line)] + [_LENGTH + values.pop()]
    return b"\r\n".join(lines)


def _is_length(line: bytes) -> bool:
    return line[: len(_LENGTH)].lower() == _LENGTH
