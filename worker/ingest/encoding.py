"""Bytes as they come into bytes that readers understand: gzip is unpacked, UTF-16 becomes UTF-8.

The first bytes decide, whatever the file is called, so that it works for standard input as well.
Both pass through in pieces: a file may be as long as it likes, packed or not.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from typing import Any, BinaryIO

from worker.errors import InputError

GZIP = b"\x1f\x8b"
_MARK_BYTES = 4
_BUFFER_BYTES = 1 << 16
_EXPANSION_MAX = 1000  # bytes out of one: text in its most boring form stays below, bombs do not
_EXPANSION_FROM_BYTES = 1 << 26  # a small file may be as dense as it likes
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def readable(source: io.BufferedReader) -> io.BufferedReader:
    """The source, unpacked and as UTF-8; itself if it is neither packed nor UTF-16.

    Reading from the source that is returned raises InputError where the file is damaged.
    """
    source, start = _started(source)
    if start.startswith(GZIP):
        source, start = _started(io.BufferedReader(_Unpacked(source), _BUFFER_BYTES))
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return io.BufferedReader(_Recoded(source, encoding), _BUFFER_BYTES)
    return source


def _started(source: io.BufferedReader) -> tuple[io.BufferedReader, bytes]:
    """The source and its first bytes; a pipe may give them one by one."""
    start = source.peek(_MARK_BYTES)
    if len(start) >= _MARK_BYTES:
        return source, start
    start = source.read(_MARK_BYTES)
    return io.BufferedReader(_Resumed(start, source), _BUFFER_BYTES), start


class _Resumed(io.RawIOBase):
    """A source of which the first bytes were read already."""

    def __init__(self, start: bytes, source: io.BufferedReader) -> None:
        self._start = start
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        piece, self._start = self._start[: len(view)], self._start[len(view) :]
        data = piece or self._source.read1(len(view))
        view[: len(data)] = data
        return len(data)


class _Counted:
    """A source that knows how many bytes were taken from it."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.taken = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self.taken += len(data)
        return data

    def seek(self, _offset: int, /) -> None:
        raise io.UnsupportedOperation("seek")


class _Unpacked(io.RawIOBase):
    """What is inside gzip, piece by piece; it may have several members."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = _Counted(packed)
        self._file = gzip.GzipFile(fileobj=self._packed, mode="rb")
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        try:
            data = self._file.read1(len(view))
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(
                f"is gzip that is cut or damaged ({error}): pack it again; the rest was not read"
            ) from error
        self._given += len(data)
        if self._given > max(_EXPANSION_FROM_BYTES, _EXPANSION_MAX * self._packed.taken):
            raise InputError(
                f"is gzip that grows to more than {_EXPANSION_MAX} times its size, as only bombs"
                " do: if you trust it, unpack it with zcat; the rest was not read"
            )
        view[: len(data)] = data
        return len(data)


class _Recoded(io.RawIOBase):
    """UTF-16 or UTF-32 as UTF-8, without its byte order mark."""

    def __init__(self, source: BinaryIO, encoding: str) -> None:
        self._source = source
        self._encoding = encoding.upper()
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._rest = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        while not self._rest and not self._ended:
            block = self._source.read(_BUFFER_BYTES)
            self._ended = not block
            try:
                self._rest = self._decoder.decode(block, final=self._ended).encode()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"is not valid {self._encoding} ({error.reason}): save it as UTF-8; the rest"
                    " was not read"
                ) from error
        piece, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(piece)] = piece
        return len(piece)
