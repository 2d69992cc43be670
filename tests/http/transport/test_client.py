"""Requests made after a model are the requests that httpx would make, whatever changes between them."""

from __future__ import annotations

import httpx
import pytest

from worker.http.transport import client as module
from worker.http.transport.client import Client
from worker.records import NO_CERTIFICATES, Certificates

pytestmark = pytest.mark.anyio

URL = "http://model.test:8000/v1/chat"
FIELDS = {"user-agent": "promptspool/1"}


def answering(**response):
    return httpx.MockTransport(lambda _: httpx.Response(**response))


@pytest.fixture
async def client():
    async with Client(answering(status_code=200), FIELDS) as made:
        yield made


@pytest.mark.parametrize("body", [b"{}", b"[" * 70_000])
async def test_it_is_what_httpx_would_send(client, body):
    """Also the second one, which is made after the model."""
    mine = {"accept": "text/event-stream", "authorization": "Bearer k", "User-Agent": "mine"}
    theirs = client.build_request("POST", URL, content=body, headers=mine)
    for _ in range(2):
        request = client.prepare("POST", URL, body, [mine], 3)
        assert sorted(request.headers.items()) == sorted(theirs.headers.items())
        assert (request.method, request.url) == (theirs.method, theirs.url)
        assert await request.aread() == body


async def test_every_request_has_the_length_of_its_own_body(client):
    """The model has none, and is not changed by those that are made after it."""
    lengths = [
        client.prepare("POST", URL, body, [], None).headers["content-length"]
        for body in (b"12345", b"1", b"123", b"")
    ]
    assert lengths == ["5", "1", "3", "0"]


async def test_a_get_has_no_body(client):
    """And says nothing about it."""
    assert "content-length" not in client.prepare("GET", URL, b"", [], None).headers


async def test_nothing_of_another_endpoint_is_used(client):
    """Least of all its key, though everything else is the same."""
    keys = [
        client.prepare("POST", URL, b"{}", [{"authorization": key}], None).headers["authorization"]
        for key in ("one", "two", "one")
    ]
    assert keys == ["one", "two", "one"]
    waits = [
        client.prepare("POST", URL, b"{}", [], seconds).extensions["timeout"]["connect"]
        for seconds in (1, None)
    ]
    assert waits == [1, None]
    assert client.prepare("POST", f"{URL}/other", b"{}", [], 1).url == f"{URL}/other"


async def test_a_header_of_the_endpoint_replaces_that_of_the_request(client):
    """Under whichever spelling."""
    request = client.prepare("POST", URL, b"{}", [{"accept": "a"}, {"Accept": "b"}], None)
    assert request.headers.get_list("accept") == ["b"]


async def test_models_do_not_gather_for_ever(monkeypatch, client):
    """Keys may change without end."""
    monkeypatch.setattr(module, "_MOST_MODELS", 3)
    for number in range(20):
        request = client.prepare("POST", URL, b"{}", [{"x-number": str(number)}], None)
        assert request.headers["x-number"] == str(number)
        assert len(client._models) <= 3


async def test_what_no_header_can_hold_is_refused_each_time(client):
    """A refusal leaves no model behind."""
    for _ in range(2):
        with pytest.raises(UnicodeEncodeError):
            client.prepare("POST", URL, b"{}", [{"x": "\ud800"}], None)
        with pytest.raises(httpx.InvalidURL):
            client.prepare("POST", "http://model.test:port", b"{}", [], None)


async def test_no_cookie_is_kept():
    """Prompts share nothing."""
    setting = answering(status_code=200, headers={"set-cookie": "a=b; Path=/"})
    async with Client(setting, FIELDS) as client:
        for _ in range(2):
            response = await client.send(client.prepare("POST", URL, b"{}", [], None))
            assert "cookie" not in response.request.headers
        assert not client.cookies
        with pytest.raises(AttributeError):
            client.cookies = {"a": "b"}


async def test_a_redirect_is_told_and_not_followed():
    """httpx would build the next request, and fail on a target that is no URL."""
    away = answering(status_code=302, headers={"location": "http://[nowhere"})
    async with Client(away, FIELDS) as client:
        response = await client.send(client.prepare("POST", URL, b"{}", [], None))
    assert response.extensions["location"] == "http://[nowhere"
    assert response.next_request is None


async def test_a_request_names_the_certificates_of_its_endpoint(client):
    """Also the second one, which is made after the model."""
    mine = Certificates(ca_file="mine.pem")
    for certificates in (mine, NO_CERTIFICATES, mine):
        request = client.prepare("POST", URL, b"{}", [], None, certificates=certificates)
        assert request.extensions["certificates"] == certificates
