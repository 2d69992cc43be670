"""Table 1: from the socket to decoded events, one stream, one core.

Counted are frames per second of processor time that the reading process used, in
the kernel as well: what one core reads that has nothing else to do.  On a quiet
machine with a fast server this is the rate of the clock on the wall; here other
processes take the core away for half of the time, and from each contestant another
half.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks import harness, server
from benchmarks.harness import Sample, Table
from worker.wire.framing import template

ENDLESS = 10**12
CERTIFICATE = harness.ROOT / "tests" / "fakes" / "test-only-localhost.crt"
TRUST = {"SSL_CERT_FILE": str(CERTIFICATE), "REQUESTS_CA_BUNDLE": str(CERTIFICATE)}

NAMES = {
    "spool": "**Spool** (transport fast, uvloop: what a worker uses)",
    "spool-pure": "Spool without its compiled part",
    "spool-asyncio": "Spool (transport fast, asyncio)",
    "spool-httpx": "Spool (transport httpx)",
    "requests": "requests: iter_lines + json.loads",
    "aiohttp": "aiohttp: iter_any + msgspec",
    "httpx-msgspec": "httpx: aiter_raw + msgspec",
    "httpx-lines": "httpx: aiter_lines + json.loads",
    "ollama": "ollama, the official client",
    "openai": "openai, the official client",
}
NEEDS = {"requests": "requests", "aiohttp": "aiohttp", "ollama": "ollama", "openai": "openai"}
JSON_LINES = (
    "spool",
    "spool-pure",
    "spool-asyncio",
    "requests",
    "aiohttp",
    "httpx-msgspec",
    "httpx-lines",
)
SCENES: Sequence[tuple[str, str, int, bool, Sequence[str]]] = (
    ("JSON lines of /api/generate, one frame per HTTP chunk", "ollama-generate", 1, False,
     (*JSON_LINES, "ollama")),
    ("JSON lines of /api/chat, one frame per HTTP chunk", "ollama-chat", 1, False,
     (*JSON_LINES, "ollama")),
    ("Server-sent events, one frame per HTTP chunk", "openai-chat", 1, False,
     ("spool", "spool-pure", "spool-asyncio", "httpx-lines", "openai")),
    ("JSON lines of /api/chat, 64 frames per HTTP chunk", "ollama-chat", 64, False,
     (*JSON_LINES, "ollama")),
    ("Server-sent events, 64 frames per HTTP chunk", "openai-chat", 64, False,
     ("spool", "spool-pure", "httpx-lines", "openai")),
    ("JSON lines of /api/chat over TLS, one frame per chunk and record", "ollama-chat", 1, True,
     (*JSON_LINES, "ollama")),
    ("Server-sent events over TLS, one frame per chunk and record", "openai-chat", 1, True,
     ("spool", "spool-pure", "httpx-lines", "openai")),
)  # fmt: skip


def tables(*, short: bool) -> Iterator[Table]:
    """Frames per second, and how many times more Spool reads in the same round."""
    for title, dialect, group, tls, readers in SCENES:
        yield _table(title, dialect, group, readers, tls=tls, short=short)


def _table(
    title: str, dialect: str, group: int, readers: Sequence[str], *, tls: bool, short: bool
) -> Table:
    table = Table(
        f"Reading: {title}",
        (
            "reader",
            "frames per core-second",
            "Spool reads x times more (min..max of the rounds)",
            "busy",
        ),
        notes=[server.NAME],
    )
    if tls and not server.has_tls():
        table.notes = ["missing: no OpenSSL headers to compile the TLS server with"]
        return table
    absent = harness.missing(*(NEEDS[name] for name in readers if name in NEEDS))
    keys = (CERTIFICATE, Path(CERTIFICATE).with_suffix(".key")) if tls else None
    with server.serving(dialect, count=ENDLESS, group=group, tls=keys) as running:
        measure = {
            name: partial(_read, name, running.url, dialect, 0.6 if short else 1.5)
            for name in readers
            if NEEDS.get(name) not in absent
        }
        found = harness.alternated(measure, 3 if short else 7)
    for name in readers:
        if name not in found:
            table.add(NAMES[name], "missing", "not installed", "")
            continue
        ratios = harness.ratios(found["spool"], found[name], "frames")
        table.add(
            NAMES[name],
            harness.rounded(harness.median(found[name], "frames")),
            "1" if name == "spool" else harness.spread(ratios),
            f"{harness.median(found[name], 'busy'):.0%}",
        )
    if template.pour is None:
        table.notes.append("Spool is installed without its compiled part here")
    table.notes.append(harness.versions(*(NEEDS[name] for name in readers if name in NEEDS)))
    return table


def _read(name: str, url: str, dialect: str, seconds: float) -> Sample:
    return harness.child(
        "benchmarks.readers", name, url, dialect, seconds, env=TRUST, preferred=True
    )
