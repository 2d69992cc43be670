"""A continuation begins where the model's own tokens end, and no server can fool it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import ErrorCode
from worker.records import Earlier, Kind
from worker.run.splice import (
    CUTS,
    HELD_CHARS,
    WORD_CHARS,
    HoldBack,
    Seam,
    Verdict,
    choose,
    chunks_of,
    cut,
    judge,
    kept,
    seam,
)

PROSE = "The river Rhône rises in the Swiss Alps, 🐶 and runs\n\nto the sea: 源 流.  It is long. "
TEXTS = st.one_of(st.text(max_size=300), st.lists(st.sampled_from(PROSE)).map("".join))


@given(TEXTS, st.lists(st.text(min_size=1, max_size=6), max_size=3))
def test_what_is_kept_is_a_beginning_that_ends_in_no_space_and_in_no_stop(text, stops):
    """At every cut: nothing is altered, and no stop text can span the splice."""
    prefix = kept(text, stops)
    assert text.startswith(prefix)
    assert prefix == prefix.rstrip().rstrip("\ufffd") or not prefix
    for stop in stops:
        assert not any(prefix.endswith(stop[:size]) for size in range(1, len(stop)))


@pytest.mark.parametrize("end", range(1, len(PROSE)))
def test_a_cut_at_any_character_gives_whole_words(end):
    """The word that was cut is generated again; a word that was followed by a space is whole."""
    prefix = kept(PROSE[:end])
    assert PROSE[len(prefix)].isspace() or not any(map(str.isspace, PROSE[:end]))
    assert len(PROSE[:end]) - len(prefix) <= WORD_CHARS


def test_a_text_without_spaces_is_kept_but_for_a_broken_character():
    """Chinese and base64 have none; half a character was never the model's."""
    assert kept("流" * 200 + "\ufffd") == "流" * 200
    assert kept("x " + "a" * 64) == "x " + "a" * 64
    assert kept("x " + "a" * 63) == "x"


def test_a_stop_text_that_has_begun_is_cut_off():
    """The server would not see it if its beginning stood in the request."""
    assert kept("to France, and so", ["France, originating"]) == "to France, and"
    assert kept("to France, or", ["France, originating"]) == "to"
    assert kept("a b\n\nEN D", ["END"]) == "a b"


@given(st.lists(st.text(max_size=20), max_size=12), st.integers(1, 30))
def test_the_chunks_that_are_kept_hold_the_text_that_is_kept(pieces, slice_chars):
    """Chunks before the last are whole; the last one may be cut."""
    found = cut(pieces, (), slice_chars=slice_chars)
    assert found.text + found.dropped == "".join(pieces)
    if found.text:
        assert "".join(pieces[: found.chunks - 1]) + found.last == found.text
        assert chunks_of([*pieces[: found.chunks - 1], found.last], len(found.text)) <= found.chunks
    assert list(found.bounds) == sorted(set(found.bounds))
    assert found.bounds[-1] == found.chunks


OLD = "Once upon a time there was a river that ran for a thousand miles " + "and more " * 60


def held(*texts, proved=False, dropped=" mor", kind=Kind.TEXT):
    """The verdict on a new text that arrives in these pieces."""
    back = HoldBack(Seam(OLD[:HELD_CHARS], OLD[-HELD_CHARS:].rstrip(), dropped, proved))
    for text in texts:
        if back.verdict is None:
            back.add(kind, text)
    back.end()
    return back.verdict


@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_a_repetition_of_the_old_text_is_an_answer_of_its_own(size):
    """Echo or restart, in whatever pieces: it is whole by itself, and nothing is put before it."""
    assert held(*[OLD[at : at + size] for at in range(0, 200, size)]) is Verdict.IS_WHOLE
    assert held(" \n" + OLD) is Verdict.IS_WHOLE
    assert held(OLD, proved=True) is Verdict.GOES_ON  # a model that repeats itself


@pytest.mark.parametrize("begin", ["<think>\n\n</think>", "<|im_start|>assistant", "assistant\n"])
def test_a_new_turn_is_seen(begin):
    """With and without the proof: templates may put it there."""
    for proved in (True, False):
        assert held(begin + " and on it went", proved=proved) is Verdict.DISOBEYED
    assert held(begin + " and", dropped=begin) is Verdict.GOES_ON  # it is what the answer says
    assert held("hm", kind=Kind.THINKING) is Verdict.DISOBEYED


def test_the_last_word_again_and_an_end_at_once_are_seen():
    """A server that trims, and one that closes the turn."""
    assert held(" more and so on") is Verdict.DISOBEYED
    assert held(" more and so on", dropped=" more") is Verdict.GOES_ON
    assert held(" more and so on", proved=True) is Verdict.GOES_ON
    assert held("") is Verdict.DISOBEYED
    assert held("", dropped=" \n") is Verdict.DISOBEYED  # it may have closed the message
    assert held("", dropped=" \n", proved=True) is Verdict.GOES_ON  # only the end was missing


@given(st.text(min_size=1, max_size=200), st.booleans())
def test_a_verdict_does_not_depend_on_the_pieces(text, proved):
    """One character at a time, or all at once."""
    assert held(*text, proved=proved) is held(text, proved=proved)
    assert judge(text, seam(cut([OLD], (), slice_chars=99), is_proved=True)) in Verdict


# --- which run


def earlier(attempt=1, **facts):
    given = {
        "run_id": attempt,
        "attempt": attempt,
        "endpoint": "e",
        "dialect": "d",
        "request_hash": "h",
        "code": "connection_lost",
        "finish_reason": None,
        "chars": 1000,
        **facts,
    }
    return Earlier(**given)


def chosen(*runs):
    return choose(runs, request_hash="h", endpoint="e", dialect="d", min_chars=500)


@pytest.mark.parametrize("code", sorted(CUTS))
def test_a_cut_run_is_gone_on_with(code):
    """Whatever cut it."""
    assert chosen(earlier(code=code)).source == earlier(code=code)


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (earlier(chars=499), None),
        (earlier(request_hash=None), "another request"),
        (earlier(request_hash="x"), "another request"),
        (earlier(endpoint="x"), "another endpoint"),
        (earlier(dialect="x"), "another endpoint"),
        (earlier(finish_reason="content_filter"), "content_filter"),
        *((earlier(code=code), code) for code in sorted(set(ErrorCode) - CUTS)),
    ],
)
def test_what_was_not_cut_or_asked_something_else_begins_again(run, why):
    """And it is told why, if there was text to speak of."""
    choice = chosen(run)
    assert choice.source is None
    assert (why is None and choice.why_not is None) or why in choice.why_not


def test_the_longest_text_is_gone_on_with():
    """A run that came to less does not hide it."""
    assert chosen(earlier(1, chars=5000), earlier(2, chars=600)).source.run_id == 1


def test_a_run_whose_text_was_copied_on_is_not_gone_on_with():
    """It has its own part only, even if that reached further than the one that copied it."""
    chain = [
        earlier(1, chars=5000),
        earlier(2, chars=9000, continues_run_id=1, carried_chars=4990),
        earlier(3, chars=8995, continues_run_id=2, carried_chars=8990, code="shutdown"),
    ]
    assert chosen(*chain).source.run_id == 3


def test_two_deaths_at_one_place_begin_again_once():
    """From then on it goes on from there, and the deaths count."""
    two = [earlier(1, chars=5000), earlier(2, chars=5100, carried_chars=4990, continues_run_id=1)]
    assert "same place" in chosen(*two).why_not
    assert chosen(two[0], earlier(2, chars=5300, carried_chars=4990)).source.run_id == 2
    assert chosen(*two, earlier(3, chars=100)).source.run_id == 2


def test_a_second_silence_and_a_disobedience_begin_again():
    """Neither would help a second time."""
    silent = [earlier(n, chars=1000 * n, code="idle_timeout") for n in (1, 2)]
    assert "silent twice" in chosen(*silent).why_not
    refused = earlier(2, chars=0, code="not_continued", request_hash=None)
    assert "did not go on" in chosen(earlier(1), refused).why_not


def test_limits_count_the_whole_chain():
    """Tokens and seconds of all runs whose text is carried on."""
    runs = [
        earlier(1, chars=1000, tokens=200, seconds=60.0),
        earlier(2, chars=900, tokens=150, seconds=7.0),
        earlier(
            3,
            chars=2000,
            tokens=300,
            seconds=50.0,
            continues_run_id=1,
            carried_chars=990,
            carried_tokens=200,
        ),
    ]
    choice = chosen(*runs)
    assert (choice.source.run_id, choice.tokens, choice.seconds) == (3, 500, 110.0)
