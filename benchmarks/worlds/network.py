"""HTTP without sockets: requests reach a scripted server, and its faults come back as httpx's."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

LATENCY_SECONDS = 0.01  # of a request, whatever comes of it

_PROMPT = re.compile(r"#(\d+) ([\d.]+) ?(\S*)\Z")


@dataclass(frozen=True)
class Asked:
    """One request as the server sees it.

    Attributes:
        number: of the prompt that it carries; None for a probe or a canary.
        seconds: how long the answer takes.
        kind: what is the matter with the prompt; "" for an innocent one.
    """

    host: str
    worker: str
    method: str
    path: str
    key: str
    body: Mapping[str, Any] = field(default_factory=dict)
    number: int | None = None
    seconds: float = 0.0
    kind: str = ""

    @property
    def is_generation(self) -> bool:
        """Whether an answer is asked for: there is only one such path."""
        return self.method == "POST" and self.path.endswith("/chat/completions")

    @property
    def tokens_max(self) -> int | None:
        """The limit of the answer, however it is spelled."""
        for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
            if name in self.body:
                return int(self.body[name])
        return None


@dataclass
class Reply:
    """A response whose headers go out now."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: httpx.AsyncByteStream | bytes = b""


class Server(Protocol):
    """Whatever stands at an address."""

    async def open(self, asked: Asked) -> Reply:
        """Answer, or raise what httpx raises when there is no answer."""
        ...


class Network:
    """Which server a request of a host reaches."""

    def __init__(self, servers: Mapping[str, Server], *, cut_off: frozenset[str] = frozenset()):
        """servers: by host name of the URL.  cut_off: hosts without a route to any of them."""
        self.servers = servers
        self.cut_off = cut_off

    async def send(self, request: httpx.Request, host: str, worker: str) -> httpx.Response:
        if host in self.cut_off:
            raise httpx.ConnectError("no route to host") from OSError(113, "No route to host")
        await asyncio.sleep(LATENCY_SECONDS)
        server = self.servers[request.url.host]
        reply = await server.open(_read(request, await request.aread(), host, worker))
        body = httpx.ByteStream(reply.body) if isinstance(reply.body, bytes) else reply.body
        return httpx.Response(reply.status, headers=dict(reply.headers), stream=body)


class HostTransport(httpx.AsyncBaseTransport):
    """The network as one process sees it."""

    def __init__(self, network: Network, host: str, worker: str) -> None:
        self._network = network
        self._host = host
        self._worker = worker

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._network.send(request, self._host, self._worker)


class Text(httpx.AsyncByteStream):
    """A body that comes at once, as a stream."""

    def __init__(self, *blocks: bytes) -> None:
        self._blocks = blocks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self._blocks:
            yield block


def _read(request: httpx.Request, content: bytes, host: str, worker: str) -> Asked:
    body = json.loads(content) if content else {}
    said = _PROMPT.match(_prompt(body))
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    asked = Asked(host, worker, request.method, request.url.path, key, body)
    if said is None or not asked.is_generation:
        return asked
    number, seconds, kind = said.groups()
    return Asked(
        host, worker, request.method, asked.path, key, body, int(number), float(seconds), kind
    )


def _prompt(body: Mapping[str, Any]) -> str:
    for message in reversed(body.get("messages") or ()):
        if message.get("role") == "user" and isinstance(message.get("content"), str):
            return str(message["content"])
    return str(body.get("prompt") or body.get("input") or "")
