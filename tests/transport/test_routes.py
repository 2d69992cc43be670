"""A proxy is used exactly when httpx itself would use it."""

from __future__ import annotations

import httpx
import pytest
from httpx._utils import get_environment_proxies

from tests.fakes.answer import Script
from worker.transport import routes

ENVIRONMENTS = [
    {},
    {"HTTP_PROXY": "http://proxy:3128"},
    {"http_proxy": "proxy:3128", "HTTPS_PROXY": "http://user:pass@proxy:3128"},
    {"ALL_PROXY": "socks5://proxy:1080", "NO_PROXY": "*"},
    {"HTTP_PROXY": "http://proxy", "NO_PROXY": "localhost, 127.0.0.1,example.com,.corp.example"},
    {"HTTP_PROXY": "http://proxy", "no_proxy": "::1,192.168.0.0/16,https://only.example,,fd00::/8"},
]


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_environment_is_read_as_httpx_reads_it(monkeypatch, environment):
    """The table is its own; the meaning must not be."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert routes.environment() == get_environment_proxies()


@pytest.mark.anyio
async def test_requests_go_through_the_proxy(server):
    """To a host that only the proxy could know."""
    server.scripts["http://nowhere.invalid/x"] = Script(b"by proxy", framing="length")
    async with httpx.AsyncClient(transport=routes.Proxied(server.url, verify=True)) as client:
        response = await client.get("http://nowhere.invalid/x")
    assert response.text == "by proxy"


@pytest.mark.anyio
@pytest.mark.parametrize("proxy", ["socks5://user:password@proxy:1", "gopher://user:password@x"])
async def test_a_proxy_that_cannot_be_used_hinders_nobody_else(proxy):
    """It is an error only for what has to go through it, and its password is not told."""
    async with httpx.AsyncClient(transport=routes.Proxied(proxy, verify=True)) as client:
        with pytest.raises(httpx.ProxyError) as caught:
            await client.get("http://nowhere.invalid/")
    assert "password" not in str(caught.value)
