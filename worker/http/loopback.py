"""The address at which the programs of this machine reach each other."""

from __future__ import annotations

import socket

IPV4 = "127.0.0.1"
IPV6 = "::1"


def loopback_address() -> str:
    """127.0.0.1, or ::1 on a machine without the former.

    Where there is neither it is 127.0.0.1, and whoever binds it gets the error of the system.
    """
    for family, host in ((socket.AF_INET, IPV4), (socket.AF_INET6, IPV6)):
        try:
            with socket.socket(family) as probe:
                probe.bind((host, 0))
        except OSError:
            continue
        return host
    return IPV4


def family_of(host: str) -> socket.AddressFamily:
    """The address family of a literal address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def in_url(host: str) -> str:
    """A literal address as URLs have it, in brackets if it is one of IPv6."""
    return f"[{host}]" if ":" in host else host
