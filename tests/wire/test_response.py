"""The first terminal frame wins, counts are the last sensible ones, and broken finishes are no end."""

import pytest

from worker.errors import ErrorCode, Malformed, ServerFailed, Truncated
from worker.records import Kind, Usage
from worker.wire.dialects.request import Asked
from worker.wire.events import Delta, Done, Extra, Fault
from worker.wire.response import ResponseParser


class Plain(ResponseParser):
    done_frame = "the end"


def end(answer):
    (*_, last) = answer.events()
    return last


def test_the_first_terminal_wins():
    answer = Plain()
    answer.fail(Malformed("first"))
    answer.finish()
    answer.fail(Malformed("second"))
    answer.end_of_body()
    assert str(end(answer).error) == "first"
    answer = Plain()
    answer.finish()
    answer.fail(Malformed("late"))
    assert end(answer) == Done(None, Usage())


def test_the_end_is_told_once_and_after_the_text():
    answer = Plain()
    answer.add_text("a\ud83d")
    assert answer.events() == [Delta(Kind.TEXT, "a")]
    answer.finish()
    assert answer.is_over()
    assert answer.events() == [Delta(Kind.TEXT, "\ufffd"), Done(None, Usage())]
    assert answer.events() == []


@pytest.mark.parametrize("reason", ["abort", "error", "insufficient_system_resource"])
def test_a_done_frame_after_a_broken_finish_is_an_error(reason):
    answer = Plain()
    answer.note_finish(reason)
    answer.finish()
    error = end(answer).error
    assert (type(error), error.code) == (ServerFailed, ErrorCode.GENERATION_ABORTED)
    assert reason in str(error)
    assert answer.finish_reason == reason


@pytest.mark.parametrize("refusal_first", [True, False])
@pytest.mark.parametrize(
    ("reason", "stored"), [("stop", "refusal"), ("length", "length"), (None, None)]
)
def test_a_plain_stop_of_a_refusal_is_a_refusal(refusal_first, reason, stored):
    answer = Plain()
    answer.refused = refusal_first
    answer.note_finish(reason)
    answer.refused = True
    answer.finish()
    assert end(answer).finish_reason == answer.finish_reason == stored


def test_counts_are_the_last_that_make_sense():
    answer = Plain()
    answer.count(0, 0)
    answer.count(7, None)
    answer.count(None, 3)
    answer.count(-1, 2**31)
    answer.count(None, None)
    assert answer.usage == Usage(7, 3)


def test_reasons_are_raw_but_storable_and_silence_says_nothing():
    answer = Plain()
    answer.note_finish("Odd_Reason")
    answer.note_finish("")
    answer.note_finish(None)
    assert answer.finish_reason == "Odd_Reason"
    answer.note_finish("\ud83d\x00" + "x" * 500)
    assert answer.finish_reason.startswith("\ufffd\ufffdx")
    assert len(answer.finish_reason) == 200


@pytest.mark.parametrize("value", [1, True, {}, [], 0.5])
def test_output_of_an_unknown_type_is_an_error_not_a_gap(value):
    answer = Plain()
    answer.add_text(None)
    with pytest.raises(Malformed, match="text was expected"):
        answer.add_text(value)


def test_a_dialect_says_itself_what_a_frame_means_and_what_a_whole_answer_is():
    with pytest.raises(NotImplementedError):
        Plain().take({}, "")
    assert Plain().take_whole({"text": "hi"}) is False


def test_the_end_of_the_body_names_what_was_missing():
    answer = Plain()
    answer.frames = 12
    answer.note_finish("stop")
    answer.end_of_body()
    error = end(answer).error
    assert isinstance(error, Truncated)
    assert "without the end" in str(error)
    assert "12" not in str(error), "one cause has one sentence"


@pytest.mark.parametrize(
    ("reason", "kind"), [("stop", Done), ("length", Done), ("abort", Fault), (None, Fault)]
)
def test_a_finish_without_done_counts_only_where_it_is_accepted(reason, kind):
    answer = Plain(accept_finish_without_done=True)
    answer.note_finish(reason)
    answer.end_of_body()
    last = end(answer)
    assert isinstance(last, kind)
    assert not (isinstance(last, Done) and last.done_frame)
    strict = Plain()
    strict.note_finish(reason)
    strict.end_of_body()
    assert isinstance(end(strict), Fault)


@pytest.mark.parametrize(
    ("reason", "tokens", "limit", "stored"),
    [
        ("stop", 8, 8, "length"),
        ("end_turn", 9, 8, "length"),
        ("completed", 8, 8, "length"),
        ("stop", 7, 8, "stop"),
        ("stop", 8, None, "stop"),
        ("stop", None, 8, "stop"),
        ("stop", 0, 8, "stop"),
        ("tool_calls", 8, 8, "tool_calls"),
        ("max_tokens", 8, 8, "max_tokens"),
        (None, 8, 8, None),
    ],
)
def test_as_many_tokens_as_were_allowed_is_a_length(reason, tokens, limit, stored):
    """Whatever the server calls it; its own word is kept beside the answer."""
    answer = Plain(asked=Asked(max_tokens=limit))
    answer.note_finish(reason)
    answer.count(1, tokens)
    answer.finish()
    *kept, done = answer.events()
    assert (done.finish_reason, answer.finish_reason) == (stored, stored)
    assert kept == ([Extra("finish_reason", f'"{reason}"')] if stored != reason else [])


def test_zero_tokens_are_a_count():
    answer = Plain()
    answer.count(0, 0)
    assert answer.usage == Usage(0, 0)
