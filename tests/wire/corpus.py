"""The transcripts: bodies as servers sent them, and what each has to yield.

Bodies alone stand beside `cases.json` and `more.json`; whole answers of real peers, as they came
over the wire, in `peers/`; and streams from public issue trackers, written anew, in
`oddities.json` (ODDITIES.md is their log).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.wire.reading import Reading, decoder
from worker.wire.decoder import StreamDecoder
from worker.wire.tool_calls import assemble_tool_calls

FOLDER = Path(__file__).with_name("transcripts")
PEERS = FOLDER / "peers"
_BIG_BYTES = 2500  # of a peer's answer; to cut one at every byte takes the square of its length
_CONTAINERS = (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS)  # gzip or zlib, and bare deflate


@dataclass(frozen=True)
class Case:
    file: str
    dialect: str
    status: int
    headers: dict[str, str]
    expect: dict[str, Any]
    is_big: bool
    is_gzip: bool
    is_reset: bool
    raw: bytes = field(repr=False)
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.file

    @property
    def body(self) -> bytes:
        """The body as the decoder gets it: a cut gzip stream gives what could be inflated."""
        packed = self.is_gzip or "content-encoding" in self.headers
        return inflated(self.raw) if packed else self.raw

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    def decoder(self, **settings: Any) -> StreamDecoder:
        """A fresh decoder, as the worker would make it for this case."""
        settings = {"content_type": self.content_type, "options": self.options} | settings
        return decoder(self.dialect, **settings)


def inflated(raw: bytes) -> bytes:
    for container in _CONTAINERS:
        with suppress(zlib.error):
            return zlib.decompressobj(container).decompress(raw)
    return raw  # a label without compression


def split_answer(raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer as it came over the wire."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    if headers.pop("transfer-encoding", "") == "chunked":
        body = b"".join(_chunks(body))
    for name in ("content-length", "connection", "keep-alive"):
        headers.pop(name, None)
    return int(first.split()[1]), headers, body


def _chunks(body: bytes) -> list[bytes]:
    chunks = []
    while body:
        size, _, body = body.partition(b"\r\n")
        chunks.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return chunks


def _rows(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((FOLDER / name).read_text("utf-8"))
    return rows


def _case(row: dict[str, Any], raw: bytes, status: int, headers: dict[str, str]) -> Case:
    return Case(
        file=row.get("file") or row["id"],
        dialect=row["dialect"],
        status=status,
        headers=headers,
        expect=row["expect"],
        is_big=row.get("big", len(raw) > _BIG_BYTES and "headers" not in row),
        is_gzip=row.get("content_encoding") == "gzip",
        is_reset=row.get("transport_end") == "reset",
        raw=raw,
        options=row.get("options", {}),
    )


def _load() -> list[Case]:
    bodies = [
        _case(row, (FOLDER / row["file"]).read_bytes(), row["status"], row["headers"])
        for name in ("cases.json", "more.json")
        for row in _rows(name)
    ]
    odd = [_case(row, row["body"].encode(), 200, {}) for row in _rows("oddities.json")]
    peers = []
    for row in _rows("peers.json"):
        status, headers, raw = split_answer((PEERS / row["file"]).read_bytes())
        if "expect" in row:
            peers.append(_case(row, raw, status, headers))
    return bodies + peers + odd


CASES = _load()
STREAMS = [case for case in CASES if case.status == 200]
SMALL = [case for case in STREAMS if not case.is_big]
BIG = [case for case in STREAMS if case.is_big]
REJECTIONS = [case for case in CASES if case.status != 200]


def check(case: Case, reading: Reading, where: str) -> None:
    """The reading is what the case expects, to the last character."""
    want = case.expect
    error = "" if reading.is_done else str(reading.error)
    got = {
        "outcome": reading.outcome,
        "thinking": reading.thinking or None,
        "finish_reason": reading.finish_reason,
        "prompt_tokens": reading.usage.prompt_tokens,
        "completion_tokens": reading.usage.completion_tokens,
    }
    assert got == {key: want[key] for key in got}, f"{case} {where}: {error}"
    if "text" in want:
        assert reading.text == want["text"], f"{case} {where}"
    else:
        digest = hashlib.sha256(reading.text.encode()).hexdigest()
        assert (digest, len(reading.text)) == (want["text_sha256"], want["text_len"]), case
    assert (want["error_contains"] or "") in error, f"{case} {where}"
    if "tool_calls" in want:
        calls = assemble_tool_calls(reading.tool_calls)
        named = [{"name": call["name"], "arguments": call["arguments"]} for call in calls]
        assert named == want["tool_calls"], f"{case} {where}"
    if "extras" in want:
        assert [kind for kind, _ in reading.extras] == want["extras"], f"{case} {where}"
