"""One llama.cpp server in a child process: started, kept alive, and stopped.

The parent reserves a loopback port, starts `python -m worker.embedded.child`,
and waits for the one JSON line with which the child says that the model is
loaded and answers.  The port stays reserved for as long as the server is
wanted, so a child that died comes back at the same address.  llama.cpp writes
its errors to standard error; the last lines are kept here, to be quoted when a
model cannot be loaded, and nothing of it reaches our own standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.embedded import library
from worker.errors import SettingsError
from worker.http.loopback import family_of, in_url, loopback_address

CONTEXT_TOKENS = 4096  # per stream; llama.cpp lowers it to what the model was trained with
START_TIMEOUT_SECONDS = 600.0  # a large model is read from disk
FAREWELL_SECONDS = 1.0  # between the end of the child's input and SIGKILL
LOG_LINES = 40
LOG_LINE_BYTES = 4096

_PACKAGE_ROOT = str(Path(__file__).resolve().parent.parent.parent)
_LOG_PREFIX = re.compile(r"^[\d.]+ [A-Z] +")
_LOADING = "error loading model: "
_MEMORY = re.compile(r"(?i)insufficient memory|failed to allocate|bad_alloc|out of memory")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a child is asked to serve.

    Attributes:
        parallel: streams that are welcome at the same time.
        context_tokens: room for prompt and answer of one stream.
        start_timeout_seconds: how long the model may take to load.
    """

    path: Path
    parallel: int = 4
    context_tokens: int = CONTEXT_TOKENS
    start_timeout_seconds: float = START_TIMEOUT_SECONDS


class EmbeddedServer:
    """One llama.cpp server in a child process; it belongs to one event loop.

    Attributes:
        starts: how often it was started with success.
    """

    def __init__(self, plan: Plan) -> None:
        self.starts = 0
        self._plan = plan
        self._process: asyncio.subprocess.Process | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._logging: asyncio.Task[None] | None = None
        self._reserved: socket.socket | None = None
        self._turn = asyncio.Lock()

    @property
    def alive(self) -> bool:
        """Whether the child has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The process id of the living child, or None."""
        return self._process.pid if self._process and self.alive else None

    async def start(self) -> str:
        """Start the child, wait until it answers, and return its address, `http://host:port`.

        Raises:
            SettingsError: the server cannot run; the message says why and what to do, and
                nothing is left behind.
        """
        try:
            return await self.ensure()
        except BaseException:
            await self.stop()
            raise

    async def ensure(self) -> str:
        """The address of the living server; one that died is started again, at the same port.

        Raises:
            SettingsError: as `start`, but the port stays reserved for the next try.
        """
        async with self._turn:
            host, port = self._reserve()
            if not self.alive or not await _answers(host, port):
                await self._start()
                host, port = self._reserve()
            return f"http://{in_url(host)}:{port}"

    async def stop(self) -> None:
        """End the child and give up its port; harmless if there is none."""
        async with self._turn:
            await self._end()
            if self._reserved:
                self._reserved.close()
                self._reserved = None

    def _reserve(self) -> tuple[str, int]:
        """A free port that stays ours: bound here, listened on by the child (SO_REUSEPORT)."""
        if self._reserved is None:
            host = loopback_address()
            reserved = socket.socket(family_of(host))
            try:
                reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                reserved.bind((host, 0))
            except OSError as error:
                reserved.close()
                raise SettingsError(
                    f"the embedded server cannot listen on {host} ({error.strerror}): this machine"
                    " needs a loopback interface (`ip link set lo up` starts it)"
                ) from error
            self._reserved = reserved
        host, port, *_ = self._reserved.getsockname()
        return host, port

    async def _start(self) -> None:
        library.require(model=False)
        await self._end()
        self._log.clear()
        try:
            with library.environment() as variables:
                process = self._process = await self._spawn(variables)
                self._logging = asyncio.create_task(self._keep_log(process.stderr))
                async with asyncio.timeout(self._plan.start_timeout_seconds):
                    said = await _line(process.stdout)
        except TimeoutError as error:
            await self._end()
            raise SettingsError(
                f"{self._plan.path} was not loaded in {self._plan.start_timeout_seconds:g} seconds:"
                " raise the endpoint's first_frame_timeout_seconds, or choose a smaller model"
            ) from error
        except BaseException:
            await self._end()
            raise
        if "port" not in said:
            status = await self._end()
            raise SettingsError(_why(self._plan, status, said.get("error", ""), self._log))
        self.starts += 1

    async def _spawn(self, variables: Mapping[str, str]) -> asyncio.subprocess.Process:
        # A folder named `worker` in the working directory must not be taken for this package:
        # -P leaves the working directory out, PYTHONPATH leads back to where we were loaded from.
        search = os.pathsep.join(filter(None, [_PACKAGE_ROOT, os.environ.get("PYTHONPATH")]))
        plan = self._plan
        host, port = self._reserve()
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "worker.embedded.child", "--model", str(plan.path)),
            *("--host", host, "--port", str(port), "--parallel", str(plan.parallel)),
            *("--context", str(plan.context_tokens)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **variables, "PYTHONPATH": search},
            start_new_session=True,  # Ctrl-C at a terminal is for the worker
        )

    async def _keep_log(self, stderr: asyncio.StreamReader | None) -> None:
        """Read what llama.cpp says for as long as it lives; only the last lines are kept."""
        rest = b""
        while stderr and (data := await stderr.read(LOG_LINE_BYTES)):
            *lines, rest = (rest + data).split(b"\n")
            self._log.extend(line.decode(errors="replace") for line in lines)
            rest = rest[-LOG_LINE_BYTES:]
        self._log.append(rest.decode(errors="replace"))

    async def _end(self) -> int | None:
        """Make sure that there is no child; returns how the last one ended."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.stdin:
            process.stdin.close()
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                status = await process.wait()
        except TimeoutError:  # still loading, and deaf until then
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            status = await process.wait()
        if self._logging:
            await self._logging
        return status


async def _answers(host: str, port: int) -> bool:
    """Whether anybody listens: a child that was killed is refused before it is known to be dead."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _line(stdout: asyncio.StreamReader | None) -> dict[str, Any]:
    """The one line that the child says, or {} if it ended without."""
    line = await stdout.readline() if stdout else b""
    said: dict[str, Any] = json.loads(line) if line else {}
    return said


def _why(plan: Plan, status: int | None, said: str, log: Sequence[str]) -> str:
    """One sentence that says why the server does not run, and what to do about it."""
    lines = [_LOG_PREFIX.sub("", line) for line in log if line]
    if status == -signal.SIGKILL or any(_MEMORY.search(line) for line in lines):
        return (
            f"there is not enough memory for {plan.path} with {plan.parallel} streams of"
            f" {plan.context_tokens} tokens: lower the endpoint's concurrency, or choose a"
            " smaller model"
        )
    if fault := library.load_fault(status, said):
        return fault
    for line in lines:
        if _LOADING in line:
            return (
                f"llama.cpp cannot load {plan.path}: {line.partition(_LOADING)[2]}; download the"
                " file again, or upgrade xllamacpp if the model is newer than it"
            )
    quoted = " | ".join([*filter(None, [said]), *lines[-3:]]) or "it said nothing"
    return f"the embedded server for {plan.path} ended with status {status}: {quoted}"
