"""Tool calls are lines of text that do not depend on the network and merge back into calls."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import speech
from worker.wire.tool_calls import ToolLines, as_string, assemble_tool_calls


def test_absent_keys_are_left_out_and_arguments_are_always_a_string():
    lines = ToolLines()
    assert lines.line(0, call_id="c", name="f", arguments=None) == (
        '{"index":0,"id":"c","name":"f","arguments":""}\n'
    )
    assert lines.line(0, call_id=None, name="", arguments='{"a') == (
        '{"index":0,"arguments":"{\\"a"}\n'
    )


def test_a_piece_that_says_nothing_is_no_line():
    assert ToolLines().line(0, call_id=None, name=None, arguments="") == ""


def test_interleaved_pieces_become_whole_calls():
    lines = ToolLines()
    text = (
        lines.line(0, call_id="a", name="f", arguments="")
        + lines.line(1, call_id="b", name="g", arguments='{"x"')
        + lines.line(0, call_id=None, name=None, arguments='{"city":')
        + lines.line(1, call_id=None, name=None, arguments=":1}")
        + lines.line(0, call_id=None, name=None, arguments='"Oslo"}')
        + lines.end()
    )
    assert assemble_tool_calls(text) == [
        {"index": 0, "id": "a", "name": "f", "arguments": '{"city":"Oslo"}'},
        {"index": 1, "id": "b", "name": "g", "arguments": '{"x":1}'},
    ]


@given(st.lists(st.tuples(st.integers(0, 2), st.text(speech._UNITS))))
def test_arguments_stay_whole_and_storable_per_call(pieces):
    lines = ToolLines()
    text = "".join(
        [lines.line(index, call_id=None, name=None, arguments=piece) for index, piece in pieces]
    )
    text += lines.end()
    text.encode()
    assert "\x00" not in text
    got = {call["index"]: call["arguments"] for call in assemble_tool_calls(text)}
    for index in range(3):
        said = "".join(piece for each, piece in pieces if each == index)
        assert got.get(index, "") == speech.storable(said)


def test_arguments_that_are_objects_are_dumped():
    assert as_string({"city": "Zürich", "n": [1, None]}) == '{"city":"Zürich","n":[1,null]}'
    assert as_string(None) == ""
    assert json.loads(as_string(["a"])) == ["a"]


def test_a_line_that_was_cut_off_is_left_out():
    text = '{"index":0,"name":"f","arguments":"{}"}\n{"index":1,"na'
    assert [call["index"] for call in assemble_tool_calls(text)] == [0]
    assert assemble_tool_calls("") == []


@pytest.mark.parametrize("line", ["nonsense", "[]", "1", '{"arguments":""}', '{"index":[]}'])
def test_a_text_that_is_no_pieces_is_shown_and_stops_nobody(line):
    """Somebody changed it by hand: an export of a thousand others must not end at it."""
    text = f'{{"index":0,"arguments":"a"}}\n{line}\n'
    (call,) = assemble_tool_calls(text)
    assert call == {"index": 0, "id": None, "name": None, "arguments": text}


def test_memory_does_not_grow_with_the_calls():
    lines = ToolLines()
    for index in range(1000):
        lines.line(index, call_id="c", name="f", arguments="{}")
    lines.line(5, call_id=None, name=None, arguments="\ud83d")
    assert len(lines._channels) == 1
