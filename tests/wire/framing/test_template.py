"""Frames that differ in their text alone are read by what is left without the rest, and no others.

By the compiled part, and without it.
"""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.wire.framing import template as lane
from worker.wire.framing.template import FrameTemplate, Match
from worker.wire.framing.text_only import plain

BLANK = b"\n\n"
POURS = {"by arithmetic": None} | ({"compiled": lane.pour} if lane.pour else {})


@pytest.fixture(params=POURS)
def pour(request, monkeypatch):
    """With the compiled part and without it."""
    monkeypatch.setattr(lane, "pour", POURS[request.param])
    return POURS[request.param]


class Said(msgspec.Struct):
    """A frame for the tests of the lane itself."""

    t: str
    n: int = 0


class At(msgspec.Struct):
    """A frame whose text has the name of what means nothing."""

    at: str


def texts(frames):
    return None if any(frame.n for frame in frames) else [frame.t for frame in frames]


PLAIN = plain(Said, texts)


def event(text, **more):
    return b"data: " + json.dumps({"id": "abc", "t": text, "end": None, **more}).encode() + b"\n\n"


def events(*said):
    return b"".join(map(event, said))


@pytest.fixture
def mould(pour):
    """One that has seen a frame."""
    made = FrameTemplate(BLANK)
    assert made.read(event("Hello"), PLAIN) == Match(1, "Hello")
    return made


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_texts_are_joined_in_order(count, pour):
    """One frame or many."""
    said = ["first", *(f'{number} }}\n{{ \\ é 東 "' for number in range(1, count))]
    assert FrameTemplate(BLANK).read(events(*said), PLAIN) == Match(count, "".join(said))


def test_letters_that_are_not_escaped_are_read(mould):
    """Some servers write UTF-8."""
    block = event("x").replace(b'"x"', '"é東😀"'.encode()) + event("y")
    assert mould.read(block, PLAIN) == Match(2, "é東😀y")


@pytest.mark.parametrize(
    "more",
    [{"x": "a text of ours"}, {"a text of ours": "1"}, {"end": "a text of ours"}],
    ids=["as a value", "as a key", "at the end"],
)
def test_a_text_that_is_the_probe_shows_no_mould(pour, more):
    """Else what is told as well would be taken for the text."""
    mould, other = FrameTemplate(BLANK), dict.fromkeys(more, "boo")
    assert mould.read(event("a text of ours", **more), PLAIN) is None
    assert mould.read(event("a", **more) + event("b", **other), PLAIN) is None


@pytest.mark.parametrize("text", ["東京", "привет ", "é", "\u2028", "😀"])
def test_a_text_in_any_script_shows_the_mould(pour, text):
    """If it is not escaped, as Go and most servers write it."""
    said = event("?").replace(b'"?"', f'"{text}"'.encode())
    assert FrameTemplate(BLANK).read(said * 3, PLAIN) == Match(3, text * 3)


def test_frames_that_show_no_mould_say_nothing_against_the_next(pour):
    """A model thinks first, and may think for a long time."""
    mould = FrameTemplate(BLANK)
    for other in (event("", n=1), event(""), event("\n"), b": ping\n\n", b"data: [DONE]\n\n") * 20:
        assert mould.read(other, PLAIN) is None
    assert mould.read(A + B, PLAIN) == Match(2, "ab")


def test_the_first_frame_may_look_like_its_surroundings(pour):
    """Its text stands elsewhere in the frame as well: then the next one shows the mould."""
    mould = FrameTemplate(BLANK)
    assert mould.read(event("id"), PLAIN) in {None, Match(1, "id")}
    assert mould.read(events("a", "id", "abc"), PLAIN) == Match(3, "aidabc")


A, B = event("a"), event("b")
REFUSED = {
    "another key": A + event("b", x=1),
    "another key, and as much less text": event("abcdef") + event("", x=1) + A,
    "a value that is not plain": A + event("b", n=1),
    "another order": A + b'data: {"t": "b", "id": "abc", "end": null}\n\n',
    "another id": A + B.replace(b"abc", b"abd"),
    "no text": A + B.replace(b'"b"', b"17"),
    "two texts": A + B.replace(b'"b"', b'"b", "t": "c"'),
    "a quote that ends the text": A + B.replace(b'"b"', b'"b"c"'),
    "a backslash before the end": A + B.replace(b'"b"', b'"b\\"'),
    "a backslash before the end of the last": B.replace(b'"b"', b'"b\\"'),
    "half an escape": A.replace(b'"a"', b'"\\u00"') + B.replace(b'"b"', b'"41"'),
    "an escape that JSON does not know": A + B.replace(b'"b"', b'"\\x"'),
    "half a letter": A.replace(b'"a"', b'"\xc3"') + B.replace(b'"b"', b'"\xa9"'),
    "half of a pair": A + B.replace(b'"b"', b'"\\ud83d"'),
    "a control character": A + B.replace(b'"b"', b'"\t"'),
    "the separator in a text": A + B.replace(b'"b"', b'"\x7f"'),
    "the separator in a text, escaped": A + B.replace(b'"b"', b'"\\u007f"'),
    "a comment": A + b": ping\n\n" + B,
    "an event name": A + b"event: error\n" + B,
    "an empty event": A + b"\n\n" + B,
    "an event over two lines": A + B.replace(b', "end', b',\ndata: "end'),
    "an event whose JSON has a line break": B.replace(b', "end', b',\n"end') * 2,
    "an event that begins with a line break": B.replace(b"data: ", b"data: \n") * 2,
    "an event that ends with a line break": B.replace(b"}\n", b"\n}\n") * 2,
    "a line of something else": A[:-1] + b"x\n" + B,
    "the sentinel": A + b"data: [DONE]\n\n",
    "only the end of a separator": b"\n",
    "no data": b": ping\n\n",
    "nothing whole": A[:-1],
}


@pytest.mark.parametrize("what", REFUSED)
def test_whatever_is_cast_otherwise_is_refused(what, pour):
    """By a mould that was found before as by a new one."""
    seen = FrameTemplate(BLANK)
    assert seen.read(event("Hello"), PLAIN)
    assert seen.read(REFUSED[what], PLAIN) is None
    assert FrameTemplate(BLANK).read(REFUSED[what], PLAIN) is None


def test_a_mould_that_does_not_fit_any_more_is_replaced(mould):
    """A gateway may change what it says about the model."""
    other = event("x", id="other") + event("y", id="other")
    assert mould.read(other, PLAIN) == Match(2, "xy")
    assert mould.read(events("z"), PLAIN) == Match(1, "z")


def test_a_server_that_never_repeats_itself_is_asked_a_few_times_only(pour):
    """To look for a mould costs as much as to read a frame."""
    mould, decoded = FrameTemplate(BLANK), []
    counting = replace(PLAIN, decode=lambda frame: decoded.append(frame) or PLAIN.decode(frame))
    for number in range(100):
        block = event("a", id=f"{2 * number}") + event("b", id=f"{2 * number + 1}")
        assert mould.read(block, counting) is None
    assert len(decoded) == 16, "two for each of eight"


def test_a_few_odd_blocks_do_not_end_it(mould):
    """Only those in a row count."""
    for _ in range(20):
        assert mould.read(A + event("b", x=1), PLAIN) is None
        assert mould.read(A + B, PLAIN) == Match(2, "ab")


PIECES = st.sampled_from(
    [
        b"a", b'"', b"\\", b"\\n", b"\\u00e9", b"\\ud83d", b"\\ude00", b"u0041", b"\xc3", b"\xa9", b"\x7f",
        b"\n", b"\n\n", b"data: ", b'"}', b"{", b', "t": "b', b'data: {"id": "abc", "t": "',
        b'", "end": null}\n\n', b'", "end": null}', b"\r", b"\0", b" ",
    ]
)  # fmt: skip


@pytest.mark.parametrize("name", POURS)
@given(inside=st.lists(st.lists(PIECES, max_size=4).map(b"".join), min_size=1, max_size=4))
def test_it_never_reads_what_one_by_one_is_read_otherwise(name, inside):
    """Whatever stands where the text should be."""
    block = b"".join(event("?").replace(b'"?"', b'"%b"' % some) for some in inside)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane, "pour", POURS[name])
        mould = FrameTemplate(BLANK)
        assert mould.read(event("Hello"), PLAIN)
        cast = mould.read(block, PLAIN)
    if cast is not None:
        lines = block.split(b"\n\n")
        assert lines.pop() == b""
        assert all(line.startswith(b"data: ") and b"\n" not in line for line in lines)
        one_by_one = [PLAIN.decode(line[6:]) for line in lines]
        assert cast == Match(len(lines), "".join(frame.t for frame in one_by_one))


TIMED = plain(Said, texts, passing="at")


def line(text, at, **more):
    return json.dumps({"m": "x", "at": at, "t": text, **more}).encode() + b"\n"


def line_behind(text, at):
    return json.dumps({"m": "x", "t": text, "at": at}).encode() + b"\n"


@pytest.mark.parametrize("write", [line, line_behind])
def test_a_time_may_be_new_in_each_line(write):
    """Before the text or behind it, and of any length; without the compiled part others read it."""
    said = ["first", "second ", "é\n"]
    block = b"".join(write(text, "12:00:00."[: 4 + at] + "Z") for at, text in enumerate(said))
    mould = FrameTemplate(b"\n")
    assert mould.read(block, TIMED) == (Match(3, "".join(said)) if lane.pour else None)
    if lane.pour:
        assert mould.read(write("x", "") + write("y", "13"), TIMED) == Match(2, "xy")


@pytest.mark.parametrize(
    "other",
    [
        line("b", "1", n=1),
        line("b", "1", n=0),
        line("b", 1),
        line("b", None),
        line("b", "\n"),
        line("b", "\\"),
        line("b", "1").replace(b'"at"', b'"ta"'),
        line("b", "1").replace(b"x", b"y"),
        line("b", "1").replace(b'"t"', b'"at": "2", "t"'),
        line("b", "1")[:-1] + line("c", "2"),
        line("b", "1") + b"\n",
        line("b", "1")[:-1],
    ],
)
def test_nothing_else_may(other):
    """What stands in the place of the time is a string without escapes, and the rest is the same."""
    mould = FrameTemplate(b"\n")
    assert mould.read(line("a", "1") + other, TIMED) is None
    assert mould.read(other, TIMED) in {None, Match(1, "b")}


def test_a_text_that_is_the_time_shows_no_mould():
    """The two holes would be one."""
    same = json.dumps({"t": "", "at": "x"}).encode().replace(b'"t": "", ', b"") + b"\n"
    assert (
        FrameTemplate(b"\n").read(
            same, plain(At, lambda said: [each.at for each in said], passing="at")
        )
        is None
    )


def test_without_the_compiled_part_lines_are_left_to_others(monkeypatch):
    """The arithmetic is for events."""
    monkeypatch.setattr(lane, "pour", None)
    assert FrameTemplate(b"\n").read(line("a", "1"), TIMED) is None
