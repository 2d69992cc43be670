"""One JSON document is read element by element, in bounded memory, and ends where it breaks."""

from __future__ import annotations

import io
import json
import tracemalloc

import pytest

from tests.ingest.reading import Drip, broken, intake, read, reasons, texts
from worker.ingest import Format, prompts

ANTHROPIC = {
    "requests": [
        {"custom_id": "a", "params": {"model": "c", "messages": [{"role": "user", "content": "x"}]}}
    ]
}


@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_of_rows_is_read(indent):
    """However it is laid out."""
    data = json.dumps([{"prompt": "a"}, {"prompt": "ü"}], indent=indent)
    assert texts(read(data, name="f.json")) == ["a", "ü"]


def test_anthropics_requests_are_read_wherever_they_stand():
    """Other keys may come before and after."""
    data = json.dumps({"x": [1, {"y": "]"}], **ANTHROPIC, "z": 2})
    (item,) = read(data, name="f.json", endpoint="claude")
    assert (item.custom_id, item.model, item.endpoint) == ("a", "c", "claude")


def test_a_bad_element_does_not_stop_the_others():
    """As long as it is JSON, the next one can be found."""
    data = '[3, {"prompt": "a"}, {"promt": 1}, {"prompt": "\\ud800"}, {"prompt": "b"}]'
    items = read(data, name="f.json")
    assert texts(items) == ["a", "b"]
    assert [told.partition(" ")[0:3:2] for told in reasons(items)] == [
        ("request", "1 is not an object"),
        (
            "request",
            '3 has the unknown key "promt"; did you mean prompt? If it is data of your own, put it into "metadata"',
        ),
        ("request", "4 holds half of a surrogate pair, which is not text: remove it"),
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'[{"prompt": "a"}, {"prompt": ', "is not valid JSON in request 2"),
        (b'[{"prompt": "a"} {"prompt": "b"}]', "after request 1: found '{' where ']' must be"),
        (b'[{"prompt": "a"}', "after request 1: the file ends where ']' must be"),
        (b'[{"prompt": "a"}, oops]', "is not valid JSON in request 2"),
        (b'[{"prompt": "a"}, {"prompt": "\xff"}]', "is not UTF-8"),
        (b'[{"prompt": "a"}, ' + b"[" * 100_000, "request 2"),
    ],
)
def test_after_broken_syntax_reading_ends_with_the_place(data, words, monkeypatch):
    """What came before is kept; nobody can say where the next element begins."""
    monkeypatch.setattr("worker.ingest.document._BLOCK_BYTES", 20)
    before, told = broken(data, Format.JSON)
    assert before == ["a"]
    assert words in told


def test_one_object_without_requests_is_no_list_of_prompts():
    """The cure is a line each."""
    assert "put one request on each line" in broken(b'{"prompt": {"a": 1}}', Format.JSON)[1]


def test_an_element_above_the_limit_ends_reading():
    """Without being loaded."""
    data = b'[{"prompt": "a"}, {"prompt": "' + b"x" * 400_000 + b'"}]'
    assert "max_line_bytes (100000)" in broken(data, Format.JSON, max_line_bytes=100_000)[1]


@pytest.mark.parametrize("block", [1, 2, 5, 16])
def test_the_size_of_a_read_changes_nothing(monkeypatch, block):
    """Numbers, escapes and characters may be cut anywhere."""
    rows = [{"prompt": 'é😀\\"x', "metadata": {"n": 12345, "f": 1.5e3}}, {"prompt": "b"}]
    data = json.dumps(rows, ensure_ascii=False)
    monkeypatch.setattr("worker.ingest.document._BLOCK_BYTES", block)
    items = read(data, name="f.json", source=io.BufferedReader(Drip(data.encode())))
    assert [(item.prompt, item.metadata) for item in items] == [
        (row["prompt"], row.get("metadata")) for row in rows
    ]


def test_memory_does_not_grow_with_the_document():
    """Twenty thousand requests pass through a window."""

    class Long(io.RawIOBase):
        def __init__(self):
            self.rows = iter(range(20_000))
            self.rest = b"["

        def read(self, size=-1):
            while len(self.rest) < size and (row := next(self.rows, None)) is not None:
                self.rest += b'%s{"prompt": "number %d"}' % (b"," if row else b"", row)
                if row == 19_999:
                    self.rest += b"]"
            piece, self.rest = self.rest[:size], self.rest[size:]
            return piece

    tracemalloc.start()
    try:
        count = sum(1 for _ in prompts(Long(), Format.JSON, intake(batch=None)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 1 << 20
