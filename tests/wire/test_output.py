"""One delta for each run of one kind, in order, however many tokens it had."""

from worker.records import Kind
from worker.wire.events import Delta
from worker.wire.output import Output


def test_runs_of_a_kind_are_one_delta_each():
    output = Output()
    for kind, text in [
        (Kind.THINKING, "a"),
        (Kind.THINKING, "b"),
        (Kind.TEXT, "c"),
        (Kind.THINKING, ""),
        (Kind.TEXT, "d"),
        (Kind.THINKING, "e"),
    ]:
        output.add(kind, text)
    assert output.take() == [
        Delta(Kind.THINKING, "ab"),
        Delta(Kind.TEXT, "cd"),
        Delta(Kind.THINKING, "e"),
    ]
    assert output.take() == []


def test_halves_wait_in_their_own_channel():
    output = Output()
    output.add(Kind.TEXT, "x\ud83d")
    output.add(Kind.THINKING, "y\ud83d")
    assert output.take() == [Delta(Kind.TEXT, "x"), Delta(Kind.THINKING, "y")]
    output.add(Kind.TEXT, "\ude00")
    assert output.take(final=True) == [
        Delta(Kind.TEXT, "\U0001f600"),
        Delta(Kind.THINKING, "\ufffd"),
    ]


def test_neighbours_of_one_kind_are_one_delta_also_when_something_unsayable_was_between():
    output = Output()
    output.add(Kind.TEXT, "a")
    output.add(Kind.THINKING, "\ud83d")
    output.add(Kind.TEXT, "b")
    assert output.take() == [Delta(Kind.TEXT, "ab")]


def test_tool_calls_are_lines_of_their_own_kind():
    output = Output()
    output.add(Kind.TEXT, "a")
    output.calls.piece("", index=0, call_id="c", name="f")
    output.calls.piece("[]", index=0)
    assert output.take() == [
        Delta(Kind.TEXT, "a"),
        Delta(
            Kind.TOOL_CALLS,
            '{"index":0,"id":"c","name":"f","arguments":""}\n{"index":0,"arguments":"[]"}\n',
        ),
    ]


def test_it_knows_what_has_come():
    output = Output()
    assert not output.has_any()
    output.add(Kind.TEXT, "")
    assert not output.has_any()
    output.add(Kind.THINKING, "x")
    assert output.has_any()
    assert output.has(Kind.THINKING)
    assert not output.has(Kind.TEXT)
    output.take()
    assert output.has(Kind.THINKING)
