"""Which URLs go through a proxy, as httpx reads it from the environment.

httpx does so only for its own transports, so the same table is made here:
HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY (of which macOS and Windows keep
a version in their settings) become the keys of ``httpx.AsyncClient(mounts=...)``.
"""

from __future__ import annotations

import ipaddress
import ssl
from urllib.request import getproxies

import httpx

from worker.transport.dial import SOCKET_OPTIONS


def environment() -> dict[str, str | None]:
    """Pattern of URLs to the URL of a proxy; None: not through any."""
    found = getproxies()
    routes: dict[str, str | None] = {}
    for scheme in ("http", "https", "all"):
        if proxy := found.get(scheme):
            routes[f"{scheme}://"] = proxy if "://" in proxy else f"http://{proxy}"
    exempt = [host for host in map(str.strip, found.get("no", "").split(",")) if host]
    if "*" in exempt:
        return {}
    routes.update((_pattern(host), None) for host in exempt)
    return routes


def _pattern(host: str) -> str:
    """An entry of NO_PROXY as a pattern: a name exempts its subdomains too."""
    if "://" in host:
        return host
    try:
        address = ipaddress.ip_address(host.partition("/")[0])
    except ValueError:
        return f"all://{host}" if host.lower() == "localhost" else f"all://*{host}"
    return f"all://[{host}]" if address.version == 6 else f"all://{host}"  # noqa: PLR2004


def stock(verify: ssl.SSLContext | bool, proxy: str | None = None) -> httpx.AsyncHTTPTransport:
    """A transport of httpx itself, without its limits, which would starve the 101st stream."""
    return httpx.AsyncHTTPTransport(
        verify=verify,
        proxy=proxy,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        socket_options=SOCKET_OPTIONS,
    )


class Proxied(httpx.AsyncBaseTransport):
    """httpx's own transport through a proxy, made when something has to go that way.

    A proxy that cannot be used (SOCKS without its library) must not hinder those who go direct.
    """

    def __init__(self, proxy: str, verify: ssl.SSLContext | bool) -> None:
        self._proxy = proxy
        self._verify = verify
        self._inner: httpx.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request through the proxy."""
        if self._inner is None:
            try:
                self._inner = stock(self._verify, self._proxy)
            except (ImportError, ValueError, httpx.InvalidURL) as error:
                # Not the text of the error: the URL of a proxy may hold a password.
                raise httpx.ProxyError(
                    "the proxy that the environment names cannot be used"
                ) from error
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections, if there ever were any."""
        if self._inner is not None:
            await self._inner.aclose()
