"""Programs of one machine reach each other where it has only one kind of loopback address."""

import socket

import pytest

from worker.http import loopback
from worker.http.loopback import family_of, in_url, loopback_address


def machine(*hosts):
    """The class of sockets of a machine that has only these addresses."""

    class Socket(socket.socket):
        def bind(self, address):
            if address[0] not in hosts:
                raise OSError(99, "Cannot assign requested address")

    return Socket


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (("127.0.0.1", "::1"), "127.0.0.1"),
        (("127.0.0.1",), "127.0.0.1"),
        (("::1",), "::1"),
        ((), "127.0.0.1"),
    ],
)
def test_ipv4_comes_first_and_ipv6_alone_is_enough(monkeypatch, hosts, expected):
    """Where there is neither, the one who binds the usual address gets the system's error."""
    monkeypatch.setattr(loopback.socket, "socket", machine(*hosts))
    assert loopback_address() == expected


def test_a_machine_without_sockets_of_one_family_is_no_error(monkeypatch):
    """A kernel without IPv4 refuses to make the socket, before any address is bound."""

    class Socket(machine("::1")):
        def __init__(self, family):
            if family == socket.AF_INET:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family)

    monkeypatch.setattr(loopback.socket, "socket", Socket)
    assert loopback_address() == "::1"


def test_an_address_of_ipv6_stands_in_brackets_in_urls():
    """Else its last part is taken for a port."""
    assert (in_url("127.0.0.1"), in_url("::1")) == ("127.0.0.1", "[::1]")
    assert (family_of("127.0.0.1"), family_of("::1")) == (socket.AF_INET, socket.AF_INET6)
