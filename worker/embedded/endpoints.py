"""Gives each embedded endpoint the address of its server.

Endpoints that name the same model share one server with room for all of them:
a model is loaded into memory once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from worker.embedded.models import model_path
from worker.embedded.server import EmbeddedServer, Plan
from worker.errors import SettingsError
from worker.records import Endpoint


def base_url_for(dialect: str, address: str) -> str:
    """The base URL with which a dialect reaches the server at `address`.

    Raises:
        SettingsError: llama.cpp does not speak the dialect.
    """
    if dialect.startswith("ollama"):
        raise SettingsError(
            f"the embedded server does not speak {dialect}: use openai-chat, openai-completions,"
            " openai-responses, anthropic-messages or llamacpp-completion"
        )
    return f"{address}/v1" if dialect.startswith("openai") else address


class EmbeddedServers:
    """The servers of a worker's embedded endpoints, as an async context manager.

    Attributes:
        endpoints: every endpoint; inside the context the embedded ones have the base URL
            of their living server.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self.endpoints = dict(endpoints)
        self._servers: dict[Path, EmbeddedServer] = {}
        self._starts: dict[str, int] = {}  # of its server, when an endpoint was last revived

    async def __aenter__(self) -> Self:
        """Start every server that is needed.

        Raises:
            SettingsError: one of them cannot run; none is left behind.
        """
        embedded = [each for each in self.endpoints.values() if each.embedded]
        sharing: dict[Path, list[Endpoint]] = {}
        for each in embedded:
            base_url_for(each.dialect, "")  # a dialect that it lacks is said before any waiting
            sharing.setdefault(model_path(each.model), []).append(each)
        for path, sharers in sharing.items():
            self._servers[path] = EmbeddedServer(_plan(path, sharers))
        try:
            for each in embedded:
                self.endpoints[each.name], _ = await self.revive(each)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop every server."""
        await self._stop()

    async def revive(self, endpoint: Endpoint) -> tuple[Endpoint, bool]:
        """The endpoint with the address of its server; and whether that has died since last time.

        A server that died is started again, for all endpoints that share it.

        Raises:
            SettingsError: it cannot be started.
        """
        server = self._servers[model_path(endpoint.model)]
        address = await server.ensure()
        before, self._starts[endpoint.name] = self._starts.get(endpoint.name), server.starts
        place = replace(endpoint, base_url=base_url_for(endpoint.dialect, address))
        return place, before is not None and before < server.starts

    async def _stop(self) -> None:
        await asyncio.gather(*(server.stop() for server in self._servers.values()))


def _plan(path: Path, sharers: Sequence[Endpoint]) -> Plan:
    return Plan(
        path,
        parallel=sum(each.concurrency for each in sharers),
        context_tokens=max(each.embedded_context_tokens for each in sharers),
        start_timeout_seconds=max(each.first_frame_timeout_seconds for each in sharers),
    )
