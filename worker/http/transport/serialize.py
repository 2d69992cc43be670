"""One request: httpx.Request in, bytes out.

What may not stand in a head raises ``httpx.LocalProtocolError`` before anything
is sent.  The message never repeats a header's value: it may be a key.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx

LAST_CHUNK = b"0\r\n\r\n"

_PIECE_BYTES = 64 * 1024

_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_VALUE = re.compile(rb"(?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?")


def head(request: httpx.Request) -> bytes:
    """The request line and the headers, ready to be sent."""
    method, target = request.method.encode("ascii"), request.url.raw_path
    if not _TOKEN.fullmatch(method):
        raise httpx.LocalProtocolError(f"Illegal method {request.method!r}.")
    if not _TARGET.fullmatch(target):
        raise httpx.LocalProtocolError("Illegal character in the request target.")
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target)]
    for name, value in request.headers.raw:
        if not _TOKEN.fullmatch(name):
            raise httpx.LocalProtocolError(f"Illegal header name {name!r}.")
        if not _VALUE.fullmatch(value):
            raise httpx.LocalProtocolError(f"Illegal character in the value of header {name!r}.")
        lines.append(b"%b: %b\r\n" % (name, value))
    if "host" not in request.headers:
        raise httpx.LocalProtocolError("Missing mandatory Host: header.")
    lines.append(b"\r\n")
    return b"".join(lines)


def body_length(request: httpx.Request) -> int | None:
    """How many bytes of body the headers announce; None means chunks."""
    if "chunked" in request.headers.get("transfer-encoding", "").lower():
        return None
    announced: str = request.headers.get("content-length", "0")
    if not announced.isdecimal():
        raise httpx.LocalProtocolError("Illegal Content-Length.")
    return int(announced)


def chunk(piece: bytes) -> bytes:
    """One chunk of a chunked body; nothing for nothing, since that would end it."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


async def pieces(request: httpx.Request) -> AsyncIterator[bytes]:
    """The body, in pieces small enough that a slow server is noticed."""
    stream = request.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise httpx.LocalProtocolError("an asynchronous transport needs an asynchronous body")
    async for data in stream:
        for start in range(0, len(data), _PIECE_BYTES):
            yield data[start : start + _PIECE_BYTES]
