"""What a chunk may hold is declared, so what is unknown is noticed."""

import json

from tests.wire.reading import body, careful, decoder, read
from worker.wire.dialects.openai_frames import Choice, Chunk, Delta, is_report


def test_a_choice_speaks_if_it_holds_any_output():
    assert not Choice(index=1, finish_reason="stop").speaks()
    assert not Choice(delta=Delta(role="assistant", content="")).speaks()
    for delta in (
        Delta(content="a"),
        Delta(thinking="a"),
        Delta(tool_calls=[1]),
        Delta(audio={"data": 1}),
    ):
        assert Choice(delta=delta).speaks()
    assert Choice(text="a").speaks()


def test_a_field_that_a_delta_is_not_known_to_have_is_kept():
    """Unknown output is never dropped; an empty field, or one beside the answer, is nothing."""
    chunk = {"choices": [{"index": 0, "delta": {"content": "a", "tool_plan": "look", "new": None}}]}
    data = b"data: " + json.dumps(chunk | {"new": 1}).encode() + b"\n\ndata: [DONE]\n\n"
    for made in (decoder, careful):
        reading = read(made("openai-chat"), [data * 12])
        assert reading.text == "a"
        assert reading.extras == (("unknown", '{"tool_plan":"look"}'),)


def test_a_place_for_output_with_something_else_in_it_is_an_error():
    for choices in ("text", {"delta": {}}, [7], [{"delta": "a"}], [{"message": ["a"]}]):
        data = b"data: " + json.dumps({"choices": choices}).encode() + b"\n\ndata: [DONE]\n\n"
        reading = body("openai-chat", data)
        assert not reading.is_done
        assert "unknown form" in str(reading.error)
    report = {"choices": "none", "error": {"message": "boom"}}
    data = b"data: " + json.dumps(report).encode() + b"\n\n"
    assert "boom" in str(body("openai-chat", data).error)


def test_a_report_is_known_by_what_it_lacks():
    assert is_report(Chunk(detail="boom"))
    assert not is_report(Chunk(detail="queued", choices=[]))
