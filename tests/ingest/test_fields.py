"""What people write is understood, or one sentence says why not and what to do."""

from __future__ import annotations

import json
import re

import pytest

from tests.ingest.reading import intake, read
from worker.ingest.intake import BadLine
from worker.ingest.rows import from_row
from worker.ingest.template import Template

USER = [{"role": "user", "content": "q"}]
SHARE = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


def made(row, **options):
    """The prompt of a row, and what `add` says about it."""
    given = intake(**options)
    return from_row(1, row, b"raw", given, checked=True), str(given.taken)


@pytest.mark.parametrize(
    ("row", "asked", "said"),
    [
        ({"text": "q"}, "q", "text -> prompt"),
        ({"question": "q", "answer": "a"}, "q", "question -> prompt; 1 column kept as metadata (answer)"),
        ({"query": "q", "id": 7}, "q", "id -> custom_id, query -> prompt"),
        ({"content": "q", "title": "t"}, "q", "content -> prompt"),
        ({"instruction": "q", "input": "", "output": "a"}, "q", "instruction -> prompt; 1 column"),
        ({"instruction": "q", "input": "x"}, "q\n\nx", "instruction -> prompt, input -> prompt"),
        ({"instruction": "q", "context": "x", "response": "a"}, "q\n\nx", "context -> prompt"),
        ({"instruction": "q", "input": "", "output": "a", "text": "all"}, "q", "(output, text)"),
        ({"input": "q", "instructions": "be brief"}, "q", "instructions -> system"),
        ({"inputs": "q", "parameters": {"top_k": 1}}, "q", "parameters -> request options"),
        ({"system_prompt": "s", "question": "q"}, "q", "system_prompt -> system"),
        ({"Prompt": "q"}, "q", "Prompt -> prompt"),
        ({"prompt": "q", "completion": "a"}, "q", "1 column kept as metadata (completion)"),
        ({"prompt": ["q"]}, "q", ""),
        ({"prompt": USER, "chosen": SHARE}, USER, "prompt -> messages"),
        ({"messages": USER, "source": "web"}, USER, "1 column kept as metadata (source)"),
        ({"input": USER}, USER, "input -> messages"),
        ({"conversations": SHARE}, USER, "1 with a last answer, which is not sent but kept"),
        ({"messages": SHARE}, USER, "messages -> messages"),
        ({"conversation": USER, "model": "m"}, USER, "conversation -> messages"),
        ({"text": "q", "url": "http://host/", "body": "b"}, "q", "(url, body)"),
    ],
)  # fmt: skip
def test_what_data_sets_call_a_prompt_is_one(row, asked, said):
    """And `add` says what was taken for what."""
    prompt, told = made(row)
    assert (prompt.messages or prompt.prompt) == asked
    assert said in told


def test_request_options_at_the_top_of_a_line_are_request_options():
    """Nothing that a request body may say is lost, and what streams anyway need not be said."""
    options = {
        "temperature": 0.1,
        "max_tokens": 5,
        "tools": [],
        "seed": 1,
        "top_p": 1,
        "stop": ["\n"],
        "response_format": {"type": "json_object"},
        "n": 1,
    }
    prompt, told = made({"model": "m", "messages": USER, "stream": False, **options})
    assert (prompt.options, prompt.model, prompt.metadata) == (options, "m", None)
    assert "temperature -> request option" in told


def test_a_chain_of_thought_is_no_option():
    """Data sets have columns of the same names."""
    prompt = made({"question": "q", "reasoning": "first, ...", "thinking": "hm"})[0]
    assert prompt.metadata == {"reasoning": "first, ...", "thinking": "hm"}
    asked = made({"question": "q", "reasoning": {"effort": "low"}, "think": False})[0]
    assert asked.options == {"reasoning": {"effort": "low"}, "think": False}


def test_options_of_both_kinds_come_together():
    """Unless they contradict each other."""
    row = {"prompt": "q", "options": {"a": 1, "top_p": 1}, "top_p": 1}
    assert made(row)[0].options == {"a": 1, "top_p": 1}
    told = made(row | {"options": {"top_p": 0}})[0].reason
    assert told == 'has "top_p" twice, in "top_p" and elsewhere: keep one of them'


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "q", "temperature": "hot"}, "is wrong in temperature: expected a number, got"),
        ({"prompt": "q", "temperture": 0}, "did you mean temperature?"),
        ({"prompt": "q", "n": 300}, "number of answers (n) that is not 1 to 128"),
        ({"question": ""}, "has an empty question"),
        ({"question": 3}, "is wrong in question: expected a text"),
        ({"answer": "a"}, "has no prompt (its keys: answer): call one of them prompt"),
        ({}, "has no prompt (its keys: none)"),
        ({"custom_id": "a", "response": {}, "error": None}, "is an answer of a batch"),
        ({"body": {}, "url": "/v1/chat/completions", "seed": 1}, 'has "seed" beside its body'),
        ({"conversations": [{"from": "x", "value": "y"}]}, "is none of human, gpt, system, tool"),
        ({"prompt": "q", "system": [{"type": "image"}]}, "a list of other blocks"),
    ],
)
def test_what_cannot_be_understood_is_told(row, words):
    """In one sentence."""
    assert words in made(row)[0].reason


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "messages": USER},
        {"prompt": "q", "conversations": SHARE},
        {"prompt": "q", "input": "x"},
        {"prompt": "q", "instruction": "x"},
        {"question": "q", "context": "x"},
        {"question": "q", "text": "x"},
        {"instruction": "q", "text": "x"},
        {"context": "x"},
        {"answer": "x"},
    ],
)
def test_two_keys_that_could_be_the_prompt_are_told_with_a_template_that_works(row):
    """A wrong guess would be seen after a night of answers; the hint is followed here."""
    told = made(row)[0]
    assert isinstance(told, BadLine)
    template = re.search(r"--template '(.*)'", told.reason)[1]
    prompt = made(row, template=Template(template))[0]
    assert prompt.prompt
    assert "{" not in prompt.prompt
    assert set(prompt.metadata or {}) == set(row) - prompt_keys(template)


def prompt_keys(template):
    return set(re.findall(r"\{\{ (\w+) \}\}", template))


def test_who_obeys_a_hint_gets_what_it_promises():
    """A misspelt option becomes one; data of one's own is kept as metadata."""
    assert made({"prompt": "q", "temperature": 0})[0].options == {"temperature": 0}
    kept = made({"prompt": "q", "metadata": {"temperture": 0}})[0]
    assert (kept.options, kept.metadata) == (None, {"temperture": 0})


def test_a_table_may_have_columns_of_any_name():
    """They are data; what looks misspelt is said, and n is a number of something."""
    given = intake()
    row = {"prompt": "q", "temperture": "0", "n": "3"}
    prompt = from_row(1, row, b"raw", given)
    assert prompt.metadata == {"temperture": "0", "n": "3"}
    assert "temperture -> metadata (did you mean temperature?)" in str(given.taken)


def test_anthropics_system_blocks_stay_as_they_are_for_its_own_dialect():
    """Others get their texts."""
    blocks = [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]
    row = {"messages": USER, "system": blocks, "max_tokens": 9}
    assert made(row, endpoint="claude")[0].options == {"system": blocks, "max_tokens": 9}
    assert made(row)[0].system == "s"


def test_a_key_of_the_users_own_that_repeats_is_told():
    """As a custom_id: the answers could not be told apart by it."""
    items = read('{"text": "a", "id": 1}\n{"text": "b", "id": 1}')
    assert 'repeats the custom_id "1"' in items[1].reason


@pytest.mark.parametrize("value", [True, {"a": 1}, "", "x" * 600])
def test_what_can_be_no_id_is_kept_as_metadata(value):
    """And the prompt gets a derived one."""
    prompt = made({"text": "a", "id": value})[0]
    assert prompt.metadata == {"id": value}
    assert prompt.custom_id.startswith("line-1-")


def test_the_same_words_are_understood_in_every_format():
    """JSON Lines, a JSON array and CSV give the same prompts."""
    rows = [{"id": "a", "question": "q1", "temperature": 0.5}, {"id": "b", "question": "q2"}]
    lines = "\n".join(map(json.dumps, rows))
    found = [
        read(lines),
        read(json.dumps(rows), name="f.json"),
        read("id,question,temperature\na,q1,0.5\nb,q2,\n", name="f.csv"),
    ]
    assert found[0] == found[1] == found[2]
    assert [(each.custom_id, each.prompt, each.options) for each in found[0]] == [
        ("a", "q1", {"temperature": 0.5}),
        ("b", "q2", None),
    ]


def test_each_row_is_looked_at_for_itself():
    """What was data in one row is part of a batch request in the next, and the other way round."""
    web = {"text": "q", "url": "http://host/", "body": "b", "x": 1}
    batch = {"custom_id": "r", "url": "/v1/chat/completions", "body": {"messages": USER}, "x": 1}
    items = read("\n".join(map(json.dumps, (web, batch, web, batch | {"custom_id": "s"}))))
    assert [each.metadata.get("url") for each in items] == ["http://host/", None] * 2
    assert [each.messages for each in items] == [None, USER] * 2
    assert [each.metadata["x"] for each in items] == [1] * 4
