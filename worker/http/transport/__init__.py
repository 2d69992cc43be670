"""The HTTP/1.1 fast path under httpx.

h11, the parser of httpx's own transport, spends some 22 microseconds on every
HTTP chunk, and a model server sends one chunk per token.  ``FastTransport``
keeps the httpx API and replaces what is below it: asyncio protocols, the C
parser of httptools, one block of bytes per read of the socket.

    client.py      the httpx client: one model for all requests of an endpoint
    pool.py        FastTransport: an idle or a new connection for each request
    exchange.py    one request and its answer over a connection; the response body
    connection.py  one socket: read, pause, write, TLS
    coalesce.py    one timer that wakes the sockets which wait for more tokens
    dial.py        a name and a port in, a connected socket out
    tls.py         TLS over bytes
    parse.py       one response: bytes in, head and blocks out
    serialize.py   one request: httpx.Request in, bytes out

    router.py      which transport carries a request
    proxies.py      which URLs go through a proxy of the environment
    timed_body.py       a response body that can be waited for with a limit
    content_coding.py      content codings, told by the first bytes, undone in bounded steps
    body.py        the plain bytes of a response, in pieces that are quick to decode
    turns.py       turns on the event loop for bodies that take long
    explain.py     why there is no connection, in one sentence

It speaks HTTP/1.1 to origins.  Proxies and HTTP/2 are left to httpx's own
transport; ``stream.py`` chooses.
"""

from __future__ import annotations

from worker.http.transport import explain, proxies
from worker.http.transport.body import PlainBody
from worker.http.transport.client import Client
from worker.http.transport.content_coding import CodingError
from worker.http.transport.exchange import BLOCK_BYTES, Exchange
from worker.http.transport.pool import FastTransport
from worker.http.transport.router import Router
from worker.http.transport.timed_body import TimedBody, timed
from worker.http.transport.turns import Turns

__all__ = [
    "BLOCK_BYTES",
    "Client",
    "CodingError",
    "Exchange",
    "FastTransport",
    "PlainBody",
    "Router",
    "TimedBody",
    "Turns",
    "explain",
    "proxies",
    "timed",
]
