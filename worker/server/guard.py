"""What stands before every handler: who may ask, from where, how much, and how slowly.

Without keys only this machine is answered, and only under a name of this machine: a page in a
browser whose domain leads to 127.0.0.1 is refused by the `Host` that it sends, any other foreign
page by its `Origin`.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.server.errors import ApiError, refused

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
JSON_BODY_BYTES = 1 << 20
UPLOAD_PATH = "/v1/files"
UPLOAD_BYTES = 200_000_000 + JSON_BODY_BYTES  # the file, and the form around it
JSON_BODY_SECONDS = 30.0
UPLOAD_SECONDS = 3600.0
BODY_SILENCE_SECONDS = 30.0  # between two pieces of a body
_OPEN_PATHS = frozenset({"/live", "/ready"})


class Guard:
    """Refuses requests before anything of their body is read.

    Args:
        app: what answers the others.
        keys: names of owners by key; empty: no key is needed.
        silence_seconds: how long a body may be silent.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Mapping[str, str],
        silence_seconds: float = BODY_SILENCE_SECONDS,
    ) -> None:
        self._app = app
        self._keys = [(key.encode(), name) for key, name in keys.items()]
        self._silence_seconds = silence_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on with its owner and a bounded body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self._check_place(headers)
            scope.setdefault("state", {})["owner"] = self._owner(scope["path"], headers)
            bounded = _Body(scope, headers, receive, self._silence_seconds)
        except ApiError as error:
            await refused(error)(scope, receive, send)
            return
        await self._app(scope, bounded, send)

    def _check_place(self, headers: Headers) -> None:
        host = _host(f"//{headers.get('host', '')}")
        if not self._keys and host not in LOOPBACK_HOSTS:
            raise ApiError(403, "this server answers only as localhost: it has no api_keys_file")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise ApiError(403, "requests of pages of other sites are refused")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise ApiError(403, "requests of pages of other sites are refused")

    def _owner(self, path: str, headers: Headers) -> str:
        if not self._keys or path in _OPEN_PATHS:
            return ""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        token = given.strip().encode() if scheme.lower() == "bearer" else b""
        found = None
        for key, name in self._keys:  # all of them, so that the time says nothing
            if hmac.compare_digest(key, token):
                found = name
        if found is None:
            message = "send a key that this server knows as `Authorization: Bearer KEY`"
            raise ApiError(401, message, code="invalid_api_key")
        return found


class _Body:
    """The body of one request, counted and timed as it arrives."""

    def __init__(
        self, scope: Scope, headers: Headers, receive: Receive, silence_seconds: float
    ) -> None:
        upload = scope["path"] == UPLOAD_PATH
        self._most = UPLOAD_BYTES if upload else JSON_BODY_BYTES
        self._until = asyncio.get_running_loop().time() + (
            UPLOAD_SECONDS if upload else JSON_BODY_SECONDS
        )
        self._receive, self._silence_seconds = receive, silence_seconds
        self._taken, self._whole = 0, False
        claimed = headers.get("content-length", "0")
        if not claimed.isdecimal() or len(claimed) > len(str(1 << 62)):
            raise ApiError(400, "Content-Length is not a number")
        self._check(int(claimed))

    async def __call__(self) -> Message:
        """Receive the next piece."""
        if self._whole:  # only that the client has gone can follow
            return await self._receive()
        left = self._until - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(left, self._silence_seconds)):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(408, "the body of the request came too slowly: send it again") from None
        self._taken += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        self._check(self._taken)
        return message

    def _check(self, size: int) -> None:
        if size > self._most:
            raise ApiError(413, f"the body is longer than {self._most:,} bytes: split it")


def _host(place: str) -> str:
    try:
        return urlsplit(place).hostname or ""
    except ValueError:
        return ""
