"""Frames are found in any bytes, by the rules of their framing, and nobody's lines are not held."""

import pytest

from tests.wire.reading import bytewise, cut
from worker.wire.framing.frames import Frame, FrameKind
from worker.wire.framing.incremental import EventLines, JsonLines


def keep():
    return {"a": None}


def frames(machine, pieces):
    found = [frame for piece in pieces for frame in machine.frames(piece)]
    return found + list(machine.end())


def events(data, limit=1000):
    whole = frames(EventLines(limit, keep), [data])
    for pieces in (bytewise(data), cut(data, range(0, len(data), 3))):
        assert frames(EventLines(limit, keep), pieces) == whole
    return whole


ERROR, BARE = FrameKind.ERROR_FIELD, FrameKind.BARE


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"data: a\n\n", [Frame(b"a")]),
        (b"data:a\n\ndata:  b\n\n", [Frame(b"a"), Frame(b" b")]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [Frame(b"a"), Frame(b"b"), Frame(b"c")]),
        (b"data: a\ndata: b\n\n", [Frame(b"a\nb")]),
        (b"data: a\r\ndata: b\r\n\r\n", [Frame(b"a\nb")]),
        (b"data: a\rdata: b\r\r", [Frame(b"a\nb")]),
        (b"data: a\n: c\nid: 1\nretry: 2\nfoo: 3\nbar\ndata:b\n\n", [Frame(b"a\nb")]),
        (b"event: e\ndata: a\n\ndata: b\n\n", [Frame(b"a", "e"), Frame(b"b")]),
        (b"event: e\nevent: f\ndata: a\n\n", [Frame(b"a", "f")]),
        (b"event: e\n\ndata: a\n\n", [Frame(b"a")]),
        (b"data\n\n", [Frame(b"")]),
        (b"data:\n\n", [Frame(b"")]),
        (b"data\ndata\n\n", [Frame(b"\n")]),
        (b"dat: a\n\ndatax: b\n\n Data: c\n\n", []),
        (b"error: {}\n\n", [Frame(b"{}", nature=ERROR)]),
        (b"data: a\nerror: x\n\n", [Frame(b"x", nature=ERROR), Frame(b"a")]),
        (b'{"error":"data: x"}\n', [Frame(b'{"error":"data: x"}', nature=BARE)]),
        (b"data: a", [Frame(b"a", tail=True)]),
        (b"data: a\n", [Frame(b"a", tail=True)]),
        (b"data: a\ndata: b", [Frame(b"a\nb", tail=True)]),
        (b"error: x", [Frame(b"x", nature=ERROR, tail=True)]),
        (b"data", [Frame(b"", tail=True)]),
        (b"event: e", []),
        (b"\n\n\n:\n\n", []),
        (b"event:" + b"e" * 999 + b"\ndata: a\n\n", [Frame(b"a", "e" * 256)]),
        (
            "data: \u2028\u2029\u0085\x0b\x0c\x1c\n\n".encode(),
            [Frame("\u2028\u2029\u0085\x0b\x0c\x1c".encode())],
        ),
    ],
)
def test_events(data, found):
    assert events(data) == found


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"a\nb\n", [Frame(b"a"), Frame(b"b"), Frame(b"", tail=True)]),
        (b"a\r\n\nb", [Frame(b"a\r"), Frame(b""), Frame(b"b", tail=True)]),
        (
            "\u2028\u0085\x0b\r\x1e\n".encode(),
            [Frame("\u2028\u0085\x0b\r\x1e".encode()), Frame(b"", tail=True)],
        ),
    ],
)
def test_lines(data, found):
    for pieces in ([data], bytewise(data)):
        assert frames(JsonLines(1000, keep), pieces) == found
