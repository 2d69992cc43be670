"""The compiled part takes texts out of their frames as a few lines of Python would, and nothing else.

Where there is no compiler, what is tested here is those lines.
"""

from __future__ import annotations

import json
import re
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.wire.framing import template

PLAIN_HOLE = rb"[ !#-\[\]-~]*"
TEXT_HOLE = rb'(?:[^"\\\x00-\x1f]|\\[\x00-\xff])*'


def check(block, literals, text):
    """What ``pour`` is to refuse."""
    if not isinstance(block, bytes):
        raise TypeError("a block is bytes")
    if not isinstance(literals, tuple):
        raise TypeError("must be tuple, not list")
    if not 2 <= len(literals) <= 8:
        raise ValueError("2 to 8 literals")
    if not 0 <= text <= len(literals) - 2:
        raise ValueError("the text stands between two")
    if not all(isinstance(literal, bytes) for literal in literals):
        raise TypeError("expected bytes, str found")
    if not all(literal.startswith(b'"') for literal in literals[1:]):
        raise ValueError("begins with the quote")


def plainly(block, literals, text):
    """What ``pour`` is to give, as an expression."""
    check(block, literals, text)
    holes = [PLAIN_HOLE] * (len(literals) - 1)
    holes[text] = b"(" + TEXT_HOLE + b")"
    first, *others = map(re.escape, literals)
    frame = first + b"".join(hole + other for hole, other in zip(holes, others, strict=True))
    if not re.fullmatch(b"(?:%b)+" % frame, block):
        return None
    texts = re.findall(frame, block)
    return len(texts), b'"%b"' % b"\x7f".join(texts)


POURS = {"plainly": plainly} | ({"compiled": template.pour} if template.pour else {})
LINE = (b'{"at":"', b'","t":"', b'"}\n')


@pytest.fixture(params=POURS)
def pour(request):
    return POURS[request.param]


def line(text, at=b"12:00"):
    return LINE[0] + at + LINE[1] + text + LINE[2]


@pytest.mark.parametrize(
    "text", [b"", b"a", b'\\"', b"\\\\", b"\\u00e9", "é東😀".encode(), b"\x7f", b"\xff"]
)
def test_a_text_is_taken_as_it_stands(pour, text):
    """Nothing is decoded, also what is no UTF-8 or no escape."""
    assert pour(line(text), LINE, 1) == (1, b'"%b"' % text)


def test_texts_stay_in_order_with_a_character_between(pour):
    block = line(b"a") + line(b"", b"1") + line(b"c", b"")
    assert pour(block, LINE, 1) == (3, b'"a\x7f\x7fc"')


def test_the_text_may_stand_in_any_hole(pour):
    literals = (b"<", b'"|', b'"|', b'">')
    assert pour(b'<a"|b"|c"><d"|e"|f">', literals, 0) == (2, b'"a\x7fd"')
    assert pour(b'<a"|b"|c"><d"|e"|f">', literals, 1) == (2, b'"b\x7fe"')
    assert pour(b'<a"|b"|c"><d"|e"|f">', literals, 2) == (2, b'"c\x7ff"')


def test_a_mould_may_begin_with_its_hole(pour):
    assert pour(b'a"\nb"\n', (b"", b'"\n'), 0) == (2, b'"a\x7fb"')


REFUSED = {
    "nothing": b"",
    "another beginning": b"x" + line(b"a"),
    "another middle": line(b"a").replace(b'"t"', b'"u"'),
    "another end": line(b"a").replace(b"}", b"]"),
    "something behind": line(b"a") + b"\n",
    "one of two": line(b"a") + line(b"b").replace(b"at", b"to"),
    "a control character in the text": line(b"a\nb"),
    "NUL in the text": line(b"\0"),
    "the last control character in the text": line(b"\x1f"),
    "a quote in the text": line(b'a"b'),
    "a backslash that takes the quote away": line(b"a\\"),
    "a backslash at the very end": line(b"a")[:-3] + b"\\",
    "an escape beside the text": line(b"a", b"\\n"),
    "a letter beside the text": line(b"a", "é".encode()),
    "a control character beside the text": line(b"a", b"\t"),
    "DEL beside the text": line(b"a", b"\x7f"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_whatever_is_cast_otherwise_is_refused(pour, what):
    assert pour(REFUSED[what], LINE, 1) is None


def test_a_block_may_end_anywhere(pour):
    """Only at the end of a frame is it read."""
    block = line(b"a") + line("\\né".encode())
    read = [end for end in range(len(block) + 1) if pour(block[:end], LINE, 1)]
    assert read == [len(line(b"a")), len(block)]


@pytest.mark.parametrize(
    ("literals", "text", "said"),
    [
        ((), 0, "2 to 8 literals"),
        ((b"a",), 0, "2 to 8 literals"),
        ((b"a", *[b'"'] * 8), 0, "2 to 8 literals"),
        (LINE, -1, "between two"),
        (LINE, 2, "between two"),
        ((b"a", b""), 0, "begins with the quote"),
        ((b"a", b"b"), 0, "begins with the quote"),
        ((b"a", '"'), 0, "expected bytes, str found"),
        (list(LINE), 1, "must be tuple, not list"),
    ],
)
def test_what_is_no_mould_is_an_error(pour, literals, text, said):
    """A hole without a quote behind it would never end."""
    with pytest.raises((ValueError, TypeError), match=said):
        pour(line(b"a"), literals, text)


def test_a_mould_may_have_eight_literals(pour):
    """And no more, though nobody has needed more than three."""
    assert pour(b'a""""""|"', (b"a", *[b'"'] * 6, b'|"'[::-1]), 5) is None
    assert pour(b'a""""""|"', (b"a", *[b'"'] * 7), 6) == (1, b'"|"')


def test_what_stands_behind_the_block_is_not_part_of_it(pour):
    """There is always a NUL, which a literal may end with."""
    literals = (b"", b'"\0')
    assert pour(b'a"\0', literals, 0) == (1, b'"a"')
    assert pour(b'a"', literals, 0) is None


def test_nothing_is_left_behind(pour):
    """Whether it fits or not."""
    fits, misfits = line(b"a" * 10_000) * 9, line(b"a" * 10_000) * 9 + b"x"
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(50):
            pour(fits, LINE, 1)
            pour(misfits, LINE, 1)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < len(fits)


@pytest.mark.parametrize("block", [None, "text", bytearray(b"x"), 1])
def test_a_block_is_bytes(pour, block):
    """No text, and nothing that could change while it is read."""
    with pytest.raises(TypeError):
        pour(block, LINE, 1)


PIECES = st.sampled_from(
    [*LINE, line(b"a"), line(b"b", b"1"), b"a", b'"', b"\\", b"\\\\", b'\\"', b"\n", b"\0", b"\x7f", b"\xc3", b"\xff", b" "]
)  # fmt: skip
BYTES = st.lists(PIECES | st.binary(max_size=3), max_size=12).map(b"".join)
AFTER = BYTES.map(lambda some: b'"' + some)


@given(BYTES, BYTES, st.lists(AFTER, min_size=1, max_size=4), st.integers(0, 3), st.booleans())
def test_any_bytes_give_the_same(first, block, after, text, cast):
    """In any mould: what the expression gives."""
    literals = (first, *after)
    text = min(text, len(after) - 1)
    if cast:  # else hardly any would be
        block = (
            b"".join(first + b"".join(b"x" + each for each in after) for _ in range(2)) + block[:3]
        )
    for pour in POURS.values():
        assert pour(block, literals, text) == plainly(block, literals, text)


TIMES = st.text("0123456789:.TZ", max_size=8)


@pytest.mark.parametrize("ascii_only", [True, False])
@given(said=st.lists(st.tuples(st.text(), TIMES), min_size=1, max_size=9))
def test_any_texts_come_out(ascii_only, said):
    """As whoever wrote the JSON put them in."""
    write = json.JSONEncoder(ensure_ascii=ascii_only, separators=(",", ":")).encode
    block = b"".join(write({"at": at, "t": text}).encode() + b"\n" for text, at in said)
    wanted = "\x7f".join(text for text, _ in said)
    for pour in POURS.values():
        frames, texts = pour(block, LINE, 1)
        assert frames == len(said)
        assert msgspec.json.decode(texts) == wanted
