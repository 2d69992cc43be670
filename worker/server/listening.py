"""One server on one address, from its first request to the last."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn

from worker.errors import SettingsError
from worker.server.app import application
from worker.server.context import Context
from worker.server.guard import LOOPBACK_HOSTS

HEADER_BYTES_MAX = 65_536
CONNECTIONS_MAX = 2_000
KEEP_ALIVE_SECONDS = 30
GRACE_SECONDS = 10
KEY_CHARS_MIN = 16


def keys_of(text: str) -> dict[str, str]:
    """Read a file of keys: a name and a key on each line; returns names by key.

    Raises:
        SettingsError: a line that is not a name and a key, a short key, or one that comes twice.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, _, key = line.strip().partition(" ")
        key = key.strip()
        if not name or name.startswith("#"):
            continue
        where = f"api_keys_file: line {number}"
        if not key or " " in key:
            raise SettingsError(f"{where} must be a name and a key, with a space between them")
        if len(key) < KEY_CHARS_MIN:
            raise SettingsError(f"{where} has a key of less than {KEY_CHARS_MIN} characters")
        if key in found:
            raise SettingsError(f"{where} repeats the key of an earlier line")
        found[key] = name
    if not found:
        raise SettingsError("api_keys_file holds no key: write a name and a key on each line")
    return found


def bound(host: str, port: int, *, has_keys: bool) -> socket.socket:
    """Return a socket that listens.

    Raises:
        SettingsError: the address is in use, or reachable from elsewhere while there are no keys.
    """
    if host not in LOOPBACK_HOSTS and not has_keys:
        raise SettingsError(
            f"host {host} can be reached from elsewhere: set api_keys_file, or use 127.0.0.1"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise SettingsError(f"{host}:{port} cannot be listened on: {error.strerror}") from error


class Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it, where it does not run alone.

    Args:
        context: what its handlers share.
        keys: names of owners by key.
        alone: whether SIGTERM and SIGINT are its own.
    """

    def __init__(self, context: Context, keys: Mapping[str, str], *, alone: bool) -> None:
        config = uvicorn.Config(
            application(context, keys),
            http="h11",  # which bounds the headers
            ws="none",
            lifespan="on",
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            log_config=None,
            access_log=False,
            server_header=False,
        )
        super().__init__(config)
        self._context, self._alone = context, alone

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals of the process only if nothing else runs in it."""
        if not self._alone:
            yield
            return
        with super().capture_signals():
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: no new connections, streams end, requests that run are answered."""
        self._context.stopping.set()
        await super().shutdown(sockets)


async def serve(server: Server, listener: socket.socket) -> None:
    """Answer until the server is stopped; a cancellation stops it as a signal does."""
    task = asyncio.create_task(server.serve(sockets=[listener]))
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            server.should_exit = cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()
