"""Any coding comes out byte for byte, in bounded steps; the first bytes decide, not the label."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from worker.http.transport.content_coding import RATIO_FROM_BYTES, CodingError, Unpacker

TEXT = random.Random(1).randbytes(1000) * 50
STREAM = b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n' * 3


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def unpacked(body: bytes, *, label: str = "", size: int = 1 << 20, limit: int = 65536) -> bytes:
    unpacker, plain = Unpacker(label), b""
    for start in range(0, len(body), size):
        unpacker.feed(body[start : start + size])
        plain += taken(unpacker, limit)
    unpacker.end()
    return plain + taken(unpacker, limit)


def taken(unpacker: Unpacker, limit: int = 65536) -> bytes:
    """All that comes out now."""
    plain = b""
    while unpacker.pending:
        data = unpacker.take(limit)
        assert len(data) <= limit
        plain += data
    return plain


@pytest.mark.parametrize("limit", [1000, 65536])
@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_any_cut_gives_the_same_bytes(size, limit):
    """Fed byte by byte or whole."""
    assert unpacked(gzip.compress(TEXT), label="gzip", size=size, limit=limit) == TEXT


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "label",
    ["", "identity", "none", "UTF-8", "gzip", "x-gzip", "deflate", "br", "zstd", "identity, gzip",
     "gzip, identity", "aws-chunked", "\x00,,"],
)  # fmt: skip
@pytest.mark.parametrize(
    "plain",
    [
        STREAM,
        b"x^2 is a text, and so is (this)",
        b"{}",
        b"x",
        b"(",
        b"",
        '\ufeff{"text": "caf\u00e9"}'.encode(),
        b"\n\n: a comment",
    ],
)  # fmt: skip
def test_plain_text_is_plain_whatever_its_label_is(plain, label, size):
    """Labels are typed into the settings of proxies by hand."""
    assert unpacked(plain, label=label, size=size) == plain


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("label", ["", "gzip", "identity, gzip", "none", "deflate", "br"])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "zlib"])
def test_what_bears_a_mark_is_known_without_a_label(pack, label, size):
    """Some proxies lose the header and keep the bytes."""
    assert unpacked(pack(STREAM), label=label, size=size) == STREAM


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("pack", [raw_deflate, lambda data: zlib.compress(data, 4)])
def test_deflate_is_zlib_and_what_servers_take_for_it(pack, size):
    """The name means zlib (RFC 9110, 8.4.1.2), and some send it without its header."""
    assert unpacked(pack(STREAM), label="deflate", size=size) == STREAM


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_what_two_proxies_compressed_is_decompressed_twice(size):
    """Each of them believes that it is the only one."""
    packed = gzip.compress(gzip.compress(STREAM))
    assert unpacked(packed, label="gzip, gzip", size=size) == STREAM


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_what_follows_a_member_is_looked_at_again(size):
    """A second member, padding, and the plain words of a proxy that lost its server."""
    packed = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0\0\0"
    assert unpacked(packed, label="gzip", size=size) == b"one two"
    packed = gzip.compress(b"one ") + b"\0\0upstream lost"
    assert unpacked(packed, label="gzip", size=size) == b"one upstream lost"


@pytest.mark.parametrize(
    ("body", "label", "said"),
    [
        (b"\x28\xb5\x2f\xfd" + bytes(20), "", "zstd"),
        (bytes(range(128, 160)), "br", "br"),
        (b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 20, "gzip", "corrupt"),
        (b"\xff" * 20, "deflate", "corrupt"),
    ],
)
def test_what_cannot_be_read_is_named(body, label, said):
    """The cure is in the server."""
    with pytest.raises(CodingError, match=said):
        unpacked(body, label=label)


def test_a_cut_is_no_error():
    """It gives what was there: the done frame tells whether that was all."""
    plain = unpacked(gzip.compress(TEXT)[:-200], size=64, limit=1000)
    assert plain
    assert TEXT.startswith(plain)


def test_what_is_flushed_can_be_read_at_once():
    """A stream of tokens does not wait for the end of its block."""
    packer = zlib.compressobj(wbits=31)
    unpacker = Unpacker("gzip")
    for token in (b"a", b"bc", b"d" * 258, b"d" * 1000):
        unpacker.feed(packer.compress(token) + packer.flush(zlib.Z_SYNC_FLUSH))
        assert taken(unpacker, 10) == token


def test_a_text_without_a_coding_is_never_held_back():
    """Not even its first byte, if no coding begins so."""
    unpacker = Unpacker()
    for byte in STREAM:
        unpacker.feed(bytes([byte]))
        assert taken(unpacker) == bytes([byte])


def test_a_step_decompresses_once():
    """What grows out of a few bytes is bounded by the limit of each call, empty blocks as well."""
    unpacker = Unpacker("gzip")
    unpacker.feed(gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 10_000)
    assert unpacker.take(65536) == b""
    assert not unpacker.pending
    unpacker.feed(b"\x4b\x04\x00")
    assert taken(unpacker) == b"a"


@pytest.mark.parametrize("layers", [1, 2])
def test_what_grows_without_end_is_refused(layers):
    """A bomb may not keep a worker busy; a stream of tokens grows twentyfold."""
    body = bytes(1 << 26)
    for _ in range(layers):
        body = gzip.compress(body)
    unpacker, size = Unpacker("gzip"), 0
    unpacker.feed(body)
    with pytest.raises(CodingError, match="more than 200 times"):  # noqa: PT012
        while unpacker.pending:
            size += len(unpacker.take(65536))
    assert size <= RATIO_FROM_BYTES * 2
    frames = b"".join(b'data: {"id":"x","created":1,"text":"%d"}\n\n' % n for n in range(400_000))
    assert unpacked(gzip.compress(frames)) == frames
