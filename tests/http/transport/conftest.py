"""A misbehaving server, clients of both transports, and both event loops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.fakes.patience import HANG_SECONDS
from tests.fakes.server import FakeServer
from worker.http.transport import FastTransport

LOOPS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
]


@pytest.fixture(params=LOOPS)
def anyio_backend(request):
    return request.param


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as running:
        yield running


@pytest.fixture
async def fast() -> AsyncIterator[httpx.AsyncClient]:
    """A client over the fast transport, without coalescing."""
    async with httpx.AsyncClient(transport=FastTransport(), timeout=HANG_SECONDS) as client:
        yield client


@pytest.fixture(params=["fast", "httpx"])
async def client(request) -> AsyncIterator[httpx.AsyncClient]:
    """The same promise is asked of both transports."""
    transport = (
        FastTransport() if request.param == "fast" else httpx.AsyncHTTPTransport(verify=False)
    )
    async with httpx.AsyncClient(transport=transport, timeout=HANG_SECONDS) as client:
        yield client


@pytest.fixture
def chat() -> Callable[[str], dict[str, object]]:
    """The body of a streaming chat request."""

    def body(prompt: str) -> dict[str, object]:
        return {"stream": True, "messages": [{"role": "user", "content": prompt}]}

    return body
