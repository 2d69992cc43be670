"""Bytes become lines whatever the block size, and a line that is too long is never loaded."""

from __future__ import annotations

import io
import tracemalloc

import pytest

from tests.ingest.reading import Drip, read, reasons, texts
from worker.ingest.intake import BadLine
from worker.ingest.lines import SAVE_AS_UTF8, read_lines

TEXT = b"\xef\xbb\xbfone\r\n\r\ntwo \xe2\x80\xa8 half\n" + b"x" * 30 + b"\nlast"


def shown(items):
    return [str(item) if isinstance(item, BadLine) else item for item in items]


def test_lines_end_with_lf_or_crlf_and_a_bom_is_dropped():
    """And with nothing else: U+2028 may stand inside a JSON string."""
    assert shown(read_lines(io.BytesIO(TEXT), 20)) == [
        (1, b"one"),
        (2, b""),
        (3, b"two \xe2\x80\xa8 half"),
        "line 4 has 30 bytes, more than max_line_bytes (20): raise it",
        (5, b"last"),
    ]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_the_size_of_a_read_changes_nothing(monkeypatch, block):
    """Lines are where the bytes say, not where reads end."""
    whole = shown(read_lines(io.BytesIO(TEXT), 20))
    monkeypatch.setattr("worker.ingest.lines._BLOCK_BYTES", max(block, 3))
    assert shown(read_lines(io.BytesIO(TEXT), 20)) == whole


def test_a_pipe_that_drips_is_read_all_the_same():
    """`tail -f | spool add -`."""
    whole = shown(read_lines(io.BytesIO(TEXT), 20))
    assert shown(read_lines(io.BufferedReader(Drip(TEXT)), 20)) == whole


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_last_line_needs_no_end(end):
    """Editors differ."""
    assert texts(read(b"a\nb" + end, name="f.txt")) == ["a", "b"]


def test_memory_does_not_grow_with_a_line_that_is_too_long():
    """Sixty-four megabytes without a line end are skipped in blocks."""

    class Endless(io.RawIOBase):
        left = 64 << 20

        def read(self, size=-1):
            piece = min(size, self.left)
            self.left -= piece
            return b"x" * piece if piece else b"\nlast"[: self.tail()]

        ended = 0

        def tail(self):
            self.ended += 1
            return 5 if self.ended == 1 else 0

    tracemalloc.start()
    try:
        found = shown(read_lines(Endless(), 1 << 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [
        "line 1 has 67,108,864 bytes, more than max_line_bytes (1048576): raise it",
        (2, b"last"),
    ]
    assert peak < 4 << 20


def test_plain_lines_are_prompts_and_bad_ones_are_told():
    """Blank ones are neither."""
    items = read(b"a\n\n  \nb\xff\nc\x00\nd\n", name="f.txt")
    assert texts(items) == ["a", "d"]
    assert reasons(items) == [
        f"line 4 is not UTF-8 at byte 2: {SAVE_AS_UTF8}",
        "line 5 holds the character U+0000, which databases cannot store: remove it",
    ]
