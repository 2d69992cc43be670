"""A request in, bytes out, or a typed error; the only room that speaks HTTP.

Everything that can happen between here and a server is translated at this edge:

    no connection, name, certificate      Unreachable   nothing was sent, not charged
    no file descriptor left               Busy          our own shortage: fewer streams
    no headers in time                    Stalled       first_frame_timeout
    lost before or inside the response    Broken
    a status that is not 2xx              what ``wire.errors.classify`` makes of it
    a redirect                            Refused       with the cure: correct base_url
    a request that HTTP cannot carry      SettingsError

Redirects are not followed: a POST would become a GET, and the key would go to
another host.  The key is added here and nowhere else, and is taken out of every
message again.  An ending that carries no length is a clean end (`None`): whether
the answer was complete is for its done frame to say.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, urlsplit

import httpx

from worker.clock import Clock, overslept
from worker.errors import (
    Broken,
    Busy,
    ErrorCode,
    Malformed,
    Refused,
    ServerFailed,
    SettingsError,
    SpoolError,
    Stalled,
    Unreachable,
)
from worker.http.transport import (
    Client,
    CodingError,
    FastTransport,
    PlainBody,
    Router,
    TimedBody,
    Turns,
    explain,
    proxies,
    timed,
)
from worker.records import Endpoint, Request
from worker.version import __version__
from worker.wire import failure, request_id
from worker.wire.events import Dialect

_DRAIN_SECONDS = 1.0
_DRAIN_BYTES = 64 * 1024
_ERROR_BODY_SECONDS = 5.0
_ERROR_BODY_BYTES = 64 * 1024
_PROBE_SECONDS = 10.0
_REDIRECTS = range(300, 400)
_SERVER_FAULTS = range(500, 600)
_TOO_MANY_REQUESTS = 429
_SECRET_CHARS_MIN = 4  # shorter keys are dummies; to take them out would only garble messages

Redact = Callable[[str], str]

# What may come out of a body besides httpx.HTTPError; the first is no HTTPError in httpx.
_BODY_ERRORS = (httpx.HTTPError, httpx.StreamError, OSError)


class Reader:
    """A response whose headers have arrived.

    Attributes:
        status: of the response; always 2xx.
        content_type: of the body, as the server calls it.
        request_id: what the server calls the request.
    """

    def __init__(
        self,
        response: httpx.Response,
        body: TimedBody,
        clock: Clock,
        *,
        where: str,
        redact: Redact,
        turns: Turns,
    ) -> None:
        self.status = response.status_code
        self.content_type: str | None = response.headers.get("content-type")
        self.request_id = request_id(response.headers)
        self._body = body
        self._plain = PlainBody(body, response.headers.get("content-encoding", ""), turns)
        self._clock = clock
        self._where = where
        self._redact = redact

    async def read(self, wait_seconds: float | None) -> bytes | None:
        """At most 64 KiB of the body as soon as any of it is there.

        b"" if nothing came within the time, or if what came carries nothing (nothing is lost,
        the read goes on); None at a clean end.  Raises Broken when the connection ended inside
        the body, and Malformed when its compression cannot be undone.
        """
        try:
            return await self._plain.read(wait_seconds)
        except CodingError as error:
            raise Malformed(
                f"{self._where} compresses its answer, though it was asked not to, and {error};"
                " switch that off in the server or in the proxy before it"
            ) from error
        except _BODY_ERRORS as error:
            reason = self._redact(explain.reason(error))
            raise Broken(
                f"the connection to {self._where} was lost inside the response: {reason}"
            ) from error

    async def beginning(self, limit_bytes: int, *, seconds: float) -> bytes:
        """As much of the body as comes in time, for bodies that are no stream; never raises."""
        self._body.hurry()
        deadline = self._clock.monotonic() + seconds
        got = b""
        with suppress(Broken, Malformed):  # what came before is all there is
            while len(got) < limit_bytes and (left := deadline - self._clock.monotonic()) > 0:
                data = await self.read(left)
                if data is None:
                    break
                got += data
        return got[:limit_bytes]

    async def drain(self) -> None:
        """After the done frame: read what little may follow, so that the connection can be kept.

        Takes a second and 64 KiB at most and never raises: the answer is complete.
        """
        self._body.hurry()
        deadline = self._clock.monotonic() + _DRAIN_SECONDS
        left = _DRAIN_BYTES
        try:
            while left > 0 and (seconds := deadline - self._clock.monotonic()) > 0:
                data = await self._body.read(seconds)
                if not data:
                    return
                left -= len(data)
        except _BODY_ERRORS:
            return

    def redact(self, text: str) -> str:
        """The text without the secrets of the endpoint, however they are written."""
        return self._redact(text)


class Stream:
    """The way to every endpoint of a worker.

    Args:
        transport: "fast", or "httpx" for the transport of that library; what has to go through a
            proxy of the environment always takes the latter.
        read_interval_seconds: how long tokens may gather in the kernel before they are read.
        read_interval_most_seconds: the same, with thousands of streams; None: no longer.
        verify: of TLS certificates, as httpx takes it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        transport: Literal["fast", "httpx"] = "fast",
        read_interval_seconds: float = 0.25,
        read_interval_most_seconds: float | None = None,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._clock = clock
        self._turns = Turns()
        direct = (
            FastTransport(
                verify=verify,
                read_interval_seconds=read_interval_seconds,
                read_interval_most_seconds=read_interval_most_seconds,
            )
            if transport == "fast"
            else None
        )
        self._proxies = proxies.environment()
        self._client = Client(
            Router(direct, verify, self._proxies),
            {"user-agent": f"promptspool/{__version__}", "accept-encoding": "identity"},
        )

    @asynccontextmanager
    async def open(
        self, request: Request, endpoint: Endpoint, dialect: Dialect
    ) -> AsyncIterator[Reader]:
        """Send a request; the response is closed, at once, when the context is left.

        Raises what the head of this module lists.
        """
        redact = redactor(endpoint)
        patience_seconds = endpoint.first_frame_timeout_seconds
        response = await self._send(request, endpoint, dialect, patience_seconds)
        body = timed(response)
        try:
            if not response.is_success:
                raise await self._failure(response, body, redact)
            yield self._reader(response, body, request.url, redact)
        finally:
            await body.aclose()

    async def probe(self, endpoint: Endpoint, dialect: Dialect) -> None:
        """One cheap GET of the base URL: is anybody there?

        Any status below 500 but 429 is a sign of life.  Raises Unreachable, Busy or ServerFailed.
        """
        request = Request(url=endpoint.base_url, body=b"", headers={}, method="GET")
        try:
            response = await self._send(request, endpoint, dialect, _PROBE_SECONDS)
        except (Stalled, Broken, Malformed) as error:
            raise Unreachable(error.message, charged=False) from error
        body = timed(response)
        try:
            if response.status_code not in _SERVER_FAULTS and (
                response.status_code != _TOO_MANY_REQUESTS
            ):
                return
            fault = await self._failure(response, body, redactor(endpoint))
        finally:
            await body.aclose()
        if isinstance(fault, Busy | ServerFailed):
            raise fault
        raise ServerFailed(fault.message, http_status=response.status_code)

    def proxy(self, endpoint: Endpoint) -> str | None:
        """The proxy that requests of an endpoint go through, without its password."""
        proxy = self._proxies.through(httpx.URL(endpoint.base_url))
        return None if proxy is None else proxies.without_secrets(proxy)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _send(
        self, request: Request, endpoint: Endpoint, dialect: Dialect, patience_seconds: float
    ) -> httpx.Response:
        """The response as soon as its headers are there."""
        connect_seconds = endpoint.connect_timeout_seconds or None
        key = dialect.authorization(endpoint.api_key) if endpoint.api_key else {}
        limit_seconds = patience_seconds + (connect_seconds or 0) if patience_seconds else None
        limit, asked_at = asyncio.timeout(limit_seconds), self._clock.monotonic()
        try:
            outgoing = self._client.prepare(
                request.method,
                request.url,
                request.body,
                (request.headers, key, endpoint.headers),
                connect_seconds,
                certificates=endpoint.certificates,
            )
            async with limit:
                return await self._client.send(outgoing, stream=True)
        except (UnicodeEncodeError, httpx.LocalProtocolError):
            # Not the text of the error, nor the error itself: they may hold the key.
            raise SettingsError(
                f"endpoint {endpoint.name!r}: a header holds a character that HTTP does not allow,"
                " often a line break at the end of a key; correct the key or `headers`"
            ) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise SettingsError(
                f"endpoint {endpoint.name!r}: base_url is not a URL that begins with http:// or"
                f" https:// ({redactor(endpoint)(str(error))})"
            ) from None
        except (*_BODY_ERRORS, TimeoutError) as error:
            expired = limit.expired()
            said = _translated(error, request.url, endpoint, patience_seconds, expired)
            if overslept(limit_seconds, self._clock.monotonic() - asked_at):
                said = said.but(charged=False)  # we may have slept through the answer
            try:
                raise said from error
            finally:
                del said  # or it would live in a cycle: the traceback of its cause holds this frame

    async def _failure(
        self, response: httpx.Response, body: TimedBody, redact: Redact
    ) -> SpoolError:
        """What a response means that is not a success."""
        if response.status_code in _REDIRECTS:
            return Refused(
                f"HTTP {response.status_code}: the server redirects to"
                f" {_target(response)}; set base_url to where it really is",
                http_status=response.status_code,
                request_id=request_id(response.headers),
            )
        text = redact((await self._error_body(response, body)).decode("utf-8", "replace"))
        headers = {name.lower(): redact(value) for name, value in response.headers.items()}
        return failure(response.status_code, headers, text.encode(), now=self._clock.now())

    async def _error_body(self, response: httpx.Response, body: TimedBody) -> bytes:
        """As much of an error's body as comes soon; often there is none."""
        reader = self._reader(response, body, str(response.url), redact=str)
        return await reader.beginning(_ERROR_BODY_BYTES, seconds=_ERROR_BODY_SECONDS)

    def _reader(
        self, response: httpx.Response, body: TimedBody, url: str, redact: Redact
    ) -> Reader:
        return Reader(
            response, body, self._clock, where=_where(url), redact=redact, turns=self._turns
        )


def redactor(endpoint: Endpoint) -> Redact:
    """A function that takes the secrets of an endpoint out of a text, however they are written."""
    forms = {
        form
        for secret in endpoint.secrets
        if len(secret.strip()) >= _SECRET_CHARS_MIN
        for plain in (secret, secret.strip())
        for form in (plain, json.dumps(plain)[1:-1], quote(plain, safe=""))
    }
    ordered = sorted(forms, key=len, reverse=True)

    def redact(text: str) -> str:
        for form in ordered:
            text = text.replace(form, "[redacted]")
        return text

    return redact


def _target(response: httpx.Response) -> str:
    """Where a redirect leads: the host, but not the rest, which may hold a token."""
    location = response.extensions.get("location") or ""
    try:
        parts = urlsplit(location)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that is no URL"
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else "another path"


@lru_cache(maxsize=64)
def _where(url: str) -> str:
    """host:port of a URL; there are few of them, and every stream asks."""
    parts = httpx.URL(url)
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    return f"{host}:{parts.port or {'http': 80, 'https': 443}.get(parts.scheme, '?')}"


def _translated(
    error: Exception, url: str, endpoint: Endpoint, patience_seconds: float, expired: bool
) -> SpoolError:
    """The error of ours for what prevented a response."""
    where = _where(url)
    if explain.is_out_of_descriptors(error):
        return Busy(
            "this process has no file descriptor left for another connection: raise its limit"
            " (LimitNOFILE of systemd, `ulimit -n`), or lower the concurrency of its endpoints",
            charged=False,
        )
    if expired or isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return Stalled(
            f"{where} did not begin to answer within {patience_seconds:g} s",
            code=ErrorCode.FIRST_FRAME_TIMEOUT,
        )
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.ProxyError):
        sentence = explain.unreachable(error, where, endpoint.connect_timeout_seconds)
        return Unreachable(redactor(endpoint)(sentence), charged=False)
    redact = redactor(endpoint)
    if about_tls := explain.of_tls(error, where):
        return Unreachable(redact(about_tls), charged=False)
    reason = redact(explain.reason(error))
    if isinstance(error, httpx.RemoteProtocolError) and not explain.is_cut(error):
        return Malformed(f"{where} answered with something that is not HTTP/1.1: {reason}")
    hint = ""
    if url.startswith("https:") and endpoint.certificates.client_cert_file is None:
        hint = (
            "; if it wants a client certificate, set client_cert_file"  # not every server says so
        )
    return Broken(f"{where} closed the connection before it answered: {reason}{hint}")
