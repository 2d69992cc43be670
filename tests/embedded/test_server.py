"""The server child: it answers, it comes back, it ends, and it says why it cannot run."""

import asyncio
import importlib.util
import os
import select
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from worker.embedded import server as module
from worker.embedded.models import bundled_model
from worker.embedded.server import EmbeddedServer, Plan
from worker.errors import SettingsError
from worker.http.loopback import IPV4, IPV6, family_of, in_url

PATIENCE = 60.0  # seconds; only a failing test waits so long


def connected(address: str) -> socket.socket:
    """A connection that the server has not been told to close: it ends when the server does."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def closed(connection: socket.socket) -> bool:
    """Wait until the other side is gone."""
    with connection:
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True


def can_bind(host: str) -> bool:
    with socket.socket(family_of(host)) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def healthy(address: str) -> bool:
    return httpx.get(f"{address}/health").json() == {"status": "ok"}


def test_it_answers_comes_back_and_ends(capfd):
    """After kill -9 of the child the same address answers again; `stop` leaves no process."""

    async def story() -> None:
        server = EmbeddedServer(Plan(bundled_model(), parallel=1, context_tokens=256))
        assert (server.alive, server.pid) == (False, None)
        address = await server.start()
        first = server.pid
        assert first is not None
        assert healthy(address)
        assert await server.ensure() == address
        assert server.pid == first

        watched = connected(address)
        os.kill(first, signal.SIGKILL)
        assert await asyncio.to_thread(closed, watched)
        await server._process.wait()  # the event loop has collected it
        assert (server.alive, server.pid) == (False, None)
        assert await server.ensure() == address
        assert server.pid not in {None, first}
        assert healthy(address)

        watched = connected(address)
        await server.stop()
        assert closed(watched)
        assert (server.alive, server.pid) == (False, None)
        await server.stop()

    asyncio.run(story())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("host", [each for each in (IPV4, IPV6) if can_bind(each)])
def test_either_kind_of_loopback_will_do(monkeypatch, host):
    """Some containers have IPv6 only."""
    monkeypatch.setattr(module, "loopback_address", lambda: host)

    async def story() -> None:
        server = EmbeddedServer(Plan(bundled_model(), parallel=1, context_tokens=256))
        address = await server.start()
        assert address.startswith(f"http://{in_url(host)}:")
        assert healthy(address)
        await server.stop()

    asyncio.run(story())


def test_a_machine_without_loopback_is_named(monkeypatch):
    """The cure is one command, and nothing is left behind."""
    monkeypatch.setattr(module, "loopback_address", lambda: "192.0.2.1")  # of no machine

    async def story() -> None:
        server = EmbeddedServer(Plan(bundled_model()))
        with pytest.raises(
            SettingsError, match=r"cannot listen on 192\.0\.2\.1 .*ip link set lo up"
        ):
            await server.start()
        assert not server.alive

    asyncio.run(story())


def test_signals_for_the_worker_do_not_end_it():
    """A worker that drains on SIGTERM still needs its server, which gets the signal as well."""

    async def story() -> None:
        server = EmbeddedServer(Plan(bundled_model(), parallel=1, context_tokens=256))
        address = await server.start()
        assert os.getsid(server.pid) != os.getsid(0)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(server.pid, number)
        assert healthy(address)
        assert server.alive
        await server.stop()

    asyncio.run(story())


def test_a_folder_named_worker_is_not_taken_for_us(tmp_path, monkeypatch):
    """Projects often have a `worker` package, and Spool is run from their top level."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)

    async def story() -> None:
        server = EmbeddedServer(Plan(bundled_model(), parallel=1, context_tokens=256))
        assert healthy(await server.start())
        await server.stop()

    asyncio.run(story())


PARENT = """
import asyncio, sys
from pathlib import Path
from worker.embedded.server import EmbeddedServer, Plan

async def story():
    server = EmbeddedServer(Plan(Path(sys.argv[1]), parallel=1, context_tokens=256))
    print(await server.start(), flush=True)
    await asyncio.Event().wait()

asyncio.run(story())
"""


def parent(model: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PARENT, model]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_it_dies_with_a_killed_parent():
    """kill -9 of the worker leaves no server behind."""
    with parent(str(bundled_model())) as worker:
        watched = connected(worker.stdout.readline().strip())
        worker.kill()
        assert closed(watched)


@pytest.fixture
def slow_model(tmp_path):
    """A model file whose bytes never come: a pipe that nobody writes to."""
    path = tmp_path / "slow.gguf"
    os.mkfifo(path)
    return path


if sys.platform == "linux":  # elsewhere the child notices when the model is loaded

    def test_it_dies_with_a_parent_that_is_killed_while_the_model_loads(slow_model):
        """llama.cpp holds the interpreter while it loads, so the kernel has to tell the child."""
        with parent(str(slow_model)) as worker, slow_model.open("wb") as written:
            # The open above returned because the child has opened the other end.
            worker.kill()
            watch = select.poll()
            watch.register(written, 0)  # readers gone is always reported
            assert watch.poll(PATIENCE * 1000)


def test_a_model_that_does_not_load_in_time_is_given_up(slow_model):
    """The deadline is said with its cure, and the child is gone."""

    async def story() -> None:
        server = EmbeddedServer(Plan(slow_model, start_timeout_seconds=0.2))
        with pytest.raises(SettingsError, match=r"not loaded in 0\.2 seconds.*first_frame"):
            await server.start()
        assert not server.alive
        await server.stop()

    asyncio.run(story())


def test_a_cancelled_start_leaves_no_child(slow_model):
    """Ctrl-C while the model loads ends everything."""

    async def story() -> None:
        server = EmbeddedServer(Plan(slow_model))
        starting = asyncio.create_task(server.start())
        written = await asyncio.to_thread(slow_model.open, "wb")
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not server.alive
        with pytest.raises(BrokenPipeError), written:
            written.write(b"?")
        await server.stop()

    asyncio.run(story())


def test_a_damaged_file_is_named_with_the_reason(tmp_path, capfd):
    """llama.cpp's own words are quoted; its log does not reach standard error."""
    cut = tmp_path / "cut.gguf"
    with bundled_model().open("rb") as whole:
        cut.write_bytes(whole.read(4_000_000))

    async def story() -> None:
        with pytest.raises(SettingsError) as caught:
            await EmbeddedServer(Plan(cut)).start()
        assert str(caught.value).startswith(f"llama.cpp cannot load {cut}: tensor ")
        assert "incomplete; download the file again" in str(caught.value)

    asyncio.run(story())
    assert capfd.readouterr() == ("", "")


def test_a_missing_extra_names_the_cure(monkeypatch):
    """xllamacpp is an extra: most people have a server of their own."""
    server = EmbeddedServer(Plan(bundled_model()))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"needs xllamacpp.* not installed: run `"):
        asyncio.run(server.start())


@pytest.mark.parametrize(
    ("status", "said", "log", "expected"),
    [
        (-9, "", [], "not enough memory for m.gguf with 4 streams of 4096 tokens: lower"),
        (1, "", ["0.1.2 E ggml: failed to allocate buffer of size 9"], "not enough memory"),
        (-4, "", [], "this processor lacks instructions"),
        (
            1,
            "ImportError: libgomp.so.1: cannot open shared object file",
            [],
            "no libgomp.so.1: run",
        ),
        (1, "ImportError: it is broken", [], "ended with status 1: ImportError: it is broken"),
        (1, "", ["0.00.1 E srv init: no"], "ended with status 1: srv init: no"),
        (-11, "", [], "ended with status -11: it said nothing"),
    ],
)
def test_each_way_to_end_has_its_sentence(status, said, log, expected):
    """Killed for want of memory, an old processor, a broken install: each is told apart."""
    assert expected in module._why(Plan(module.Path("m.gguf")), status, said, log)


def test_only_the_last_lines_of_its_log_are_kept():
    """A server that complains all night costs no memory."""

    async def story() -> list[str]:
        server = EmbeddedServer(Plan(bundled_model()))
        said = asyncio.StreamReader()
        said.feed_data(b"".join(b"line %d\n" % n for n in range(10_000)) + b"x" * 100_000)
        said.feed_eof()
        await server._keep_log(said)
        return list(server._log)

    kept = asyncio.run(story())
    assert len(kept) == module.LOG_LINES
    assert kept[-2] == "line 9999"
    assert len(kept[-1]) == module.LOG_LINE_BYTES
