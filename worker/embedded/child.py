"""The child: llama.cpp's own HTTP server, and the promise to end with the parent.

It holds nothing that is worth a farewell.  It ends when its standard input
does, and so with its parent however that ends.  It ignores SIGINT and SIGTERM,
which terminals and service managers send to a worker's children as well,
because the worker may still be draining its streams.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from worker.embedded.server import CONTEXT_TOKENS
from worker.http.loopback import IPV4

SLOTS_MAX = 64  # streams generated at the same time; further requests wait inside the server
SPARE_HTTP_THREADS = 8  # each open response holds one thread; these are left for probes
HEALTH_TIMEOUT_SECONDS = 30.0

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one model over HTTP on loopback until standard input ends."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.embedded.child", description=main.__doc__
    )
    parser.add_argument("--model", required=True, help="path of a GGUF file")
    parser.add_argument("--host", default=IPV4, help="the loopback address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--parallel", type=int, default=1, help="streams at the same time")
    parser.add_argument("--context", type=int, default=CONTEXT_TOKENS, help="tokens per stream")
    wanted = parser.parse_args(arguments)
    _end_with_parent()
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever llama.cpp prints is log
    try:
        server = _serve(wanted)
        port = _answering(wanted.host, server.listening_address)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to be told
        answer.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        answer.flush()
        os._exit(1)
    answer.write(json.dumps({"port": port}) + "\n")
    answer.close()
    threading.Event().wait()


def _end_with_parent() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        # llama.cpp holds the interpreter while it loads; the thread below cannot run then.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 64):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def _serve(wanted: argparse.Namespace) -> Any:
    """llama.cpp's own HTTP server; returns when the model is loaded and the port is open."""
    llama = importlib.import_module("xllamacpp")
    slots = max(1, min(wanted.parallel, SLOTS_MAX))
    params = llama.CommonParams()
    params.model.path = wanted.model
    params.model_alias = {Path(wanted.model).stem}  # else answers would carry the file's path
    params.hostnames = [wanted.host]
    params.port = wanted.port
    params.reuse_port = wanted.port != 0
    params.n_parallel = slots
    params.n_ctx = slots * wanted.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    params.n_threads_http = wanted.parallel + SPARE_HTTP_THREADS
    params.cache_ram_mib = 0  # prompts of earlier streams are not kept beyond their slots
    params.cache_idle_slots = False
    params.verbosity = 1  # errors only
    params.ui = False
    params.cors_origins = ""  # no page in a browser has business here
    return llama.Server(params)


def _answering(host: str, address: str) -> int:
    """The port of the server at `address`, which was asked, and is well."""
    port = int(address.rpartition(":")[2])
    connection = HTTPConnection(host, port, timeout=HEALTH_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != HTTPStatus.OK:
        raise RuntimeError(f"/health answers {status}")
    return port


def _threads() -> int:
    """Half of the processors, at least one.

    The threads of llama.cpp wait for each other, spinning, many times a token.  Where they have
    to share a processor with anything else, such as the worker itself, that costs more than they
    bring: on two busy processors, two threads were measured at a tenth of the speed of one.
    """
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return (processors + 1) // 2


if __name__ == "__main__":
    main()
