"""Every piece of a tool call finds its call, and a repetition of a call adds what is missing."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Malformed
from worker.wire.calls import CALLS_MAX, ToolCalls
from worker.wire.tool_calls import assemble_tool_calls

A, B = '{"a":2,"b":[1,{"c":"}"}]}', '{"city":"Os\\"lo"}'


def whole(calls):
    calls.settle()
    calls.let_go()
    return [
        (call["id"], call["name"], call["arguments"])
        for call in assemble_tool_calls("".join(calls.written))
    ]


def pieces(*said):
    calls = ToolCalls()
    for index, call_id, name, arguments in said:
        calls.piece(arguments, index=index, call_id=call_id, name=name)
    return whole(calls)


def cut_up(draw, text):
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    edges = [0, *places, len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@st.composite
def conventions(draw):
    """How a server names its calls: which index, and where an id and a name stand."""
    index = draw(st.sampled_from(["place", "zero", "none", "from one", "as text"]))
    ids = draw(st.sampled_from(["first", "each", "none"]))
    names = draw(st.sampled_from(["first", "each"]))
    return index, ids, names


@given(data=st.data())
def test_calls_one_after_the_other_are_whole_under_every_convention(data):
    """Any mixture of ids and indexes: the calls are whole, or it is an error; never less."""
    index, ids, names = data.draw(conventions())
    wanted = [("f", A), ("g", B), ("f", '{"x":1}')][: data.draw(st.integers(1, 3))]
    said = []
    for place, (name, arguments) in enumerate(wanted):
        for number, piece in enumerate(cut_up(data.draw, arguments)):
            said.append(
                (
                    {
                        "place": place,
                        "zero": 0,
                        "none": None,
                        "from one": place + 1,
                        "as text": str(place),
                    }[index],
                    f"id{place}" if ids == "each" or (ids == "first" and number == 0) else None,
                    name if names == "each" or number == 0 else None,
                    piece,
                )
            )
    try:
        got = pieces(*said)
    except Malformed:
        assert ids != "each"
        return
    assert [(name, arguments) for _, name, arguments in got] == wanted


@given(data=st.data())
def test_calls_that_take_turns_are_whole_or_an_error(data):
    """Interleaved, under ids or indexes of their own, or under one index."""
    index, ids, names = data.draw(conventions())
    wanted = [("f", A), ("g", B)]
    queues = []
    for place, (name, arguments) in enumerate(wanted):
        queues.append(
            [
                (
                    {
                        "place": place,
                        "zero": 0,
                        "none": None,
                        "from one": place + 1,
                        "as text": str(place),
                    }[index],
                    f"id{place}" if ids == "each" or (ids == "first" and number == 0) else None,
                    name if names == "each" or number == 0 else None,
                    piece,
                )
                for number, piece in enumerate(cut_up(data.draw, arguments))
            ]
        )
    said = [queues[0].pop(0)]
    while queues[0] or queues[1]:
        queue = queues[data.draw(st.integers(0, 1))]
        said.append((queue or queues[0] or queues[1]).pop(0))
    try:
        got = pieces(*said)
    except Malformed:
        return
    told = "".join(piece for *_, piece in said)
    assert sorted("".join(arguments for *_, arguments in got)) == sorted(told)
    if ids == "each" or index in {"place", "from one", "as text"}:
        assert [(name, arguments) for _, name, arguments in got] == wanted


@given(data=st.data())
def test_done_and_deltas_in_any_order_are_the_whole_or_an_error(data):
    """A `.done` at any place, more than one, and pieces that are missing or repeated."""
    calls = ToolCalls()
    calls.begin(
        index=0, ids=["x", "fc"], name="f", arguments=data.draw(st.sampled_from(["", A, None]))
    )
    steps = [("more", piece) for piece in cut_up(data.draw, A)]
    if data.draw(st.booleans()):
        steps.pop(data.draw(st.integers(0, len(steps) - 1)))
    for _ in range(data.draw(st.integers(1, 3))):
        steps.insert(data.draw(st.integers(0, len(steps))), ("done", A))
    try:
        for kind, text in steps:
            if kind == "more":
                calls.more(text, index=0, ids=["fc"])
            else:
                calls.whole(text, index=0, ids=["x"], name="f")
        got = whole(calls)
    except Malformed:
        return
    assert got == [("x", "f", A)]


def test_whole_arguments_again_are_not_doubled():
    assert pieces((0, "x", "f", A), (0, "x", "f", A)) == [("x", "f", A)]
    assert pieces((0, "x", "f", A), (0, None, "f", A)) == [("x", "f", A)]
    assert pieces((0, "x", "f", A), (0, None, None, A)) == [("x", "f", A)]


@pytest.mark.parametrize(
    "said",
    [
        [(0, "x", "f", A), (0, "x", "f", B)],
        [(0, "x", "f", A), (0, None, None, B)],
        [(0, "x", "f", '{"a"'), (0, "x", "g", ":1}")],
        [(0, "x", "f", '{"a"'), (0, "y", "g", '{"b"'), (0, None, None, ":1}")],
    ],
)
def test_a_contradiction_is_an_error(said):
    with pytest.raises(Malformed):
        pieces(*said)


def test_an_empty_object_before_the_arguments_means_nothing():
    assert pieces((0, "x", "f", "{}"), (0, None, None, A)) == [("x", "f", A)]
    assert pieces((0, "x", "f", "{}")) == [("x", "f", "{}")]


def test_an_object_is_a_whole_call():
    assert pieces((0, "x", "f", {"a": 1}), (0, "x", "f", {"a": 1})) == [("x", "f", '{"a":1}')]


def test_a_new_id_for_each_piece_goes_on_with_the_call():
    assert pieces((0, "x", "f", '{"a"'), (0, "y", None, ":1}")) == [("x", "f", '{"a":1}')]


def test_numbers_are_the_servers_as_long_as_they_are_free():
    calls = ToolCalls()
    calls.piece("{}", index=3, call_id="x", name="f")
    calls.piece("{}", index=3, call_id="y", name="g")
    calls.let_go()
    assert [call["index"] for call in assemble_tool_calls("".join(calls.written))] == [3, 4]


def test_the_repetition_may_add_the_end_of_what_was_held():
    calls = ToolCalls()
    calls.begin(index=0, ids=["x"], name="f", arguments=json.loads(A))
    calls.more('{"a":2,', index=0)
    assert whole(calls) == [("x", "f", A)]


def test_what_was_held_is_not_lost_when_the_stream_is_cut():
    calls = ToolCalls()
    calls.begin(index=0, ids=["x"], name="f", arguments={"a": 1})
    calls.let_go()
    assert assemble_tool_calls("".join(calls.written))[0]["arguments"] == '{"a":1}'


def test_there_is_an_end_to_the_number_of_calls():
    """Each takes memory as long as the stream is open."""
    calls = ToolCalls()
    calls._calls = [calls._new(None)] * CALLS_MAX
    with pytest.raises(Malformed, match="more than"):
        calls.piece("", index=None, call_id="x", name="f")
