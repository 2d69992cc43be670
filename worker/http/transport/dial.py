"""A name and a port in, a connected socket out.

Addresses of both families are tried in turn, the next one as soon as the last
one failed or a quarter of a second passed (RFC 8305): a broken IPv6 route then
costs 250 ms and not the whole connect timeout.  asyncio can do this itself but
uvloop cannot.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import sys
from collections import deque
from collections.abc import Iterable
from typing import Any, TypeAlias

Address: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]  # family, what connect() takes

_STAGGER_SECONDS = 0.25
_UNDER_WAY = {errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK, errno.EINTR}

# A peer that vanished without a word is noticed after about two minutes.
SOCKET_OPTIONS: list[tuple[int, int, int]] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
        if hasattr(socket, name)
    ),
]


async def dial(host: str, port: int) -> socket.socket:
    """Connect; raises OSError, of which socket.gaierror means that the name is unknown."""
    addresses = await _resolve(host, port)
    if len(addresses) == 1:
        return await _attempt(addresses[0])
    return await _race(deque(addresses))


async def _resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host, families alternating, in the order of the resolver."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, (host, port))]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    families: dict[socket.AddressFamily, list[Address]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append((family, address))
    return list(_alternate(families.values()))


def _alternate(families: Iterable[list[Address]]) -> Iterable[Address]:
    """One of each family, then the second of each, and so on."""
    for turn in itertools.zip_longest(*families):
        yield from (address for address in turn if address is not None)


async def _attempt(address: Address) -> socket.socket:
    """Connect to one address."""
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        for option in SOCKET_OPTIONS:
            sock.setsockopt(*option)
        if not _connects_at_once(sock, where):
            await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _connects_at_once(sock: socket.socket, where: tuple[Any, ...]) -> bool:
    """Whether a connection is there without waiting for it; raises OSError if it is refused.

    To this machine, where many models live, it is: the second call only asks.  To wait for it on
    the event loop would cost as much again as all the rest of connecting.
    """
    if sys.platform == "win32":
        return False  # there a connect is begun in another way
    for _ in range(2):
        error = sock.connect_ex(where)
        if error in {0, errno.EISCONN}:
            return True
        if error not in _UNDER_WAY:
            raise OSError(error, os.strerror(error))
    return False


async def _race(waiting: deque[Address]) -> socket.socket:
    """Connect to whichever of the addresses answers first."""
    loop = asyncio.get_running_loop()
    attempts: set[asyncio.Task[socket.socket]] = set()
    failures: list[BaseException] = []
    winner: socket.socket | None = None
    try:
        while winner is None and (waiting or attempts):
            if waiting:
                attempts.add(loop.create_task(_attempt(waiting.popleft())))
            done, attempts = await asyncio.wait(
                attempts,
                timeout=_STAGGER_SECONDS if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                if (failure := task.exception()) is not None:
                    failures.append(failure)
                elif winner is None:
                    winner = task.result()
                else:
                    task.result().close()
    finally:
        await _give_up(attempts)
    if winner is None:
        raise failures[0]
    return winner


async def _give_up(attempts: Iterable[asyncio.Task[socket.socket]]) -> None:
    """Cancel attempts; one that was just won is closed."""
    for task in attempts:
        task.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(outcome, socket.socket):
            outcome.close()
