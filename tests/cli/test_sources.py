"""Files and standard input are opened with a reason when they cannot be."""

from __future__ import annotations

import gzip
import io
import sys

import pytest

from tests.ingest.reading import intake
from worker.cli.sources import opened, typed_text
from worker.errors import InputError
from worker.ingest import BadLine


@pytest.fixture
def stdin(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def prompts(source):
    found = list(source.prompts(intake()))
    return [str(each) if isinstance(each, BadLine) else each.prompt for each in found]


def test_a_file_has_a_size_and_gives_its_name_to_the_batch(here):
    """Without folders: the same file is the same batch from anywhere."""
    (here / "p.txt").write_bytes(b"hello")
    with opened(str(here / "p.txt"), twice=False) as source:
        assert (source.size, source.batch, source.position()) == (5, "p.txt", 0)
        assert prompts(source) == ["hello"]
        assert (source.position(), source.layout) == (5, "one a line")


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("data", [b"a\nb\n", gzip.compress(b"a\nb\n", mtime=0)])
def test_standard_input_is_read(stdin, twice, data):
    """And, where it has to be, twice, by way of the disk; its first bytes say what it is."""
    stdin(data)
    with opened("-", twice=twice) as source:
        assert source.batch is None
        assert prompts(source) == ["a", "b"]
        if twice:
            assert prompts(source) == ["a", "b"]
            assert source.size == len(data)


@pytest.fixture
def letters(here):
    """A folder with texts, a table, a picture, and what nobody wants to send."""
    folder = here / "letters"
    (folder / "old").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "b.txt").write_bytes(b"Dear B,\r\nhello.\n")
    (folder / "old" / "a.md").write_text("Dear A,\n\nhello.\n")
    (folder / "c.csv").write_text("prompt\nfirst\nsecond\n")
    (folder / "d.png").write_bytes(bytes(range(256)) * 40)
    (folder / "e.txt").write_text(" \n")
    (folder / ".hidden.txt").write_text("no")
    (folder / ".git" / "config").write_text("no")
    (folder / "loop").symlink_to(folder)
    (folder / "gone.txt").symlink_to(folder / "nowhere")
    return folder


def test_a_folder_is_read_file_by_file(letters):
    """Sorted, with what is below it; hidden files are skipped, and what is no text is named."""
    with opened(str(letters), twice=False) as source:
        given = intake(batch="letters")
        found = list(source.prompts(given))
    good = [each for each in found if not isinstance(each, BadLine)]
    assert [(each.prompt, each.custom_id) for each in good if each.prompt.startswith("Dear")] == [
        ("Dear B,\nhello.\n", "b.txt"),
        ("Dear A,\n\nhello.\n", "old/a.md"),
    ]
    assert [each.prompt for each in good][1:3] == ["first", "second"]
    bad = [(each.file, str(each)) for each in found if isinstance(each, BadLine)]
    assert [file for file, _ in bad] == ["d.png", "gone.txt"]
    assert "is not text" in bad[0][1]
    assert source.batch == "letters"


def test_a_folder_is_a_batch_by_its_own_name(here, letters, monkeypatch):
    """Also where it is called `.`."""
    monkeypatch.chdir(letters)
    with opened(".", twice=False) as source:
        assert (source.batch, source.kept_as) == ("letters", str(letters))


@pytest.mark.parametrize(
    ("typed", "text"),
    [("hello", "hello"), ("@@me hello", "@me hello"), ("@p.txt", "one\ntwo\n"), ("@-", "stdin")],
)
def test_a_prompt_may_be_typed_as_the_name_of_a_file(here, stdin, typed, text):
    """A document on the command line is one prompt."""
    (here / "p.txt").write_bytes("\ufeffone\r\ntwo\n".encode())
    stdin(b"stdin")
    assert typed_text(typed, 1 << 20) == text


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("@none", "there is no file none: check its name; a prompt that begins with @ is written"),
        ("@", "there is no file @"),
        ("@.", "there is no file ."),
        ("@latin", "latin is not UTF-8 at byte 2"),
        ("@long", r"long has more than max_line_bytes \(9\)"),
    ],
)
def test_a_file_that_is_no_prompt_is_told(here, typed, words):
    """With the way to write a prompt that begins with @."""
    (here / "latin").write_bytes(b"a\xe9")
    (here / "long").write_bytes(b"x" * 10)
    with pytest.raises(InputError, match=words):
        typed_text(typed, 9)


def test_a_person_at_the_keyboard_is_told_how_it_ends(stdin, monkeypatch, capsys):
    """A program that waits for input looks like one that hangs."""
    stdin(b"hello")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with opened("-", twice=False):
        pass
    assert capsys.readouterr().err == "spool: type prompts, one a line; Ctrl-D ends\n"


def test_what_cannot_be_opened_is_told():
    """With the cure."""
    with (
        pytest.raises(InputError, match="there is no file none: check its name"),
        opened("none", twice=False),
    ):
        pass
