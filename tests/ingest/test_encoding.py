"""Packed files and UTF-16 are read like any other, in memory that does not grow."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from functools import partial

import pytest

from tests.ingest.reading import Drip
from worker.errors import InputError
from worker.ingest.encoding import readable

TEXT = "ä\n😀\n" * 5


def opened(data, source=None):
    return readable(io.BufferedReader(source or io.BytesIO(data)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("drips", [False, True])
def test_the_first_bytes_decide(encoding, packed, drips):
    """However the bytes come: from a file, from a pipe, a byte at a time."""
    mark = "\ufeff" if encoding.endswith("e") else ""
    data = (mark + TEXT).encode(encoding)
    if packed:
        data = gzip.compress(data[:5]) + gzip.compress(data[5:])
    assert opened(data, Drip(data) if drips else None).read().decode() == TEXT


def test_what_is_neither_is_left_alone():
    """A Parquet file has to be seekable."""
    source = io.BufferedReader(io.BytesIO(b"PAR1..."))
    assert readable(source) is source
    assert opened(b"").read() == b""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(b"hello" * 99, mtime=0)[:-9], "is gzip that is cut or damaged"),
        (gzip.compress(b"hello", mtime=0) + b"rest", "is gzip that is cut or damaged"),
        (gzip.compress(b"hello", mtime=0)[:10] + b"\xff" * 20, "is gzip that is cut or damaged"),
        (b"\x1f\x8b", "is gzip that is cut or damaged"),
        (b"\xff\xfea\x00b", "is not valid UTF-16"),
        (b"\xff\xfe\x00\xd8a\x00", "is not valid UTF-16"),
    ],
)
def test_what_is_damaged_is_told(data, words):
    """With the cure; what came before it was read."""
    with pytest.raises(InputError) as caught:
        opened(data).read()
    assert words in str(caught.value)
    assert "; the rest was not read" in str(caught.value)


def test_a_bomb_is_noticed_in_bounded_memory():
    """A megabyte would become a gigabyte of nothing."""
    packer = zlib.compressobj(9, wbits=31)
    blank = bytes(1 << 20)
    data = b"".join(packer.compress(blank) for _ in range(100)) + packer.flush()
    source = opened(data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="grows to more than 1000 times its size"):
            all(iter(partial(source.read, 1 << 16), b""))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
