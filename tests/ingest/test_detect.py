"""The format of a file is told by its name, else by its first bytes."""

from __future__ import annotations

import io

import pytest

from worker.errors import InputError
from worker.ingest import detect


def found(name, data=b""):
    return str(detect(name, io.BufferedReader(io.BytesIO(data))))


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.jsonl", b"", "jsonl"),
        ("a.NDJSON", b"", "jsonl"),
        ("a.jsonl.gz", b"{", "jsonl"),
        ("a.csv.GZ", b"a,b", "csv"),
        ("a.jsonl", b" [1]", "json"),
        ("a.csv", b"", "csv"),
        ("a.tsv", b"", "csv"),
        ("a.parquet", b"", "parquet"),
        ("a.txt", b"{", "lines"),
        ("-", b"", "lines"),
        ("-", b"hello", "lines"),
        ("-", b'{"prompt": "a"}\n{"prompt": "b"}', "jsonl"),
        ("-", b'\xef\xbb\xbf \n[{"prompt": "a"}]', "json"),
        ("-", b"PAR1....", "parquet"),
        ("a.json", b'{"prompt": "a"}\n', "jsonl"),
        ("a.json", b'{"requests": []}', "json"),
        ("a.json", b'{\n  "requests": []}', "json"),
        ("a.json", b'{"requests": [{"custom_id": "' + b"x" * 70000, "json"),
        ("a.json", b'{"prompt": "' + b"x" * 70000, "jsonl"),
    ],
)
def test_name_first_then_content(name, data, expected):
    """`.json` says little: both kinds of file are called so."""
    assert found(name, data) == expected


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x28\xb5\x2f\xfd", "is compressed: zstdcat"),
        (b"BZh91", "is compressed: bzcat a.jsonl.gz | spool add -"),
    ],
)
def test_what_cannot_be_prompts_as_it_is_gets_its_cure(data, words):
    """A command to type."""
    with pytest.raises(InputError) as caught:
        found("a.jsonl.gz", data)
    assert words in str(caught.value)


def test_looking_reads_nothing():
    """A pipe cannot be rewound."""
    source = io.BufferedReader(io.BytesIO(b"hello"))
    detect("-", source)
    assert source.read() == b"hello"


@pytest.mark.parametrize("name", ["picture.png", "prompts.jsonl", "notes.txt", "-"])
def test_binary_data_is_no_file_of_prompts(name):
    """Else every line of an image that happens to be UTF-8 would be asked of a model."""
    with pytest.raises(InputError, match="is not text"):
        found(name, bytes(range(256)) * 40)


def test_a_stray_control_character_does_not_make_a_file_binary():
    """That line is told; the good ones are not lost to it."""
    assert found("a.jsonl", b'{"prompt": "a\x00"}\n' + b'{"prompt": "good"}\n' * 20) == "jsonl"
    assert found("a.txt", b"\x1b[1mcoloured\x1b[0m\n") == "lines"


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.txt", b"hello", "text"),
        ("a.md", b"# A", "text"),
        ("a.csv", b"prompt", "csv"),
        ("a.jsonl", b"{}", "jsonl"),
        ("a", b'{"prompt": "a"}', "jsonl"),
    ],
)
def test_in_a_folder_what_is_no_table_is_one_text(name, data, expected):
    """A folder of letters is not a list of their lines."""
    assert detect(name, io.BufferedReader(io.BytesIO(data)), whole=True) == expected
