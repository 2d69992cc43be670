"""Reads become blocks of whole frames, and blocks bare JSON lines, or they are left to the careful lane."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.reading import bytewise, cut
from worker.wire.framing.blocks import BlockReader, Packed, pack_events, pack_lines
from worker.wire.framing.incremental import JsonLines


def keep():
    return {"a": None}


def blocks(boundary, pieces, *, limit=1000, lone_cr=True):
    intake = BlockReader(boundary, JsonLines(limit, keep), limit=limit, lone_cr=lone_cr)
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


ONE, TWO = b'{"a":1}', b'{"a":2}'
BOTH = ONE + b"\n" + TWO


@pytest.mark.parametrize(
    ("block", "packed"),
    [
        (b"data: %b\n\n" % ONE, Packed(ONE, 1)),
        (b"data: %b\n\ndata: %b\n\n" % (ONE, TWO), Packed(BOTH, 2)),
        (b"data:%b\n\ndata:%b\n\n" % (ONE, TWO), Packed(BOTH, 2)),
        (b"data: %b\n\ndata: [DONE]\n\n" % ONE, Packed(ONE, 1, sentinel=True)),
        (b"data:[DONE]\n\n", Packed(b"", 0, sentinel=True)),
        (b": hi\n\n", Packed(b"", 0)),
        (b": hi\n\ndata: %b\n\n:\n\n: b\n\ndata: %b\n\n" % (ONE, TWO), Packed(BOTH, 2)),
        (b"event: x\ndata: %b\n\nevent: y\ndata: %b\n\n" % (ONE, TWO), Packed(BOTH, 2)),
        (b"event: error\ndata: %b\n\n" % ONE, None),
        (b"event: ping\ndata: %b\n\n" % ONE, None),
        (b"event: x\nevent: y\ndata: %b\n\n" % ONE, None),
        (b"event: x\ndata: %b\ndata: 2\n\n" % ONE, None),
        (b"event: x\n%b\n\n" % ONE, None),
        (b"event: x\ndata: %b\n\nevent: y\n%b\n\n" % (ONE, TWO), None),
        (b"\ndata: %b\n\n" % ONE, None),
        (b"id: 1\ndata: %b\n\n" % ONE, None),
        (b"error: %b\n\n" % ONE, None),
    ],
)
def test_packing_events(block, packed):
    assert pack_events(block) == packed


@pytest.mark.parametrize(
    "block",
    [
        b"data: %b\n%b\n\n" % (ONE, TWO),
        b"data: %b\n\n%b\n\n" % (ONE, TWO),
        b"data: %b\ndata: %b\n\n" % (ONE, TWO),
        b"data: %b\n\n\ndata: %b\n\n" % (ONE, TWO),
        b"data: %b\nid: 1\n\ndata: %b\n\n" % (ONE, TWO),
        b"data: %b\n: hi\n\ndata: %b\n\n" % (ONE, TWO),
        b"data: %b\ndata: [DONE]\n\n" % ONE,
    ],
)
def test_other_layouts_do_not_hold_what_they_promise(block):
    """Whatever number of objects a parser finds in them."""
    packed = pack_events(block)
    assert not any(packed.holds(found) for found in range(4))


def test_packing_lines():
    assert pack_lines(BOTH + b"\n") == Packed(BOTH, 2)


@pytest.mark.parametrize(
    ("lines", "frames", "found", "holds"),
    [
        (b"", 0, 0, True),
        (b"", 0, 1, False),
        (ONE, 1, 1, True),
        (BOTH, 2, 2, True),
        (BOTH, 1, 2, False),
        (BOTH, 2, 1, False),
        (b'{"a":\n1}{"a":2}', 2, 2, False),
        (b'{"a":1}\n\n{"a":2}', 2, 2, False),
        (b'{"a":1}{"a":2}', 2, 2, False),
        (b'{"a":1} \n{"a":2}', 2, 2, False),
        (b'{"a":\n1}', 1, 1, False),
    ],
)
def test_a_block_holds_one_object_per_frame_or_nothing(lines, frames, found, holds):
    assert Packed(lines, frames).holds(found) is holds


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
    intake = BlockReader(b"\n", machine, limit=10**9, lone_cr=False)
    pieces = [Counting(b'{"x":"' if n == 0 else b"y" * 100) for n in range(5000)]
    for piece in pieces:
        for block, _ in intake.blocks(piece):
            assert not list(machine.frames(Counting(block)))
    assert Counting.seen <= 3 * sum(map(len, pieces))
