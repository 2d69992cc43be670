"""Which transport carries a request: direct or through a proxy, with which certificates.

A request names the certificates of its endpoint in the extension `certificates`;
httpx's own transport takes them when it is made, so there is one for each set.
"""

from __future__ import annotations

import ssl

import httpx

from worker.http.certificates import CertificatesUnusable
from worker.http.transport.dial import SOCKET_OPTIONS
from worker.http.transport.proxies import Proxies
from worker.http.transport.tls import client_context
from worker.records import NO_CERTIFICATES, Certificates


class Router(httpx.AsyncBaseTransport):
    """Hands each request to the transport for it.

    Args:
        direct: for requests that go through no proxy; None: httpx's own transport.
        verify: of TLS certificates, as httpx takes it.
        proxies: those of the environment.
    """

    def __init__(
        self,
        direct: httpx.AsyncBaseTransport | None,
        verify: ssl.SSLContext | bool,
        proxies: Proxies,
    ) -> None:
        self._direct = direct
        self._verify = verify
        self._proxies = proxies
        self._stock: dict[tuple[str | None, Certificates], httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on its way."""
        proxy = self._proxies.through(request.url)
        if proxy is None and self._direct is not None:
            return await self._direct.handle_async_request(request)
        way = proxy, request.extensions.get("certificates", NO_CERTIFICATES)
        transport = self._stock.get(way)
        if transport is None:
            transport = self._stock[way] = self._made(*way)
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close every connection."""
        if self._direct is not None:
            await self._direct.aclose()
        for transport in self._stock.values():
            await transport.aclose()

    def _made(self, proxy: str | None, certificates: Certificates) -> httpx.AsyncHTTPTransport:
        """Made when something has to go that way: what cannot be used hinders nobody else."""
        try:
            context = client_context(certificates, self._verify)
        except CertificatesUnusable as error:
            raise httpx.ConnectError(str(error)) from error
        try:
            return stock(context, proxy)
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            if proxy is None:
                raise
            # Not the text of the error: the URL of a proxy may hold a password.
            raise httpx.ProxyError("the proxy that the environment names cannot be used") from error


def stock(verify: ssl.SSLContext | bool, proxy: str | None = None) -> httpx.AsyncHTTPTransport:
    """A transport of httpx itself, without its limits, which would starve the 101st stream."""
    return httpx.AsyncHTTPTransport(
        verify=verify,
        proxy=proxy,
        trust_env=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        socket_options=SOCKET_OPTIONS,
    )
