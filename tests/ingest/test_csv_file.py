"""CSV rows are numbered by their lines; a row that is wrong does not move the others."""

from __future__ import annotations

import csv

import pytest

from tests.ingest.reading import broken, only, read, reasons, texts
from worker.errors import InputError
from worker.ingest import Format
from worker.ingest.lines import SAVE_AS_UTF8
from worker.ingest.template import Template


@pytest.fixture(autouse=True)
def field_limit():
    """The limit of the csv module is global; other tests shall not see ours."""
    before = csv.field_size_limit()
    yield
    csv.field_size_limit(before)


def read_csv(data, **options):
    return read(data, name="f.csv", **options)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_tells_the_delimiter(delimiter):
    """Spreadsheets of half the world write semicolons."""
    data = delimiter.join(["prompt", "custom_id", "n"]) + "\n" + delimiter.join("abc")
    item = only(read_csv(data))
    assert (item.prompt, item.custom_id, item.metadata) == ("a", "b", {"n": "c"})


def test_quotes_hold_delimiters_quotes_and_lines():
    """And the number of a row is that of its first line."""
    data = 'prompt,n\r\n"a, ""x""\r\nb",1\r\nlonely\r\nc,2\r\n'
    items = read_csv(data)
    assert texts(items) == ['a, "x"\nb', "c"]
    assert reasons(items) == [
        "line 4 has 1 of the header's 2 cells: quote what holds commas",
    ]


def test_a_bom_and_empty_lines_are_no_rows():
    """Spreadsheets write both."""
    assert texts(read_csv("\ufeffprompt\n\na\n\n")) == ["a"]


def test_bytes_that_are_not_utf8_are_told_and_the_next_row_is_found():
    """The quotes of such a line still count."""
    items = read_csv(b'prompt,n\n"x\xff",1\n"b\nb",2\n')
    assert reasons(items) == [f"line 2 is not UTF-8 at byte 3: {SAVE_AS_UTF8}"]
    assert texts(items) == ["b\nb"]


def test_a_stray_quote_is_told():
    """Strictly, or the text would be silently another one."""
    items = read_csv('prompt,n\n"a"b,1\nc,2\n')
    assert reasons(items)[0].startswith("line 2 is not valid CSV")
    assert texts(items) == ["c"]


def test_a_quote_that_is_never_closed_does_not_swallow_the_file():
    """Nor does the rest of it become prompts."""
    data = 'prompt\nfirst\n"never closed\n' + "more\n" * 1000
    before, told = broken(data.encode(), Format.CSV, max_line_bytes=2000)
    assert before == ["first"]
    assert "line 3 begins a row of more than max_line_bytes (2000)" in told


def test_a_quote_that_is_not_closed_at_the_end_is_told():
    """A file that was cut."""
    assert "is not valid CSV: unexpected end of data" in reasons(read_csv('prompt\n"cut'))[0]


def test_a_line_above_the_limit_is_told():
    """Without being loaded."""
    items = read_csv("prompt\na\n" + "x" * 3000 + "\nb\n", max_line_bytes=2000)
    assert texts(items) == ["a", "b"]
    assert "line 3 has 3,000 bytes" in reasons(items)[0]


def test_prompts_longer_than_the_modules_own_limit_are_read():
    """128 KiB is not much."""
    assert len(only(read_csv("prompt\n" + "x" * 200_000)).prompt) == 200_000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("title\na\n", "has no column called prompt (there is: title)"),
        ("prompt,a,a\n", "has the column 'a' twice"),
        (b"prompt\xff\n", "line 1 is not UTF-8"),
    ],
)
def test_a_header_that_will_not_do_is_told_once(data, words):
    """For the file, not for each row."""
    with pytest.raises(InputError) as caught:
        read_csv(data)
    assert words in str(caught.value)


def test_an_empty_file_holds_no_prompts():
    """That is all there is to say."""
    assert read_csv("") == []


def test_a_template_makes_prompts_of_rows():
    """With an id column of any name."""
    item = only(read_csv("text,key\na,7\n", template=Template("S: {{ text }}"), id_column="key"))
    assert (item.prompt, item.custom_id) == ("S: a", "7")
