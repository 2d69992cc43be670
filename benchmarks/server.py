"""Starts server.c, which is compiled when it is first needed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import frames, harness

SOURCE = Path(__file__).with_name("server.c")
NAME = "server.c: prepared frames, epoll, one thread; TLS: OpenSSL, a thread for each connection"


class Server:
    """A running server; `stats` is there once it has ended."""

    def __init__(self, process: subprocess.Popen[str], scheme: str) -> None:
        assert process.stdout is not None
        self.process = process
        self.url = f"{scheme}://127.0.0.1:{int(process.stdout.readline())}"
        self.stats: harness.Sample = {}

    def stop(self) -> harness.Sample:
        """End it; what it did: see the head of server.c."""
        if not self.stats:
            out, _ = self.process.communicate()
            self.stats = json.loads(out)
        return self.stats


@contextmanager
def serving(
    dialect: str,
    *,
    count: int,
    group: int = 1,
    rate: float = 0,
    texts: Sequence[str] = tuple(frames.TOKENS),
    tls: tuple[Path, Path] | None = None,
) -> Iterator[Server]:
    """Answer every request with `count` frames, `group` of them in each HTTP chunk."""
    program = _program()
    with tempfile.TemporaryDirectory(prefix="spool-bench-") as folder:
        body, tail = Path(folder, "frames"), Path(folder, "tail")
        frames.write(body, frames.of(dialect, texts))
        tail.write_bytes(frames.TAILS[dialect])
        arguments = [program, body, tail, count, group, rate, *(tls or ())]
        process = subprocess.Popen(
            list(map(str, arguments)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=harness.prefer,
        )
        os.sched_setaffinity(process.pid, {harness.SERVER_CORE})
        server = Server(process, "https" if tls else "http")
        try:
            yield server
        finally:
            server.stop()


def _program() -> Path:
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"spool-bench-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    program = folder / f"server-{digest}"
    if not program.exists():
        compile_ = ["cc", "-O2", "-o", f"{program}.new", str(SOURCE), "-lpthread"]
        with_tls = [*compile_, "-DWITH_TLS", "-lssl", "-lcrypto"]
        if subprocess.run(with_tls, stderr=subprocess.DEVNULL, check=False).returncode:
            subprocess.run(compile_, check=True)  # no OpenSSL headers: no TLS rows
        Path(f"{program}.new").rename(program)
    return program


def has_tls() -> bool:
    """Whether the server could be built with OpenSSL."""
    return b"SSL_accept" in _program().read_bytes()
