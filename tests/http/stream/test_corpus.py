"""Every transcript arrives byte for byte, over both transports and in every framing."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from types import NoneType

import pytest

from tests.fakes.answer import Script
from worker.errors import Broken
from worker.wire import DIALECTS, failure

pytestmark = pytest.mark.anyio
FOLDER = Path(__file__).parent.parent.parent / "wire" / "transcripts"
CASES = [
    case for name in ("cases.json", "more.json") for case in json.loads((FOLDER / name).read_text())
]


def plain(case: dict, body: bytes) -> bytes:
    """What is left of a body when its compression is undone, also of one that is cut."""
    if case.get("content_encoding") != "gzip":
        return body
    return zlib.decompressobj(31).decompress(body)


@pytest.mark.parametrize(("framing", "split"), [("chunked", 7), ("length", 0), ("close", 50)])
async def test_every_transcript_arrives_as_it_was_sent(way, framing, split):
    """The bytes of a success; the judgement of the wire on everything else."""
    for case in CASES:
        body = (FOLDER / case["file"]).read_bytes()
        reset = case.get("transport_end") == "reset" and framing != "close"
        way.server.scripts["/x"] = Script(
            body,
            case["status"],
            case["headers"],
            framing=framing,
            split=max(split, len(body) // 5000),
            end="cut" if reset else "clean",
        )
        ended, got = await way.outcome(way.ask(path="/x"), DIALECTS[case["dialect"]])
        if case["status"] == 200:
            assert type(ended) is (Broken if reset else NoneType), case["file"]
            assert got.removesuffix(b"half of it") == plain(case, body), case["file"]
        else:
            expected = failure(case["status"], case["headers"], body)
            assert type(ended) is type(expected), case["file"]
            assert (str(ended), ended.code) == (str(expected), expected.code), case["file"]


def test_the_corpus_has_what_this_test_is_about():
    """Errors, compressed bodies, whole and cut, and a reset."""
    assert {case["status"] for case in CASES} >= {200, 400, 401, 404, 429, 500, 503}
    packed = [case["file"] for case in CASES if case.get("content_encoding") == "gzip"]
    assert len(packed) == 2
    assert sum(zlib_ends(FOLDER / name) for name in packed) == 1
    assert any(case.get("transport_end") == "reset" for case in CASES)


def zlib_ends(path: Path) -> bool:
    machine = zlib.decompressobj(31)
    machine.decompress(path.read_bytes())
    return machine.eof
