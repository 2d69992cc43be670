"""A name and a port become a connected socket, also when some of the addresses are dead."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from tests.fakes.patience import HANG_SECONDS
from worker.http.transport import dial as dialling
from worker.http.transport.dial import dial

pytestmark = pytest.mark.anyio


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_it_connects_by_address_and_by_name(host, listener):
    """The socket sends small requests at once and notices a peer that vanished."""
    with await dial(host, listener.getsockname()[1]) as sock:
        assert sock.getpeername() == listener.getsockname()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not sock.getblocking()


async def test_a_refusal_is_told(listener):
    """As the system tells it."""
    port = listener.getsockname()[1]
    listener.close()
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(ConnectionRefusedError):
            await dial(host, port)


async def test_an_unknown_name_is_told():
    """`.invalid` never exists."""
    with pytest.raises(socket.gaierror):
        await dial("nobody.invalid", 80)


async def test_a_dead_address_does_not_hold_up_a_living_one(monkeypatch, listener):
    """A broken IPv6 route costs a moment, not the whole time-out."""
    dead, living = ("127.0.0.1", 1), listener.getsockname()
    route(monkeypatch, dead, living)
    attempt = dialling._attempt

    async def attempted(address):
        if address[1] == dead:
            await asyncio.Event().wait()
        return await attempt(address)

    monkeypatch.setattr(dialling, "_attempt", attempted)
    with await asyncio.wait_for(dial("two-addresses", 0), HANG_SECONDS) as sock:
        assert sock.getpeername() == living


async def test_a_refusing_address_is_followed_by_the_next_at_once(monkeypatch, listener):
    """No need to wait a moment for that one."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()
    monkeypatch.setattr(dialling, "_STAGGER_SECONDS", 100 * HANG_SECONDS)
    route(monkeypatch, refusing, listener.getsockname())
    with await asyncio.wait_for(dial("two-addresses", 0), HANG_SECONDS) as sock:
        assert sock.getpeername() == listener.getsockname()


async def test_if_all_refuse_the_first_reason_is_told(monkeypatch):
    """One of them has to be."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()
    route(monkeypatch, refusing, refusing)
    with pytest.raises(ConnectionRefusedError):
        await dial("two-addresses", 0)


async def test_cancelled_it_leaves_no_socket_open(monkeypatch, deaf_port):
    """Warnings are errors: a socket that is left open fails this test."""
    deaf = ("127.0.0.1", deaf_port)
    monkeypatch.setattr(dialling, "_STAGGER_SECONDS", 0)
    route(monkeypatch, deaf, deaf)
    task = asyncio.ensure_future(dial("two-addresses", 0))
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_families_alternate():
    """So that one family that is broken costs one moment, not one for each address."""
    four, six = socket.AF_INET, socket.AF_INET6
    ones = [(four, ("a", 1)), (four, ("b", 1)), (four, ("c", 1))]
    others = [(six, ("d", 1))]
    assert list(dialling._alternate([others, ones])) == [others[0], *ones]


def route(monkeypatch, *addresses: tuple[str, int]) -> None:
    """Let a name resolve to these addresses."""

    async def resolve(host: str, port: int) -> list[dialling.Address]:
        return [(socket.AF_INET, address) for address in addresses]

    monkeypatch.setattr(dialling, "_resolve", resolve)


class Connecting:
    """A socket that answers attempts to connect with these numbers, one after the other."""

    def __init__(self, *errors):
        self.errors = list(errors)

    def connect_ex(self, where):
        return self.errors.pop(0)


@pytest.mark.parametrize(
    ("errors", "at_once"),
    [
        ([0], True),
        ([errno.EINPROGRESS, 0], True),
        ([errno.EINPROGRESS, errno.EISCONN], True),
        ([errno.EINPROGRESS, errno.EALREADY], False),
        ([errno.EINTR, errno.EALREADY], False),
    ],
)
def test_a_connection_within_the_machine_needs_no_waiting(errors, at_once):
    """What is not there after two calls is waited for."""
    assert dialling._connects_at_once(Connecting(*errors), ("127.0.0.1", 1)) is at_once


@pytest.mark.parametrize("before", [[], [errno.EINPROGRESS]])
def test_a_refusal_is_not_taken_for_a_connection(before):
    """It may come with either call."""
    with pytest.raises(ConnectionRefusedError, match="refused"):
        dialling._connects_at_once(Connecting(*before, errno.ECONNREFUSED), ("127.0.0.1", 1))
