"""gzip in, plain bytes out, in bounded pieces: for servers that compress though asked not to.

A few bytes of gzip can become a thousand times as many; a call never returns
more than it is allowed to, and what is left waits in its compressed form.
"""

from __future__ import annotations

import zlib

_GZIP = 31  # window bits: a gzip header is expected


class Inflater:
    """Feed compressed bytes, then take until nothing comes; raises zlib.error on corrupt data."""

    def __init__(self) -> None:
        self._machine = zlib.decompressobj(_GZIP)
        self._packed = b""
        self._more = False  # the machine may hold output back

    def feed(self, data: bytes) -> None:
        """Take compressed bytes."""
        self._packed += data

    def take(self, limit_bytes: int) -> bytes:
        """At most that many plain bytes; b"" when more must be fed first."""
        while self._packed or self._more:
            data = self._machine.decompress(self._packed, limit_bytes)
            self._packed = self._machine.unconsumed_tail
            self._more = len(data) == limit_bytes
            if self._machine.eof:
                # Another member may follow (RFC 1952, 2.2), or padding.
                self._packed = self._machine.unused_data.lstrip(b"\0")
                self._machine = zlib.decompressobj(_GZIP)
                self._more = False
            if data:
                return data
        return b""
