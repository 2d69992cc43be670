"""What handlers share: the store behind a bounded thread pool, the endpoints, the limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import ParamSpec, TypeVar

from starlette.requests import Request

from worker.clock import Clock
from worker.records import Endpoint
from worker.store import Store

THREADS = 8  # that use the database at once
P = ParamSpec("P")
T = TypeVar("T")


class Context:
    """What one server works with.

    Attributes:
        stopping: set when the server has been asked to stop: streams end without a done mark.
    """

    def __init__(
        self,
        store: Store,
        endpoints: Mapping[str, Endpoint],
        clock: Clock,
        *,
        max_line_bytes: int,
    ) -> None:
        self.store, self.endpoints, self.clock = store, endpoints, clock
        self.max_line_bytes = max_line_bytes
        self.stopping = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(THREADS, "store")

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what blocks in a thread of the pool."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(function, *args, **kwargs))

    async def pieces(self, source: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Hand on what an iterator that blocks yields; it is asked only when there is room."""
        while (piece := await self.call(next, source, None)) is not None:
            yield piece

    def close(self) -> None:
        """End the threads; what they have begun is finished."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def context_of(request: Request) -> Context:
    """Return what this server works with."""
    found: Context = request.app.state.context
    return found


def owner_of(request: Request) -> str:
    """Return the name of the key that asks."""
    owner: str = request.state.owner
    return owner


def unix(moment: datetime | None) -> int | None:
    """Return whole seconds since 1970, as OpenAI writes moments."""
    return None if moment is None else int(moment.timestamp())
