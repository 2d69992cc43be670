"""One frame is held raw while it is short, and only as far as it is wanted when it is long."""

import pytest

from tests.wire.reading import bytewise
from worker.errors import FrameTooLarge, Malformed
from worker.wire.framing import frames
from worker.wire.framing.frames import VALUES_MAX, FrameBody, most_raw_bytes


def keep():
    return {"a": None}


def test_a_short_frame_is_what_was_sent():
    body = FrameBody(100, keep)
    body.add(b'{"b":')
    body.add(b"1}")
    assert body.finish() == b'{"b":1}'


def test_a_long_frame_is_what_was_wanted(monkeypatch):
    monkeypatch.setattr(frames, "SKIM_FROM_BYTES", 10)
    body = FrameBody(100, keep)
    for piece in bytewise(b'{"b":[' + b"1," * 500 + b'1],"a":"x"}'):
        body.add(piece)
        assert body.held_bytes <= 20
    assert body.finish() == b'{"a":"x"}'


def test_a_frame_that_has_to_be_held_and_is_too_long_names_the_setting():
    """And no sizes, which would make a sentence for each frame of one cause."""
    body = FrameBody(50, keep)
    with pytest.raises(FrameTooLarge, match=r"longer than max_frame_bytes = 50; raise"):
        body.add(b'{"a":"' + b"x" * 100)
    with pytest.raises(FrameTooLarge, match=r"max_frame_bytes = 50"):
        FrameBody(50, None).add(b"x" * 51)


def test_a_long_frame_that_is_not_json_is_malformed():
    body = FrameBody(50, keep)
    body.add(b"x" * 100)
    with pytest.raises(Malformed, match="a long frame that is not JSON"):
        body.finish()


def test_how_much_is_held_raw():
    assert most_raw_bytes(1000) == 1000
    assert most_raw_bytes(10**9) == frames.SKIM_FROM_BYTES


MANY = VALUES_MAX + 10


@pytest.mark.parametrize("unit", [b"{},", b"1,", b'"a",', b'"\\"",'])
@pytest.mark.parametrize("keep", [None, lambda: {"values": None}])
def test_a_frame_with_too_many_values_is_refused_before_it_is_parsed(unit, keep):
    """Parsing them would keep every other stream waiting, however few bytes they take."""
    body = FrameBody(1 << 24, keep)
    body.add(b'{"values":[' + unit * MANY + b"0]}")
    with pytest.raises(FrameTooLarge, match="values"):
        body.finish()


@pytest.mark.parametrize("text", [b"a, b, ", b'\\", ', b"\\\\, "])
def test_commas_of_a_text_are_no_values(text):
    """A long text in one frame has as many as it likes."""
    whole = b'{"values":"' + text * MANY + b'"}'
    body = FrameBody(1 << 24, None)
    body.add(whole)
    assert body.finish() == whole
