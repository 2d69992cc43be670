"""Content codings: bytes as they came in, plain bytes out, in bounded steps.

Requests ask for `identity`, so a coding is a habit of some server or proxy, and so
is the label: plain text labelled gzip, gzip without a label, `none`, `UTF-8`,
`identity, gzip`.  The first bytes decide; the label decides only where a coding
has no mark of its own.  What follows the end of a gzip member is looked at again.

A few bytes can become a thousand times as many.  So one call of `take` decompresses
once, returns no more than it is allowed to, and the ratio has a limit.  What two
proxies have compressed one after the other is decompressed twice.
"""

from __future__ import annotations

import zlib
from typing import Protocol

RATIO_MAX = 200  # a stream of tokens shrinks to a twentieth
RATIO_FROM_BYTES = 4 * 1024 * 1024  # of plain bytes; before that any ratio is allowed

_LOOK_BYTES = 16  # decide between text and a coding that has no mark
_GZIP, _ZLIB, _DEFLATE = 31, 15, -15  # window bits, as zlib takes them
_GZIP_MARK = b"\x1f\x8b\x08"
_ZSTD_MARK = b"\x28\xb5\x2f\xfd"
_ZLIB_MARKS = (b"\x78\x01", b"\x78\x9c", b"\x78\xda")  # the fourth, 78 5e, is text as well
_MARKS = (_GZIP_MARK, _ZSTD_MARK, *_ZLIB_MARKS)
_BOM = b"\xef\xbb\xbf"


class CodingError(Exception):
    """The body cannot be made plain; the text says why."""


class _Machine(Protocol):
    """One decompressor, as `zlib.decompressobj` is one."""

    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...


class Unpacker:
    """Makes one body plain: feed bytes, then take until `pending` is false.

    Args:
        label: the value of Content-Encoding; "" if there is none.

    Raises:
        CodingError: the data is corrupt, in a coding that cannot be read here, or its
            ratio exceeds `RATIO_MAX`.
    """

    def __init__(self, label: str = "", *, is_inner: bool = False) -> None:
        """is_inner: what is fed was decompressed once; a third coding is not undone."""
        self._is_inner = is_inner
        self._inner: Unpacker | None = None  # for what comes out of the machine
        self._labels = {part.strip().lower() for part in label.split(",")}
        self._packed = b""
        self._machine: _Machine | None = None
        self._looks = True  # at the bytes that come next: is it a coding?
        self._pads = False  # what comes next may be zeros after a member
        self._more = False  # the machine may hold output back
        self._ended = False
        self._packed_bytes = 0
        self._plain_bytes = 0

    @property
    def pending(self) -> bool:
        """Whether `take` may give something without being fed."""
        return self._is_ready() or (self._inner is not None and self._inner.pending)

    def _is_ready(self) -> bool:
        if self._looks:
            return bool(self._packed) and (self._ended or self._can_decide())
        return bool(self._packed) or self._more

    @property
    def held_bytes(self) -> int:
        """Bytes in memory."""
        return len(self._packed) + (self._inner.held_bytes if self._inner else 0)

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        self._packed_bytes += len(data)
        self._packed = self._packed + data if self._packed else data
        if self._pads:
            self._skip_padding()

    def end(self) -> None:
        """No more bytes will come."""
        self._ended = True
        if self._inner is not None and not self._is_ready():
            self._inner.end()

    def take(self, limit_bytes: int) -> bytes:
        """The plain bytes of one step, at most that many; often none."""
        if self._inner is not None and self._inner.pending:
            return self._grown(self._inner.take(limit_bytes))
        if not self._is_ready():
            return b""
        if self._looks:
            self._looks = False
            self._machine = self._recognised()
            if self._machine and not (self._inner or self._is_inner):
                self._inner = Unpacker(is_inner=True)
        if self._machine is None:
            data, self._packed = self._packed[:limit_bytes], self._packed[limit_bytes:]
            return data
        data = self._grown(self._step(self._machine, limit_bytes))
        if self._inner is None:
            return data
        self._inner.feed(data)
        if self._ended:
            self.end()
        return self._inner.take(limit_bytes)

    def _step(self, machine: _Machine, limit_bytes: int) -> bytes:
        try:
            data = machine.decompress(self._packed, limit_bytes)
        except zlib.error as error:
            raise CodingError(f"its compression is corrupt ({error})") from error
        self._packed = machine.unconsumed_tail
        self._more = len(data) == limit_bytes
        if machine.eof:
            # Another member may follow (RFC 1952, 2.2), or padding, or plain text of a proxy.
            self._packed = machine.unused_data
            self._machine, self._looks, self._more = None, True, False
            self._skip_padding()
        return data

    def _skip_padding(self) -> None:
        self._packed = self._packed.lstrip(b"\0")
        self._pads = not self._packed

    def _grown(self, data: bytes) -> bytes:
        """The same data, once it is counted."""
        self._plain_bytes += len(data)
        packed_bytes = self._packed_bytes - len(self._packed)
        if self._plain_bytes > max(RATIO_FROM_BYTES, RATIO_MAX * packed_bytes):
            raise CodingError(
                f"it grows to more than {RATIO_MAX} times its size when it is decompressed,"
                " as no answer of a model does"
            )
        return data

    def _can_decide(self) -> bool:
        """Whether the first bytes are enough."""
        head = self._packed
        if not any(mark.startswith(head[: len(mark)]) for mark in _MARKS):
            return not self._labels & {"deflate", "br"} or len(head) >= _LOOK_BYTES
        return len(head) >= max(map(len, _MARKS))

    def _recognised(self) -> _Machine | None:
        """What undoes the coding of the next bytes; None if they are plain."""
        head = self._packed
        if head.startswith(_GZIP_MARK):
            return zlib.decompressobj(_GZIP)
        if head.startswith(_ZLIB_MARKS):
            return zlib.decompressobj(_ZLIB)
        if head.startswith(_ZSTD_MARK):
            raise CodingError("it is compressed with zstd")
        if self._labels.isdisjoint({"deflate", "br"}) or _is_text(head[:_LOOK_BYTES]):
            return None
        if "br" in self._labels:
            raise CodingError("it is compressed with br")
        is_zlib = head[0] & 0x0F == zlib.DEFLATED and not int.from_bytes(head[:2]) % 31
        return zlib.decompressobj(_ZLIB if is_zlib else _DEFLATE)


def _is_text(head: bytes) -> bool:
    """Whether a body begins as text does; compressed bytes hardly ever look like it for long."""
    try:
        text = head.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        if error.end < len(head):
            return False
        text = head[: error.start].decode()  # a character that the look has cut
    return all(char.isprintable() or char in "\t\r\n" for char in text)
