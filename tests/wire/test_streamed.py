"""A repetition adds what was missing, or says something else; no text is held for that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.wire.streamed import Streamed


def streamed(*pieces):
    text = Streamed()
    for piece in pieces:
        text.add(piece)
    return text


texts = st.lists(st.text(max_size=80), max_size=6)


@given(pieces=texts, more=st.text(max_size=80))
def test_what_was_missing_is_the_rest(pieces, more):
    """However the text was cut into pieces."""
    whole = "".join(pieces) + more
    assert streamed(*pieces).rest(whole) == more


@given(pieces=texts, other=st.text(min_size=1, max_size=200))
def test_another_text_is_no_repetition(pieces, other):
    """None, unless the other text begins with all that was streamed, or differs in outer space."""
    text = "".join(pieces)
    rest = streamed(*pieces).rest(other)
    if rest is None:
        assert not other.startswith(text)
    else:
        assert (text + rest).strip() == other.strip()


@pytest.mark.parametrize("lost", range(5))
def test_a_piece_that_got_lost_shows(lost):
    """Everything behind it has moved."""
    pieces = [f"piece {number} of the text, with some words; " for number in range(5)]
    heard = pieces[:lost] + pieces[lost + 1 :]
    rest = streamed(*heard).rest("".join(pieces))
    assert rest == (pieces[4] if lost == 4 else None)


def test_space_around_a_repetition_is_no_difference():
    """Servers strip it."""
    long = " \n" + "many words " * 30
    assert streamed(long).rest(long.strip()) == ""
    assert streamed("\n\na ").rest("a") == ""
    assert streamed("a").rest(" a\n") == ""
    assert streamed("a b").rest("ab") is None


@pytest.mark.parametrize("missing", [0, 1, 70, 300])
def test_of_a_long_repetition_the_end_is_enough(missing):
    """Together with the number of characters before it."""
    whole = "".join(f"line {number}\n" for number in range(1000))
    text = streamed(whole[: len(whole) - missing])
    for dropped in (0, 10, len(whole) - 400):
        rest = text.rest_of_end(whole[dropped:], dropped)
        assert whole[: len(whole) - missing] + rest == whole
        assert text.rest_of_end(whole[dropped:], dropped + 1) is None
    assert streamed("x").rest_of_end(whole[5000:], 5000) is None


def test_it_knows_how_the_text_began():
    assert streamed("abc", "def").begins_with("abcd")
    assert not streamed("abc").begins_with("abcd")
    assert not streamed("abc").begins_with("b")
