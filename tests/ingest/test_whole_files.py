"""A whole text is one prompt, as it is."""

from __future__ import annotations

import pytest

from tests.ingest.reading import only, read
from worker.errors import InputError
from worker.ingest.template import Template


def document(data, **options):
    return read(data, **{"name": "a.txt", "file_format": "text"} | options)


def test_all_of_it_is_the_prompt():
    """But for its byte order mark, and with LF at the ends of its lines."""
    made = only(document(b"\xef\xbb\xbfDear A,\r\n\r\nhello \xc3\xa9.\r\n"))
    assert (made.prompt, made.custom_id) == ("Dear A,\n\nhello é.\n", "a.txt")


@pytest.mark.parametrize("data", [b"", b" \r\n"])
def test_nothing_is_no_prompt(data):
    """As blank lines are none."""
    assert document(data) == []


def test_a_template_says_what_to_do_with_it():
    """It knows the text as `text`."""
    template = Template("Summarise:\n{{ text }}")
    made = only(document("one\ntwo", template=template))
    assert (made.prompt, made.custom_id, made.metadata) == (
        "Summarise:\none\ntwo",
        "a.txt",
        None,
    )
    with pytest.raises(InputError, match="has no column 'page'"):
        document("a", template=Template("{{ page }}"))


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (b"a\xe9", {}, r"is not UTF-8 at byte 2: save it as UTF-8 \(Windows or Latin-1"),
        (b"x" * 20, {"max_line_bytes": 9}, r"has more than max_line_bytes \(9\): raise it"),
        (b"x", {"name": "\udcff.txt"}, "has a name that is not UTF-8: rename it"),
    ],
)
def test_what_cannot_be_a_prompt_is_told(data, options, words):
    """In one sentence that reads on after the name of the file."""
    with pytest.raises(InputError, match=words):
        document(data, **options)


def test_a_name_that_is_too_long_is_no_id():
    """Then it is derived from the content."""
    assert only(document("a", name="x" * 600)).custom_id.startswith("file-1-")
