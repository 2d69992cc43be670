"""Each line is taken or told; a good line is never lost to a bad one."""

from __future__ import annotations

import json

import pytest

from tests.ingest.reading import only, read, reasons, texts
from worker.ingest.template import Template


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "is not valid JSON: it ends too early"),
        (b'{"prompt": "a"} x', "is not valid JSON: trailing characters"),
        (b'{"prompt": "a\x01"}', "is not valid JSON: invalid character"),
        (b"hello", "is not a JSON object: each line must be one"),
        (b"[1]", "is not a JSON object: expected object, got array"),
        (b'"a"', "is not a JSON object: expected object, got str"),
        (b'{"promt": "a"}', 'has the unknown key "promt"; did you mean prompt?'),
        (b'{"zzz": "a"}', "has no prompt (its keys: zzz): call one of them prompt, or say how"),
        (
            b'{"prompt": "a", "temperture": 1}',
            "did you mean temperature? If it is data of your own",
        ),
        (b'{"prompt": 3}', "is wrong in prompt: expected str, got int"),
        (b'{"messages": [3]}', "is wrong in messages[0]: expected object, got int"),
        (b'{"prompt": "a", "priority": "x"}', "is wrong in priority: expected int, got str"),
        (b'{"prompt": "a", "priority": 3000000000}', "is wrong in priority"),
        (b'{"prompt": "a", "max_attempts": 0}', "is wrong in max_attempts"),
        (b'{"prompt": "a", "custom_id": ""}', "is wrong in custom_id"),
        (b'{"prompt": "a", "custom_id": "' + b"x" * 600 + b'"}', "is wrong in custom_id"),
        (b'{"prompt": "a\xff"}', "is not UTF-8 at byte 14"),
        (b'{"prompt": "\\ud800"}', "holds half of a surrogate pair"),
        (b'{"prompt": "\\udc00\\ud800"}', "holds half of a surrogate pair"),
        (b'{"prompt": "\\u0000"}', "holds the character U+0000"),
        (b'{"prompt": "a", "metadata": {"\\u0000": 1}}', "holds the character U+0000"),
        (b'{"prompt": "a", "metadata": ' + b"[" * 5000, "is"),
        (b'{"prompt": "a", "options": {"x": NaN}}', "is not valid JSON"),
    ],
)
def test_a_bad_line_is_told_and_its_neighbours_are_taken(line, words):
    """By number, with the reason, in words."""
    items = read(b'{"prompt": "before"}\n' + line + b'\n\n{"prompt": "after"}')
    assert texts(items) == ["before", "after"]
    (told,) = reasons(items)
    assert told.startswith("line 2 ")
    assert words in told
    assert "`" not in told or "`stream`" in told


def test_whatever_json_can_say_is_taken():
    """Emoji as pairs, a backslash before u0000, separators of Unicode, CRLF, a BOM."""
    line = b'\xef\xbb\xbf{"prompt": "\\ud83d\\ude00 \\\\u0000 \xe2\x80\xa8"}\r\n'
    assert texts(read(line)) == ["😀 \\u0000 \u2028"]


def test_three_formats_may_stand_in_one_file():
    """Each line says by its keys what it is."""
    own = {"prompt": "a", "endpoint": "default"}
    batch = {"custom_id": "b", "method": "POST", "url": "/v1/chat/completions"}
    batch["body"] = {"messages": [{"role": "user", "content": "b"}]}
    lines = "\n".join(map(json.dumps, (own, batch)))
    items = read(lines, endpoint="gpt")
    assert [item.custom_id for item in items][1] == "b"


def test_any_rows_become_prompts_under_a_template():
    """And what the template does not use comes out again with the answer."""
    item = only(read('{"text": "a", "n": 3}', template=Template("Sum: {{ text }}")))
    assert (item.prompt, item.metadata) == ("Sum: a", {"n": 3})


def test_a_row_that_lacks_a_column_is_told():
    """An empty hole in a prompt would be worse."""
    items = read('{"n": 3}\n{"text": "b"}', template=Template("{{ text }}"))
    assert reasons(items) == ["line 1 has no column 'text' for the template (there is: n)"]
    assert texts(items) == ["b"]
