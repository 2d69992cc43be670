"""What comes out can be stored by every database, and nothing else was changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import speech
from worker.wire.unicode import Channel, clip, storable

any_text = st.text(
    st.one_of(st.characters(exclude_categories=()), st.sampled_from("\ud83d\ude00\x00"))
)


@given(any_text)
def test_storable_is_plainly_the_policy(text):
    assert storable(text) == speech.storable(text)
    assert storable(storable(text)) == storable(text)


@given(st.lists(any_text))
def test_a_channel_joins_halves_across_pieces(pieces):
    channel = Channel()
    got = "".join([channel.join(piece) for piece in pieces]) + channel.end()
    assert got == speech.storable("".join(pieces))


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (["\ud83d", "\ude00"], ["", "\U0001f600"]),
        (["a\ud83d", "", "\ude00b"], ["a", "", "\U0001f600b"]),
        (["\ud83d", "b"], ["", "\ufffdb"]),
        (["\ud83d", "\ud83d"], ["", "\ufffd"]),
        (["\ude00"], ["\ufffd"]),
        (["a\x00b"], ["a\ufffdb"]),
    ],
)
def test_only_a_high_half_at_the_end_waits(pieces, said):
    channel = Channel()
    assert [channel.join(piece) for piece in pieces] == said


def test_the_end_lets_go_of_a_half_once():
    channel = Channel()
    assert not channel.holds_half
    channel.join("x\ud83d")
    assert channel.holds_half
    assert (channel.end(), channel.end()) == ("\ufffd", "")


def test_clip_gives_one_short_storable_line():
    assert clip("a\n  b\t\ud83d\x00", 20) == "a b \ufffd\ufffd"
    assert clip("x" * 50, 10) == "x" * 9 + "…"
    assert clip("", 10) == ""
