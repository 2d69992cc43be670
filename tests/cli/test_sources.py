"""Files and standard input are opened with a reason when they cannot be."""

from __future__ import annotations

import io
import sys

import pytest

from worker.cli.sources import opened
from worker.errors import InputError


@pytest.fixture
def stdin(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def test_a_file_has_a_size_and_gives_its_name_to_the_batch(here):
    """Without folders: the same file is the same batch from anywhere."""
    (here / "p.jsonl").write_bytes(b"hello")
    with opened(str(here / "p.jsonl"), twice=False) as source:
        assert (source.size, source.batch) == (5, "p.jsonl")
        assert source.file.peek()[:2] == b"he"
        assert source.file.read() == b"hello"


@pytest.mark.parametrize("twice", [False, True])
def test_standard_input_can_be_looked_at(stdin, twice):
    """And, where it has to be, read twice, by way of the disk."""
    stdin(b"hello")
    with opened("-", twice=twice) as source:
        assert source.batch is None
        assert source.file.peek()[:2] == b"he"
        assert source.file.read() == b"hello"
        if twice:
            source.rewind()
            assert (source.file.read(), source.size) == (b"hello", 5)


def test_a_person_at_the_keyboard_is_told_how_it_ends(stdin, monkeypatch, capsys):
    """A program that waits for input looks like one that hangs."""
    stdin(b"hello")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with opened("-", twice=False):
        pass
    assert capsys.readouterr().err == "spool: type prompts, one a line; Ctrl-D ends\n"


@pytest.mark.parametrize(
    ("path", "words"), [("none", "there is no file none: check its name"), (".", "is a directory")]
)
def test_what_cannot_be_opened_is_told(path, words):
    """With the cure."""
    with pytest.raises(InputError, match=words), opened(path, twice=False):
        pass
