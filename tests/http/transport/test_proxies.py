"""A proxy is used exactly when people expect it, and nothing in NO_PROXY stops a worker."""

from __future__ import annotations

import httpx
import pytest

from worker.http.transport import proxies

PROXY = "http://proxy.test:3128"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def through(url: str) -> str | None:
    return proxies.environment().through(httpx.URL(url))


DIRECT, BY_PROXY = True, False
GO = "localhost,127.0.0.1,[::2],192.168.1.1,10.8.0.0/16,foobar.com,.barbaz.net,*.wildcard.io"
# Who reads it so: curl (lib/noproxy.c), Go (golang.org/x/net/http/httpproxy), requests (utils.py).
EXEMPTIONS = [
    # names: all three
    ("example.com", "http://example.com", DIRECT),
    ("example.com", "http://www.example.com", DIRECT),
    ("example.com", "http://notexample.com", BY_PROXY),
    ("example.com", "http://example.com.evil.test", BY_PROXY),
    ("Example.COM", "http://www.EXAMPLE.com", DIRECT),
    # a leading dot: curl and requests take the name itself as well, Go only what is below
    (".example.com", "http://www.example.com", DIRECT),
    (".example.com", "http://example.com", DIRECT),
    (".example.com", "http://notexample.com", BY_PROXY),
    # a star and a dot: Go
    ("*.example.com", "http://www.example.com", DIRECT),
    ("*.example.com", "http://example.com", BY_PROXY),
    ("*.example.com", "http://wwwexample.com", BY_PROXY),
    # a dot at the end: curl
    ("example.com.", "http://example.com", DIRECT),
    ("example.com", "http://example.com.", DIRECT),
    # a star alone: all three; within a list: Go
    ("*", "http://example.com", DIRECT),
    (" * ", "http://example.com", DIRECT),
    ("other.test,*", "http://example.com", DIRECT),
    # ports: Go and requests
    ("example.com:8000", "http://example.com:8000", DIRECT),
    ("example.com:8000", "http://example.com:8001", BY_PROXY),
    ("example.com:80", "http://example.com", DIRECT),
    ("example.com:443", "https://www.example.com", DIRECT),
    ("10.0.0.5:8000", "http://10.0.0.5:8000", DIRECT),
    ("10.0.0.5:8000", "http://10.0.0.5:9000", BY_PROXY),
    ("[fd00::5]:8000", "http://[fd00::5]:8000", DIRECT),
    ("[fd00::5]:8000", "http://[fd00::5]:9000", BY_PROXY),
    # addresses and networks: all three; networks of IPv6: curl and Go
    ("10.0.0.5", "http://10.0.0.5", DIRECT),
    ("10.0.0.5", "http://10.0.0.50", BY_PROXY),
    ("10.0.0.0/8", "http://10.1.2.3:8000/v1", DIRECT),
    ("10.0.0.1/8", "http://10.1.2.3", DIRECT),
    ("10.0.0.0/8", "http://11.1.2.3", BY_PROXY),
    ("192.168.0.0/16,10.0.0.0/8", "http://192.168.7.7", DIRECT),
    ("fd00::5", "http://[fd00::5]", DIRECT),
    ("[fd00::5]", "http://[fd00::5]", DIRECT),
    ("FD00:0::5", "http://[fd00::5]", DIRECT),
    ("fd00::/8", "http://[fd07:b51a:cc66:f0::1]", DIRECT),
    ("[fd00::]/8", "http://[fd07::1]", DIRECT),
    ("fe80::/10", "http://[fd07::1]", BY_PROXY),
    ("10.0.0.0/8", "http://[::ffff:10.1.2.3]", DIRECT),
    ("10.0.0.0/8", "http://ten.test", BY_PROXY),
    # separators: commas (all), spaces (curl), and what is left empty
    ("a.test, b.test", "http://b.test", DIRECT),
    ("a.test b.test", "http://b.test", DIRECT),
    ("a.test,,b.test,", "http://b.test", DIRECT),
    (",", "http://b.test", BY_PROXY),
    # a scheme: httpx
    ("https://only.test", "https://only.test", DIRECT),
    ("https://only.test", "http://only.test", BY_PROXY),
    ("http://only.test/", "http://only.test", DIRECT),
    # names that are not ASCII
    ("b\u00fccher.test", "http://xn--bcher-kva.test", DIRECT),
    # what nobody can read stops nothing and exempts nothing
    ("http://[,b.test", "http://b.test", DIRECT),
    ("[::1,[::1]x,10.0.0.0/99,a:b:c,*x*,b.test:port,\ud800,b.test", "http://b.test", DIRECT),
    ("[::1,[::1]x,10.0.0.0/99,a:b:c,*x*,b.test:port,/,:80,.,*.", "http://b.test", BY_PROXY),
    ("localhost;b.test", "http://b.test", BY_PROXY),
    # lists of people, as they stand in reports
    ("localhost,127.0.0.1,fd07:b51a:cc66:f0::/64", "http://b.test", BY_PROXY),
    ("localhost,127.0.0.1,::1,.local,.lan,10.0.0.0/8,fe80::/10", "http://gpu.lan:8000", DIRECT),
    # what Go's own tests ask of one list
    (GO, "http://[::2]", DIRECT),
    (GO, "http://192.168.1.1", DIRECT),
    (GO, "http://192.168.1.2", BY_PROXY),
    (GO, "http://10.8.3.4", DIRECT),
    (GO, "http://foobar.com", DIRECT),
    (GO, "http://www.foobar.com", DIRECT),
    (GO, "http://foofoobar.com", BY_PROXY),
    (GO, "http://local.barbaz.net", DIRECT),
    (GO, "http://barbarbaz.net", BY_PROXY),
    (GO, "http://nested.wildcard.io", DIRECT),
    (GO, "http://wildcard.io", BY_PROXY),
    (GO, "http://awildcard.io", BY_PROXY),
    (GO, "http://localhost.net", BY_PROXY),
]


@pytest.mark.parametrize(("no_proxy", "url", "is_direct"), EXEMPTIONS)
def test_no_proxy_is_read_as_people_know_it(monkeypatch, no_proxy, url, is_direct):
    """If curl, Go or requests exempts a host, it is exempt."""
    values = {"http": PROXY, "https": PROXY, "no": no_proxy}
    monkeypatch.setattr(proxies, "getproxies", lambda: values)
    assert through(url) == (None if is_direct else PROXY)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "x.localhost", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000",
     "[::ffff:127.0.0.1]", "0.0.0.0:11434", "localhost."],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_is_never_asked_through_a_proxy(monkeypatch, host, scheme):
    """The proxy cannot reach it, and would see prompt and key."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, PROXY)
    assert through(f"{scheme}://{host}/v1") is None
    assert through(f"{scheme}://127.0.0.1.nip.test/v1") == PROXY


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "http://b.test", None),
        ({"HTTP_PROXY": PROXY}, "http://b.test", PROXY),
        ({"http_proxy": "proxy.test:3128"}, "http://b.test", PROXY),
        ({"http_proxy": PROXY}, "https://b.test", None),
        ({"HTTPS_PROXY": PROXY}, "https://b.test", PROXY),
        ({"ALL_PROXY": PROXY}, "https://b.test", PROXY),
        ({"ALL_PROXY": "socks5://s.test:1", "http_proxy": PROXY}, "http://b.test", PROXY),
        ({"http_proxy": PROXY, "HTTP_PROXY": "http://other.test"}, "http://b.test", PROXY),
        ({"http_proxy": PROXY, "no_proxy": "b.test", "NO_PROXY": ""}, "http://b.test", None),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "b.test"}, "http://b.test", None),
        ({"HTTP_PROXY": " "}, "http://b.test", None),
    ],
)
def test_the_variables_are_read_in_either_case(monkeypatch, environment, url, proxy):
    """The lower case wins, as everywhere."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert through(url) == proxy


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://user:password@proxy.test:3128", "http://proxy.test:3128"),
        ("http://proxy.test", "http://proxy.test"),
        ("socks5://user:password@[::1]:1080", "socks5://[::1]:1080"),
        ("http://user:password@proxy.test:port", "a proxy whose URL cannot be read"),
    ],
)
def test_a_proxy_is_shown_without_its_password(proxy, shown):
    """`doctor` prints it."""
    assert proxies.without_secrets(proxy) == shown
