"""What every prompt passes: known endpoint, one question, storable text, an id of its own."""

from __future__ import annotations

import pytest

from tests.ingest.reading import intake, only, read, reasons, texts
from worker.ingest.intake import RequestLine, shortened, unstorable


def finished(line, **options):
    return intake(**options).finished(1, line, b"raw", check_text=True)


def reason(line, **options):
    return finished(line, **options).reason


def test_a_line_becomes_a_prompt_with_everything_it_says():
    """Nothing is parsed and ignored."""
    line = RequestLine(
        messages=[{"role": "user", "content": "x"}],
        custom_id="a",
        endpoint="gpt",
        model="m",
        system="s",
        options={"temperature": 0},
        metadata={"k": [1]},
        priority=3,
        max_attempts=2,
    )
    prompt = finished(line)
    for name in ("messages", "custom_id", "endpoint", "model", "system", "options", "metadata"):
        assert getattr(prompt, name) == getattr(line, name)
    assert (prompt.priority, prompt.max_attempts) == (3, 2)


def test_what_is_typed_wins_over_what_the_file_says():
    """It was typed for this file; options and metadata are put over the line's, key by key."""
    line = RequestLine(
        prompt="x", endpoint="gpt", model="m", options={"a": 1, "b": 1}, priority=1, max_attempts=1
    )
    prompt = finished(
        line,
        endpoint="default",
        model="n",
        system="t",
        options={"b": 2},
        metadata={"c": 3},
        priority=0,
        max_attempts=9,
    )
    assert (prompt.endpoint, prompt.model, prompt.system) == ("default", "n", "t")
    assert prompt.options == {"a": 1, "b": 2}
    assert prompt.metadata == {"c": 3}
    assert (prompt.priority, prompt.max_attempts) == (0, 9)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (RequestLine(), 'has no prompt: write it as "prompt", or as "messages"'),
        (
            RequestLine(prompt="x", messages=[{"role": "user"}]),
            "has both a prompt and messages: keep one",
        ),
        (RequestLine(prompt=" \n"), "has an empty prompt"),
        (RequestLine(messages=[]), "has no messages"),
        (RequestLine(messages=[{"content": "x"}]), 'without "role" (messages[0])'),
        (RequestLine(prompt="x", options={"stream": False}), "Spool stores streams; remove it"),
        (RequestLine(prompt="x", options={"n": 300}), "number of answers (n) that is not 1 to 128"),
        (RequestLine(prompt="x", options={"model": "m"}), "contradicts the prompt's own model"),
        (RequestLine(prompt="x\x00"), "U+0000"),
        (RequestLine(prompt="x", metadata={"k": ["\x00"]}), "U+0000"),
        (RequestLine(prompt="x", system="\ud800"), "surrogate pair"),
        (RequestLine(prompt="x", options={"\udfff": 1}), "surrogate pair"),
        (
            RequestLine(prompt="x", endpoint="defalt"),
            "did you mean default? (there is: claude, default",
        ),
        (
            RequestLine(messages=[{"role": "user"}], endpoint="old"),
            "openai-completions takes one text",
        ),
    ],
)
def test_what_no_worker_could_send_is_refused(line, words):
    """Now, by name, and not in the middle of the night."""
    assert words in reason(line)


def test_a_line_without_an_id_gets_one_that_stays_the_same():
    """Adding the same file twice adds nothing twice."""
    once, again = (read('{"prompt": "a"}\n{"prompt": "a"}\n') for _ in range(2))
    assert [prompt.custom_id for prompt in once] == [prompt.custom_id for prompt in again]
    assert once[0].custom_id.startswith("line-1-")
    assert once[0].custom_id != once[1].custom_id


def test_a_derived_id_changes_with_the_line_and_with_the_file():
    """An edited line is a new prompt; so is the same line of another file in one batch."""
    ids = {
        read(data, name=name)[0].custom_id
        for name, data in (
            ("f.jsonl", '{"prompt": "a"}'),
            ("f.jsonl", '{"prompt": "b"}'),
            ("g.jsonl", '{"prompt": "a"}'),
        )
    }
    assert len(ids) == 3


def test_without_a_batch_no_id_is_derived():
    """Nothing could be recognised by it."""
    assert only(read('{"prompt": "a"}', batch=None)).custom_id is None


def test_an_id_that_repeats_is_told():
    """The store would keep the first and silently leave the second."""
    items = read('{"prompt": "a", "custom_id": "1"}\n{"prompt": "b", "custom_id": 1}')
    assert texts(items) == ["a"]
    assert reasons(items) == ['line 2 repeats the custom_id "1" of an earlier one: give it its own']
    assert len(texts(read('{"prompt": "a", "custom_id": "1"}\n' * 2, batch=None))) == 2


def test_ids_are_remembered_in_bounded_memory(monkeypatch):
    """Past the bound the store still counts what was there already."""
    monkeypatch.setattr("worker.ingest.intake._REMEMBERED_IDS", 1)
    lines = "".join(f'{{"prompt": "a", "custom_id": "{each}"}}\n' for each in "abab")
    assert len(texts(read(lines))) == 3


def test_only_storable_text_passes():
    """Emoji are text; halves of them are not."""
    assert unstorable({"a": ["é", "😀", 1, None, {"b": "x"}]}) == ""
    assert "surrogate" in unstorable(["\ud83d"])


def test_a_text_of_the_file_is_quoted_visibly_and_short():
    """A message is one line of a terminal."""
    assert shortened("a") == '"a"'
    assert "\x1b" not in shortened("\x1b[2J")
    assert len(shortened("x" * 1000)) < 80
