"""Reads become blocks of whole frames, and blocks bare JSON lines, or they are left to the careful lane."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.reading import bytewise, cut
from worker.wire.careful import JsonLines
from worker.wire.fast import Intake, Packed, is_plain, pack_events, pack_lines


def keep():
    return {"a": None}


def blocks(boundary, pieces, *, limit=1000, lone_cr=True):
    intake = Intake(boundary, JsonLines(limit, keep), limit=limit, lone_cr=lone_cr)
    found = [block for piece in pieces for block in intake.blocks(piece) if block[0]]
    return found, intake.end()


def test_whole_frames_go_down_the_fast_lane_and_the_rest_waits():
    assert blocks(b"\n\n", [b"a\n\nb\n\nc"]) == ([(b"a\n\nb\n\n", True)], b"c")
    assert blocks(b"\n\n", [b"a\n", b"\nb"]) == ([(b"a\n\n", True)], b"b")
    assert blocks(b"\n\n", [b"a", b"\n", b"\n"]) == ([(b"a\n\n", True)], b"")
    assert blocks(b"\n", [b"a", b"b\nc"]) == ([(b"ab\n", True)], b"c")


def test_crlf_is_lf_in_any_cut():
    for pieces in ([b"a\r\n\r\nb"], bytewise(b"a\r\n\r\nb")):
        assert blocks(b"\n\n", pieces) == ([(b"a\n\n", True)], b"b")


def test_a_lone_cr_is_for_the_machine_from_then_on():
    found, rest = blocks(b"\n\n", [b"x\n\na\r", b"b\n\n", b"c\n\n"])
    assert found == [(b"x\n\n", True), (b"a\rb\n\n", False), (b"c\n\n", False)]
    assert rest == b""
    assert blocks(b"\n", [b"a\rb\nc\r"], lone_cr=False) == ([(b"a\rb\n", True)], b"c\r")


def test_a_long_frame_is_for_the_machine_until_it_ends():
    found, rest = blocks(b"\n", [b"a\n" + b"x" * 30, b"x" * 30, b"x\nb\nc"], limit=20)
    assert found == [
        (b"a\n", True),
        (b"x" * 30, False),
        (b"x" * 30, False),
        (b"x\n", False),
        (b"b\n", True),
    ]
    assert rest == b"c"


@given(st.binary(), st.lists(st.integers(0, 100)), st.sampled_from([b"\n", b"\n\n"]))
def test_blocks_are_the_body_with_lf_for_crlf(data, places, boundary):
    found, rest = blocks(boundary, cut(data, places), limit=5)
    joined = b"".join(block for block, _ in found) + rest
    plain = data.replace(b"\r\n", b"\n")
    assert joined.replace(b"\r\n", b"\n") == plain


@pytest.mark.parametrize(
    ("block", "packed"),
    [
        (b'data: {"a":1}\n\n', Packed(b'{"a":1}')),
        (b'data: {"a":1}\n\ndata: {"a":2}\n\n', Packed(b'{"a":1}\n{"a":2}')),
        (b'data:{"a":1}\n\ndata:{"a":2}\n\n', Packed(b'{"a":1}\n{"a":2}')),
        (b'data: {"a":1}\n\ndata: [DONE]\n\n', Packed(b'{"a":1}', sentinel=True)),
        (b"data:[DONE]\n\n", Packed(b"", sentinel=True)),
        (b": hi\n\n", Packed(b"")),
        (b': hi\n\ndata: {"a":1}\n\n:\n\n: b\n\ndata: {"a":2}\n\n', Packed(b'{"a":1}\n{"a":2}')),
        (b'event: x\ndata: {"a":1}\n\nevent: y\ndata: {"a":2}\n\n', Packed(b'{"a":1}\n{"a":2}')),
        (b'event: error\ndata: {"a":1}\n\n', None),
        (b'event: ping\ndata: {"a":1}\n\n', None),
        (b'event: x\nevent: y\ndata: {"a":1}\n\n', None),
        (b'event: x\ndata: {"a":1}\ndata: 2\n\n', None),
        (b'\ndata: {"a":1}\n\n', None),
        (b'id: 1\ndata: {"a":1}\n\n', None),
        (b'error: {"a":1}\n\n', None),
    ],
)
def test_packing_events(block, packed):
    assert pack_events(block) == packed


def test_packing_lines():
    assert pack_lines(b'{"a":1}\n{"a":2}\n') == Packed(b'{"a":1}\n{"a":2}')


@pytest.mark.parametrize(
    ("lines", "count", "plain"),
    [
        (b'{"a":1}', 1, True),
        (b'{"a":1}\n{"a":2}', 2, True),
        (b'{"a":\n1}{"a":2}', 2, False),
        (b'{"a":1}\n\n{"a":2}', 2, False),
        (b'{"a":1}{"a":2}', 2, False),
        (b'{"a":1} \n{"a":2}', 2, False),
        (b'{"a":\n1}', 1, False),
    ],
)
def test_plain_is_one_object_per_line(lines, count, plain):
    assert is_plain(lines, count) is plain


def test_long_lines_are_read_in_linear_time():
    """Only new bytes are searched: ten times the frame is not a hundred times the bytes looked at."""

    class Counting(bytes):
        seen = 0

        def find(self, *args):
            Counting.seen += len(self)
            return super().find(*args)

        def rfind(self, *args):
            Counting.seen += len(self)
            return super().rfind(*args)

    machine = JsonLines(10**9, keep)
    intake = Intake(b"\n", machine, limit=10**9, lone_cr=False)
    pieces = [Counting(b'{"x":"' if n == 0 else b"y" * 100) for n in range(5000)]
    for piece in pieces:
        for block, _ in intake.blocks(piece):
            assert not list(machine.frames(Counting(block)))
    assert Counting.seen <= 3 * sum(map(len, pieces))
