"""The transcripts: bodies as servers sent them, and what each has to yield."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.wire.reading import Reading

FOLDER = Path(__file__).with_name("transcripts")


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

    def __str__(self) -> str:
        return self.file

    @property
    def body(self) -> bytes:
        """The body as the decoder gets it: a cut gzip stream gives what could be inflated."""
        raw = (FOLDER / self.file).read_bytes()
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(raw) if self.is_gzip else raw

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")


def _load() -> list[Case]:
    return [
        Case(
            file=case["file"],
            dialect=case["dialect"],
            status=case["status"],
            headers=case["headers"],
            expect=case["expect"],
            is_big=case.get("big", False),
            is_gzip=case.get("content_encoding") == "gzip",
            is_reset=case.get("transport_end") == "reset",
        )
        for name in ("cases.json", "more.json")
        for case in json.loads((FOLDER / name).read_text("utf-8"))
    ]


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
