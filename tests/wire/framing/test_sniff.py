"""The first bytes tell a stream from a document, in any pieces, and a byte order mark goes away."""

import pytest

from tests.wire.reading import bytewise
from worker.wire.framing.sniff import BodyKind, BodySniffer, judge_events, judge_lines

STREAM, WHOLE, UNDECIDED = BodyKind.STREAM, BodyKind.WHOLE, BodyKind.UNDECIDED


@pytest.mark.parametrize(
    ("judge", "start", "sort"),
    [
        (judge_lines, b'{"a":1}\n', STREAM),
        (judge_lines, b'{ "a":1}\n', STREAM),
        (judge_lines, b"{}", STREAM),
        (judge_lines, b"{", UNDECIDED),
        (judge_lines, b"{  ", UNDECIDED),
        (judge_lines, b"{ \n", WHOLE),
        (judge_lines, b"{\r\n", WHOLE),
        (judge_lines, b"[\n", WHOLE),
        (judge_lines, b"[1]", STREAM),
        (judge_lines, b" \n<!doctype html>", WHOLE),
        (judge_lines, b"data: x", STREAM),
        (judge_lines, b"\n \n", UNDECIDED),
        (judge_events, b"data: x", STREAM),
        (judge_events, b": comment", STREAM),
        (judge_events, b"{", WHOLE),
        (judge_events, b"\n[", WHOLE),
        (judge_events, b"<html>", WHOLE),
        (judge_events, b"Bad Gateway", STREAM),
        (judge_events, b"", UNDECIDED),
    ],
)
def test_judging(judge, start, sort):
    assert judge(start) is sort


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_mark_is_taken_off_once_in_any_pieces(mark):
    data = mark + b'\xef\xbb\xbf{"a":1}'
    for pieces in ([data], bytewise(data)):
        opening = BodySniffer(judge_lines)
        held = b""
        for number, piece in enumerate(pieces):
            sort, out = opening.feed(piece)
            held += out
            if sort is not UNDECIDED:
                held += b"".join(pieces[number + 1 :])
                break
            assert opening.held_bytes <= 4
        assert held == data[3:]


def test_a_start_of_the_mark_that_is_none_is_kept():
    opening = BodySniffer(judge_lines)
    assert opening.feed(b"\xef\xbb") == (UNDECIDED, b"")
    assert opening.feed(b"x") == (STREAM, b"\xef\xbbx")


def test_endless_blanks_are_not_held():
    opening = BodySniffer(judge_lines)
    assert opening.feed(b" " * 600) == (UNDECIDED, b"")
    assert opening.feed(b" " * 600) == (STREAM, b" " * 1200)
    assert opening.held_bytes == 0


def test_the_end_gives_back_what_was_held():
    opening = BodySniffer(judge_lines)
    opening.feed(b"{")
    assert opening.held_bytes == 1
    assert (opening.end(), opening.end()) == (b"{", b"")
