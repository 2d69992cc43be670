"""A misbehaving server, and streams to it over both transports."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from tests.fakes.patience import HANG_SECONDS
from tests.fakes.server import FakeServer
from worker.clock import SystemClock
from worker.errors import SpoolError
from worker.http.stream import Reader, Stream
from worker.records import Endpoint, Request
from worker.wire import DIALECTS
from worker.wire.events import Dialect

CHAT = DIALECTS["openai-chat"]
AUTHORITIES = httpx.create_ssl_context()  # made once: it takes longer than most tests


@pytest.fixture(name="anyio_backend")
def anyio_backend_fixture():
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture(autouse=True, name="no_proxy")
def no_proxy_fixture(monkeypatch):
    """The machine's own proxy is no part of these tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(name="server")
async def server_fixture() -> AsyncIterator[FakeServer]:
    async with FakeServer() as running:
        yield running


@pytest.fixture(params=["fast", "httpx"], name="stream")
async def stream_fixture(request) -> AsyncIterator[Stream]:
    opened = Stream(
        clock=SystemClock(),
        transport=request.param,
        read_interval_seconds=0.05,
        verify=AUTHORITIES,
    )
    yield opened
    await opened.aclose()


@pytest.fixture(name="endpoint")
def endpoint_fixture(server) -> Endpoint:
    return Endpoint(
        name="default",
        dialect="openai-chat",
        base_url=server.url + "/v1",
        model="fake",
        api_key="sk-secret-key",
        connect_timeout_seconds=HANG_SECONDS,
        first_frame_timeout_seconds=HANG_SECONDS,
    )


@dataclass(frozen=True)
class Way:
    """A server, an endpoint there, and a stream to it."""

    server: FakeServer
    endpoint: Endpoint
    stream: Stream

    def ask(self, prompt: str = "hello", *, path: str = "/v1/chat/completions") -> Request:
        """A request for a streaming chat, or for any path of the server."""
        message = {"role": "user", "content": prompt}
        body = json.dumps({"stream": True, "messages": [message]})
        url, headers = self.server.url + path, {"content-type": "application/json"}
        return Request(url, body.encode(), headers)

    def open(
        self, request: Request, dialect: Dialect = CHAT, **changes: Any
    ) -> AbstractAsyncContextManager[Reader]:
        """Open a request, with changes to the endpoint."""
        return self.stream.open(request, replace(self.endpoint, **changes), dialect)

    async def outcome(
        self, request: Request, dialect: Dialect = CHAT, **changes: Any
    ) -> tuple[SpoolError | None, bytes]:
        """How a response ended, and its body."""
        got = b""
        try:
            async with self.open(request, dialect, **changes) as reader:
                while (data := await reader.read(HANG_SECONDS)) is not None:
                    got += data
        except SpoolError as error:
            return error, got
        return None, got

    async def probe(self, **changes: Any) -> None:
        """Ask whether anybody is there."""
        await self.stream.probe(replace(self.endpoint, **changes), CHAT)


@pytest.fixture(name="way")
def way_fixture(server, endpoint, stream) -> Way:
    return Way(server, endpoint, stream)


@pytest.fixture(name="deaf_reader")
def deaf_reader_fixture() -> Iterator[str]:
    """The URL of a server whose kernel accepts connections and that never reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
