"""The application: every door, behind one guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.errors import SpoolError
from worker.server import openai_batches, openai_files
from worker.server.context import Context, context_of
from worker.server.errors import ApiError, on_api_error, on_http_error, on_spool_error
from worker.server.guard import Guard


async def live(_: Request) -> Response:
    """Say that the event loop turns."""
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    """Say whether the database answers and its schema fits."""
    context = context_of(request)
    await context.call(context.store.check_schema)
    return JSONResponse({"ready": True})


def application(context: Context, keys: Mapping[str, str]) -> Starlette:
    """Return the application; `keys` are the names of owners by key, none for this machine only."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(context))
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, *context.tasks, return_exceptions=True)
            context.close()

    app = Starlette(
        routes=[
            Route("/live", live),
            Route("/ready", ready),
            *openai_files.ROUTES,
            *openai_batches.ROUTES,
        ],
        middleware=[Middleware(Guard, keys=keys)],
        exception_handlers={
            ApiError: on_api_error,
            HTTPException: on_http_error,
            SpoolError: on_spool_error,
        },
        lifespan=lifespan,
    )
    app.state.context = context
    return app


async def _sweep(context: Context) -> None:
    while True:
        await context.clock.sleep(openai_batches.SWEEP_SECONDS)
        try:
            await context.call(openai_batches.sweep, context)
        except SpoolError:  # the database: the next sweep tries again
            continue
