"""Each request finds the transport for it, and one that cannot be made hinders no other."""

from __future__ import annotations

import httpx
import pytest

from tests.fakes.answer import Script
from worker.http.transport.proxies import Proxies, environment
from worker.http.transport.router import Router
from worker.records import Certificates

pytestmark = pytest.mark.anyio


def direct() -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(203))


async def test_requests_go_through_the_proxy(server):
    """To a host that only the proxy could know; others go direct."""
    server.scripts["http://nowhere.invalid/x"] = Script(b"by proxy", framing="length")
    router = Router(direct(), True, Proxies({"http": server.url}))
    async with httpx.AsyncClient(transport=router) as client:
        assert (await client.get("http://nowhere.invalid/x")).text == "by proxy"
        assert (await client.get("https://nowhere.invalid/x")).status_code == 203
        assert (await client.get("http://127.0.0.1/x")).status_code == 203


@pytest.mark.parametrize("proxy", ["socks5://user:password@proxy:1", "gopher://user:password@x"])
async def test_a_proxy_that_cannot_be_used_hinders_nobody_else(proxy):
    """It is an error only for what has to go through it, and its password is not told."""
    router = Router(direct(), True, Proxies({"http": proxy}))
    async with httpx.AsyncClient(transport=router) as client:
        with pytest.raises(httpx.ProxyError) as caught:
            await client.get("http://nowhere.invalid/")
        assert (await client.get("https://nowhere.invalid/")).status_code == 203
    assert "password" not in str(caught.value)


async def test_httpx_carries_what_goes_direct_if_nothing_else_does(server):
    """One transport for each set of certificates, and no environment is read again."""
    server.scripts["/x"] = Script(b"direct", framing="length")
    router = Router(None, True, environment())
    async with httpx.AsyncClient(transport=router) as client:
        for _ in range(2):
            assert (await client.get(server.url + "/x")).text == "direct"
        with pytest.raises(httpx.ConnectError, match="no-such-file"):
            await client.get(
                server.url + "/x",
                extensions={"certificates": Certificates(ca_file="no-such-file")},
            )
    assert server.accepted == 1
