"""An address and keys are checked before anything listens."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn

from tests.fakes.aio import aio
from worker.errors import SettingsError
from worker.server.listening import bound, keys_of, serve


def test_without_keys_only_this_machine_is_answered():
    """The sentence says what to set."""
    with pytest.raises(SettingsError, match="api_keys_file"):
        bound("0.0.0.0", 0, has_keys=False)
    with (
        bound("127.0.0.1", 0, has_keys=False) as listener,
        pytest.raises(SettingsError, match="cannot be listened on"),
    ):
        bound("127.0.0.1", listener.getsockname()[1], has_keys=False)


def test_a_file_of_keys_is_read_line_by_line():
    """Comments and empty lines are passed over."""
    assert keys_of(f"# keys\n\nann {'k' * 16}\n") == {"k" * 16: "ann"}
    for wrong in ("", "ann", "ann short", f"ann {'k' * 16}\nbob {'k' * 16}"):
        with pytest.raises(SettingsError, match="api_keys_file") as error:
            keys_of(wrong)
        assert "k" * 16 not in str(error.value)


@aio
async def test_a_request_that_runs_is_answered_although_the_server_is_cancelled():
    """So that whoever waits beside a worker that ends gets the answer."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def application(scope, receive, send):
        asked.set()
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})

    config = uvicorn.Config(application, http="h11", ws="none", lifespan="off", log_config=None)
    with bound("127.0.0.1", 0, has_keys=False) as listener:
        serving = asyncio.create_task(serve(uvicorn.Server(config), listener))
        reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await asked.wait()
        serving.cancel()
        go_on.set()
        assert b"whole" in await reader.read()
        with pytest.raises(asyncio.CancelledError):
            await serving
        writer.close()
