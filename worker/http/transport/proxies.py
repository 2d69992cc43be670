"""Which URLs go through a proxy of the environment.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are read, in either case; macOS and
Windows keep a version of them in their settings.  NO_PROXY has no standard: an entry
exempts a host here if curl, Go or requests would exempt it, and an entry that nobody
can read exempts nothing.  A loopback address never goes through a proxy: the proxy
could not reach it, and would see the key.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.request import getproxies

import httpx

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Test: TypeAlias = Callable[[str, int], bool]  # host and port of a URL

_BRACKETED = re.compile(r"\[([^\]]*)\](?P<bits>/\d+)?(?::(?P<port>\d{1,5}))?", re.ASCII)
_NAMED = re.compile(r"([^:/]*)(?P<bits>/\d+)?(?::(?P<port>\d{1,5}))?", re.ASCII)
_SCHEMED = re.compile(r"([a-z][a-z0-9+.-]*)://")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies of the environment.

    Attributes:
        by_scheme: the URL of the proxy for `http`, `https` and `all` other URLs.
        exempt: the entries of NO_PROXY, as far as they can be read.
    """

    by_scheme: Mapping[str, str]
    exempt: tuple[_Test, ...] = ()

    def through(self, url: httpx.URL) -> str | None:
        """The URL of the proxy that a request for this URL goes through; None: direct."""
        proxy = self.by_scheme.get(url.scheme) or self.by_scheme.get("all")
        if not proxy:
            return None
        host = url.raw_host.decode("ascii").lower().strip("[]").rstrip(".")
        port = url.port or _PORTS.get(url.scheme, 0)
        if is_loopback(host) or any(exempts(host, port) for exempts in self.exempt):
            return None
        return proxy


def environment() -> Proxies:
    """The proxies that this process was started with; never raises."""
    found = getproxies()
    by_scheme = {
        scheme: proxy if "://" in proxy else f"http://{proxy}"
        for scheme in ("http", "https", "all")
        if (proxy := found.get(scheme, "").strip())
    }
    entries = re.split(r"[,\s]+", found.get("no", ""))
    tests = (_exemption(entry.lower()) for entry in entries if entry)
    return Proxies(by_scheme, tuple(test for test in tests if test))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, by its name or its address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def without_secrets(proxy: str) -> str:
    """The URL of a proxy as a person may read it."""
    try:
        url = httpx.URL(proxy)
    except httpx.InvalidURL:
        return "a proxy whose URL cannot be read"
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}" + (f":{url.port}" if url.port else "")


def _exemption(entry: str) -> _Test | None:
    """What one entry of NO_PROXY exempts; None if it cannot be read."""
    if entry == "*":
        return _everything
    if scheme := _SCHEMED.match(entry):
        return _of_scheme(_exemption(entry[scheme.end() :].rstrip("/")), _PORTS.get(scheme[1]))
    if (network := _network(entry)) is not None:
        return _in_network(network, None)
    found = _BRACKETED.fullmatch(entry) or _NAMED.fullmatch(entry)
    if found is None:
        return None
    name, port = found[1], int(found["port"]) if found["port"] else None
    if (network := _network(name + (found["bits"] or ""))) is not None:
        return _in_network(network, port)
    return None if ":" in name else _of_name(name.rstrip("."), port)


def _everything(host: str, port: int) -> bool:
    del host, port
    return True


def _of_scheme(only: _Test | None, wanted: int | None) -> _Test | None:
    """The same for one scheme: `https://name` is about its port."""
    if only is None or wanted is None:
        return only
    return lambda host, port: port == wanted and only(host, port)


def _of_name(name: str, port: int | None) -> _Test | None:
    """A name exempts itself and what is below it; `*.name` only the latter."""
    below_only = name.startswith("*.")
    name = name.removeprefix("*").removeprefix(".")
    if not name or "*" in name or "/" in name:
        return None
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None

    def test(host: str, at: int) -> bool:
        if port is not None and at != port:
            return False
        return host.endswith(f".{name}") or (host == name and not below_only)

    return test


def _in_network(network: ipaddress.IPv4Network | ipaddress.IPv6Network, port: int | None) -> _Test:
    def test(host: str, at: int) -> bool:
        address = _address(host)
        return address is not None and address in network and port in {None, at}

    return test


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    address, slash, bits = text.partition("/")
    try:
        return ipaddress.ip_network(address.partition("%")[0] + slash + bits, strict=False)
    except ValueError:
        return None


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
