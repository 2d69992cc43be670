"""Embedded endpoints get the address of a living server; others are left as they are."""

import asyncio
import os
import signal
from dataclasses import replace

import httpx
import pytest

from worker.embedded import EmbeddedServers, base_url_for
from worker.embedded.models import bundled_model
from worker.errors import SettingsError
from worker.records import Endpoint


def endpoint(name, *, dialect="openai-chat", model="smollm2", embedded=True, **more):
    return Endpoint(name, dialect, "", model, concurrency=1, embedded=embedded, **more)


def named(*endpoints):
    return {each.name: each for each in endpoints}


def contexts(endpoint):
    """The room of each stream, as the server itself tells it."""
    return [slot["n_ctx"] for slot in httpx.get(f"{endpoint.base_url}/slots").json()]


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("openai-chat", "http://h:1/v1"),
        ("openai-completions", "http://h:1/v1"),
        ("openai-responses", "http://h:1/v1"),
        ("anthropic-messages", "http://h:1"),
        ("llamacpp-completion", "http://h:1"),
    ],
)
def test_each_dialect_gets_the_base_url_that_it_expects(dialect, expected):
    """OpenAI's clients take the address with /v1, the others without."""
    assert base_url_for(dialect, "http://h:1") == expected


@pytest.mark.parametrize("dialect", ["ollama-chat", "ollama-generate"])
def test_a_dialect_that_llama_cpp_lacks_is_refused_at_once(dialect):
    """There is no /api/chat; the message names what there is."""

    async def story() -> None:
        async with EmbeddedServers(named(endpoint("a", dialect=dialect))):
            raise AssertionError("started")

    with pytest.raises(SettingsError, match=f"does not speak {dialect}: use openai-chat"):
        asyncio.run(story())


def test_endpoints_with_one_model_share_a_server_that_is_revived_for_both():
    """A model is in memory once; after a crash of its server every endpoint finds it again."""
    chat = endpoint("chat")
    same = endpoint("same", model=str(bundled_model()), dialect="anthropic-messages")
    other = Endpoint("other", "ollama-chat", "http://elsewhere", "m")

    async def story() -> None:
        async with EmbeddedServers(named(chat, same, other)) as servers:
            started = servers.endpoints
            assert started["other"] is other
            assert started["chat"].base_url == started["same"].base_url + "/v1"
            (server,) = servers._servers.values()
            assert contexts(started["same"]) == [4096, 4096]

            os.kill(server.pid, signal.SIGKILL)
            await server._process.wait()
            revived = await asyncio.gather(*map(servers.revive, (chat, same)))
            assert revived == [(started["chat"], True), (started["same"], True)]
            assert await servers.revive(chat) == (started["chat"], False)
            assert contexts(started["same"]) == [4096, 4096]
        assert not server.alive

    asyncio.run(story())


def test_one_server_that_cannot_run_leaves_none_behind(tmp_path):
    """A worker that could not start all of its servers holds no memory."""
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF, and then nothing that makes sense")
    servers = EmbeddedServers(named(endpoint("good"), endpoint("bad", model=str(bad))))

    async def story() -> None:
        async with servers:
            raise AssertionError("started")

    with pytest.raises(SettingsError, match=r"bad\.gguf"):
        asyncio.run(story())
    assert not any(server.alive for server in servers._servers.values())


def test_without_embedded_endpoints_nothing_is_needed(monkeypatch):
    """People with a server of their own need neither the wheel nor the model."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    mine = named(Endpoint("default", "ollama-chat", "http://elsewhere", "m"))

    async def story() -> None:
        async with EmbeddedServers(mine) as servers:
            assert servers.endpoints == mine

    asyncio.run(story())


def test_each_stream_has_the_room_that_was_configured():
    """`embedded_context_tokens`; of endpoints that share a server, the largest."""

    async def story() -> list[int]:
        small = endpoint("small", embedded_context_tokens=256)
        large = endpoint("large", embedded_context_tokens=512)
        async with EmbeddedServers(named(small, large)) as servers:
            return await asyncio.to_thread(contexts, _root(servers.endpoints["large"]))

    assert asyncio.run(story()) == [512, 512]


def _root(endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, base_url=endpoint.base_url.removesuffix("/v1"))
