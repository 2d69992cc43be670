"""gzip comes out byte for byte, in bounded pieces, whatever the ratio."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from worker.transport.inflate import Inflater

TEXT = random.Random(1).randbytes(1000) * 50


def inflate(packed: bytes, *, size: int, limit: int) -> bytes:
    inflater, plain = Inflater(), b""
    for start in range(0, len(packed), size):
        inflater.feed(packed[start : start + size])
        while data := inflater.take(limit):
            assert len(data) <= limit
            plain += data
    return plain


@pytest.mark.parametrize("limit", [1000, 65536])
@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_any_cut_gives_the_same_bytes(size, limit):
    """Fed byte by byte or whole."""
    assert inflate(gzip.compress(TEXT), size=size, limit=limit) == TEXT


def test_nothing_is_held_back():
    """After every byte as much has come out as a machine without limits would give."""
    inflater, unlimited = Inflater(), zlib.decompressobj(31)
    for byte in gzip.compress(b"d" * 10_000 + TEXT[:100]):
        inflater.feed(bytes([byte]))
        plain = b"".join(iter(lambda: inflater.take(10), b""))
        assert plain == unlimited.decompress(bytes([byte]))


def test_a_bomb_comes_out_in_pieces():
    """A few bytes become 16 MiB, but never more than the limit at once."""
    packed = gzip.compress(bytes(1 << 24))
    assert len(packed) < 1 << 15
    assert inflate(packed, size=1 << 20, limit=65536) == bytes(1 << 24)


def test_a_second_member_is_not_dropped():
    """httpx drops it without a word."""
    packed = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0\0\0"
    assert inflate(packed, size=5, limit=100) == b"one two"


def test_what_is_flushed_can_be_read_at_once():
    """A stream of tokens does not wait for the end of its block."""
    packer = zlib.compressobj(wbits=31)
    inflater = Inflater()
    for token in (b"a", b"bc", b"d" * 258, b"d" * 1000):
        inflater.feed(packer.compress(token) + packer.flush(zlib.Z_SYNC_FLUSH))
        assert b"".join(iter(lambda: inflater.take(10), b"")) == token


def test_corrupt_data_is_an_error_and_a_cut_is_not():
    """A cut gives what was there: the done frame tells whether it was all."""
    packed = gzip.compress(TEXT)
    assert TEXT.startswith(inflate(packed[:-200], size=64, limit=1000))
    with pytest.raises(zlib.error):
        inflate(b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 20, size=64, limit=1000)
    with pytest.raises(zlib.error):
        inflate(b"plain text", size=64, limit=1000)
