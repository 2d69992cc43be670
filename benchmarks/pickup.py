"""From INSERT to request: `python -m benchmarks.pickup DATABASE_URL PORT COUNT`.

Listens where the worker's endpoint points, inserts one prompt at a time with plain
SQL as any client would, and takes the time from before the statement to the moment
at which the worker's request has arrived.
"""

from __future__ import annotations

import random
import select
import socket
import sys
import time
from typing import Any

from benchmarks import harness

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: %d\r\n\r\n%s"
DONE = b'{"message":{"role":"assistant","content":"ok"},"done":true,"done_reason":"stop"}\n'


class Endpoint:
    """Answers every request with a done frame at once."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._open: list[socket.socket] = []

    def arrived(self, timeout: float) -> float:
        """When the next whole request has come; it is answered."""
        until = time.perf_counter() + timeout
        while (left := until - time.perf_counter()) > 0:
            readable, _, _ = select.select([self._listener, *self._open], [], [], left)
            for sock in readable:
                if sock is self._listener:
                    self._open.append(sock.accept()[0])
                    continue
                data = sock.recv(65536)
                if b"\r\n\r\n" in data and b"POST" in data:
                    at = time.perf_counter()
                    sock.sendall(ANSWER % (len(DONE), DONE))
                    return at
                if b"\r\n\r\n" in data:
                    sock.sendall(ANSWER % (2, b"{}"))
                if not data:
                    self._open.remove(sock)
        raise SystemExit("no request came")


def main() -> None:
    url, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    connection: Any
    if url.startswith("sqlite"):
        import sqlite3

        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    else:
        import psycopg

        connection = psycopg.connect(url, autocommit=True)
    endpoint = Endpoint(port)
    took, chance = [], random.Random(1)
    for number in range(count + 5):
        time.sleep(0.1 + chance.random() * 0.1)  # the worker is idle again, at no fixed phase
        began = time.perf_counter()
        connection.execute("INSERT INTO prompts (prompt) VALUES ('Explain streaming')")
        arrived = endpoint.arrived(20)
        if number >= 5:  # the first ones find the worker starting
            took.append((arrived - began) * 1000)
    took.sort()
    harness.report(p50=took[len(took) // 2], p99=took[int(len(took) * 0.99)], most=took[-1])


if __name__ == "__main__":
    main()
