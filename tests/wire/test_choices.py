"""One answer of a stream is taken whatever its index; of two, none is completed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.reading import body, bytewise, careful, decoder, read
from worker.errors import Malformed
from worker.wire.choices import SoleChoice


def stream(*frames, dialect="openai-chat"):
    """Chunks of (index, text, finish reason); a list is a chunk with several choices."""
    data = b""
    for frame in frames:
        said = frame if isinstance(frame, list) else [frame]
        choices = [
            {
                "index": index,
                "finish_reason": finish,
                **(
                    {"text": text}
                    if dialect == "openai-completions"
                    else {"delta": {"content": text}}
                ),
            }
            for index, text, finish in said
        ]
        data += b"data: " + json.dumps({"choices": choices}).encode() + b"\n\n"
    return data + b"data: [DONE]\n\n"


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-completions"])
@pytest.mark.parametrize("index", [0, 1, 7, -1, None])
def test_the_sole_choice_is_the_answer(dialect, index):
    frames = [(index, text, None) for text in ("Hello ", "wide ", "world")]
    reading = body(dialect, stream(*frames, (index, "", "stop"), dialect=dialect))
    assert (reading.text, reading.finish_reason) == ("Hello wide world", "stop")


@pytest.mark.parametrize("first", [0, 1])
def test_an_index_that_counts_the_frames_names_one_answer(first):
    """As Text Generation Inference has it."""
    words = ["Hello ", "wide ", "world"]
    frames = [(first + n, word, None) for n, word in enumerate(words[:-1])]
    reading = body("openai-chat", stream(*frames, (first + 2, "world", "length")))
    assert (reading.text, reading.finish_reason) == ("Hello wide world", "length")


texts = st.lists(st.sampled_from(["a", "b", "", "word "]), min_size=2, max_size=12)


@given(one=texts, two=texts, order=st.randoms(), first=st.sampled_from([0, 1, 3]))
def test_any_two_choices_are_never_completed_with_less(one, two, order, first):
    """In any order of their chunks, alone or side by side in one."""
    left, right = [
        [(i, text, None) for text in said] for i, said in ((first, one), (first + 1, two))
    ]
    left, right = ([*said, (said[0][0], "", "stop")] for said in (left, right))
    frames = []
    while left or right:
        source = left if not right or (left and order.random() < 0.5) else right
        frames.append(source.pop(0))
        if left and right and order.random() < 0.2:
            frames.append([left.pop(0), right.pop(0)])
    data = stream(*frames)
    reading = read(decoder("openai-chat"), [data])
    says_one, says_two = any(one), any(two)
    if says_one and says_two and not (sum(map(bool, one)) == sum(map(bool, two)) == 1):
        assert isinstance(reading.error, Malformed)
    if reading.is_done:
        assert sorted(reading.text) == sorted("".join(one + two))
    assert read(careful("openai-chat"), [data]).sameness() == reading.sameness()
    assert read(decoder("openai-chat"), bytewise(data)).sameness() == reading.sameness()


def test_a_finish_reason_of_a_silent_choice_is_not_the_answers():
    choice = SoleChoice()
    choice.spoke(0)
    choice.spoke(0)
    assert not choice.ended(1)
    assert choice.ended(0)
    with pytest.raises(Malformed, match="two choices"):
        choice.spoke(1)


def test_counting_without_an_end_is_ambiguous():
    """Two chunks under two indexes: one answer or two?"""
    assert isinstance(body("openai-chat", stream((0, "a", None), (1, "b", None))).error, Malformed)
