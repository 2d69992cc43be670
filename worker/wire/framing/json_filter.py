"""A very long JSON object, read in bounded memory.

Some frames are legally long: Ollama's last one repeats the context as an array
of tokens, llama.cpp's the whole prompt, OpenAI's Responses repeat the whole
text in up to four events.  ``JsonFilter`` is fed such a frame in pieces and keeps
only the fields that somebody wants, so the frame is never held as a whole:

    {"response":"","done":true,"context":[1,2,...a million...],"eval_count":12}
    {"response":"","done":true,"eval_count":12}

What it keeps is JSON again and is then read like any short frame.  Which fields
are wanted is a tree: a mapping of names to what is wanted below them, with None
for "all of it" and END for "the end of it, if it is a long string"; arrays are
transparent.  A string that was shortened stands in an object under END_FIELD.

It is a state machine with one method per state.  Each takes the bytes and an
index and returns the index where the next state goes on; the long stretches
(strings, and values that are dropped or copied whole) are crossed by regular
expressions.  Brackets and strings are checked everywhere; numbers and words
inside dropped values are not.  A fault is remembered and reported by
``finish``, because an object that is cut off is not a faulty one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Literal, TypeAlias, Union

from worker.wire.tolerant_json import parse


class _Leaf(Enum):
    END = "the end of a string"


END: Literal[_Leaf.END] = _Leaf.END
END_FIELD = "end"
DROPPED_FIELD = "dropped"  # characters before that end

Keep: TypeAlias = Union[Mapping[str, "Keep"], Literal[_Leaf.END], None]  # noqa: UP007  (a recursive alias must be a string or a Union)

_State: TypeAlias = Callable[["JsonFilter", bytes, int], int]

_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb'[^ \t\r\n,:"\[\]{}]*')
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SPAN_STOP = re.compile(rb'["\[\]{}]')
_SCALAR_START = frozenset(b"-0123456789tfnNI")
_CLOSER = dict(zip(b"{[", b"}]", strict=True))
_QUOTE, _COMMA, _COLON = b'",:'
_OPEN_BRACE, _OPEN_BRACKET, _CLOSE_BRACE = b"{[}"
_KEY_BYTES_MAX = 256
_LEVELS_MAX = 10_000
_END_BYTES = 16 * 1024  # of a string whose end is wanted, as it is written
# Where no escape and no letter is cut in two: at a backslash that none precedes, but not at half a
# letter, or behind as many bytes without a backslash as the longest escape has.
_UNCUT = re.compile(rb"(?<=[^\\])\\(?!u[dD][c-fC-F])|(?<=[^\\]{6})(?![\\\x80-\xbf])")


class JsonFilter:
    """Reads one JSON object piece by piece and keeps the wanted part of it."""

    def __init__(self, keep: Mapping[str, Keep]) -> None:
        self._kept = bytearray()
        self._state: _State = JsonFilter._start  # a bound method would be a reference cycle
        self._levels: list[tuple[int, Mapping[str, Keep]]] = []  # containers that are filtered
        self._span_closers = bytearray()  # containers within a value that is copied or dropped
        self._want: Keep = keep  # what is wanted of the value at hand ...
        self._copy = True  # ... if anything is
        self._key = bytearray()
        self._escaped = False  # the last byte was a backslash inside a string
        self._end_of: bytearray | None = None  # of a string of which only the end is wanted
        self._dropped = 0  # characters of its start
        self._fault = ""

    @property
    def kept(self) -> int:
        """Bytes held for the result."""
        return len(self._kept) + len(self._end_of or b"")

    def feed(self, data: bytes) -> None:
        """Take the next piece; never raises."""
        index = 0
        while index < len(data) and not self._fault:
            index = self._state(self, data, index)

    def finish(self) -> bytes:
        """The wanted part, as JSON.

        Raises:
            ValueError: the object is not complete, or it is not JSON.
        """
        if self._fault or self._state is not JsonFilter._end:
            raise ValueError(self._fault or "cut off")
        return bytes(self._kept)

    # --- between values

    def _start(self, data: bytes, index: int) -> int:
        index = _skip_space(data, index)
        if index == len(data):
            return index
        return self._open(data, index) if data[index] == _OPEN_BRACE else self._fail("no object")

    def _end(self, data: bytes, index: int) -> int:
        index = _skip_space(data, index)
        return index if index == len(data) else self._fail("text after the object")

    def _first_key(self, data: bytes, index: int) -> int:
        index = _skip_space(data, index)
        if index < len(data) and data[index] == _CLOSE_BRACE:
            return self._close(index)
        return self._next_key(data, index)

    def _next_key(self, data: bytes, index: int) -> int:
        index = _skip_space(data, index)
        if index == len(data):
            return index
        if data[index] != _QUOTE:
            return self._fail("a key is missing")
        self._key.clear()
        self._state = JsonFilter._in_key
        return index + 1

    def _in_key(self, data: bytes, index: int) -> int:
        end, closed = self._string_end(data, index)
        if len(self._key) <= _KEY_BYTES_MAX:  # a longer one is nobody's
            self._key += data[index:end]
        if closed:
            self._choose()
            self._state = JsonFilter._colon
        return end

    def _choose(self) -> None:
        """Decide about the value of the key that was just read."""
        _, tree = self._levels[-1]
        raw = b'"' + self._key
        name = self._key[:-1].decode("utf-8", "replace")
        if b"\\" in raw:
            try:
                name = str(parse(bytes(raw)))
            except ValueError:
                name = ""
        self._copy = name in tree
        if self._copy:
            self._want = tree[name]
            self._comma_unless(_OPEN_BRACE)
            self._kept += raw + b":"

    def _colon(self, data: bytes, index: int) -> int:
        index = _skip_space(data, index)
        if index == len(data):
            return index
        self._state = JsonFilter._value
        return index + 1 if data[index] == _COLON else self._fail("a colon is missing")

    def _first_element(self, data: bytes, index: int) -> int:
        index = _skip_space(data, index)
        closer, _ = self._levels[-1]
        if index < len(data) and data[index] == closer:
            return self._close(index)
        return self._next_element(data, index)

    def _next_element(self, data: bytes, index: int) -> int:
        index = _skip_space(data, index)
        if index == len(data):
            return index
        _, self._want = self._levels[-1]
        self._copy = True
        self._comma_unless(_OPEN_BRACKET)
        return self._value(data, index)

    def _after_value(self, data: bytes, index: int) -> int:
        index = _skip_space(data, index)
        if index == len(data):
            return index
        closer, _ = self._levels[-1]
        if data[index] == closer:
            return self._close(index)
        if data[index] != _COMMA:
            return self._fail("a comma is missing")
        self._state = JsonFilter._next_key if closer == _CLOSE_BRACE else JsonFilter._next_element
        return index + 1

    # --- values

    def _value(self, data: bytes, index: int) -> int:
        index = _skip_space(data, index)
        if index == len(data):
            return index
        byte = data[index]
        if byte in _SCALAR_START:
            self._state = JsonFilter._scalar
            return index
        if byte == _QUOTE:
            if self._copy and self._want is END:
                self._end_of, self._dropped = bytearray(), 0
            else:
                self._emit(data[index : index + 1])
            self._state = JsonFilter._string
            return index + 1
        if byte not in _CLOSER:
            return self._fail("a value is missing")
        if self._copy and isinstance(self._want, Mapping):
            return self._open(data, index)
        self._state = JsonFilter._span
        return index

    def _scalar(self, data: bytes, index: int) -> int:
        found = _SCALAR.match(data, index)
        end = found.end() if found else index
        self._emit(data[index:end])
        if end < len(data):
            self._state = JsonFilter._after_value
        return end

    def _string(self, data: bytes, index: int) -> int:
        end, closed = self._string_end(data, index)
        if self._end_of is not None:
            self._keep_end(data[index:end], closed=closed)
        else:
            self._emit(data[index:end])
        if closed:
            self._state = JsonFilter._span if self._span_closers else JsonFilter._after_value
        return end

    def _span(self, data: bytes, index: int) -> int:
        """A container that is copied or dropped whole, up to its closer or its next string."""
        end = index
        while found := _SPAN_STOP.search(data, end):
            end, byte = found.end(), data[found.start()]
            if byte == _QUOTE:
                self._state = JsonFilter._string
                break
            if byte in _CLOSER:
                self._span_closers.append(_CLOSER[byte])
                if len(self._span_closers) > _LEVELS_MAX:
                    self._emit(data[index:end])
                    return self._fail("nested too deeply")
            elif self._span_closers.pop() != byte:
                self._emit(data[index:end])  # what is kept must not depend on the pieces
                return self._fail("brackets do not match")
            if not self._span_closers:
                self._state = JsonFilter._after_value
                break
        else:
            end = len(data)
        self._emit(data[index:end])
        return end

    # --- parts of states

    def _keep_end(self, piece: bytes, *, closed: bool) -> None:
        """Keep so much of a string as may be needed to compare its end."""
        end = self._end_of = self._end_of or bytearray()
        end += piece
        uncut = _UNCUT.search(end, len(end) - _END_BYTES) if len(end) > 2 * _END_BYTES else None
        if uncut is not None:
            try:
                self._dropped += len(parse(b'"%b"' % bytes(end[: uncut.start()])))
            except ValueError:
                self._fault = "a string that is none"
                return
            del end[: uncut.start()]
        if not closed:
            return
        self._end_of = None
        if not self._dropped:
            self._kept += b'"' + end
            return
        names = (END_FIELD.encode(), bytes(end), DROPPED_FIELD.encode(), self._dropped)
        self._kept += b'{"%b":"%b,"%b":%d}' % names

    def _open(self, data: bytes, index: int) -> int:
        """Enter a container whose content is filtered."""
        byte = data[index]
        if not isinstance(self._want, Mapping) or len(self._levels) > _LEVELS_MAX:
            return self._fail("nested too deeply")
        self._kept.append(byte)
        self._levels.append((_CLOSER[byte], self._want))
        self._state = JsonFilter._first_key if byte == _OPEN_BRACE else JsonFilter._first_element
        return index + 1

    def _close(self, index: int) -> int:
        closer, _ = self._levels.pop()
        self._kept.append(closer)
        self._state = JsonFilter._after_value if self._levels else JsonFilter._end
        return index + 1

    def _string_end(self, data: bytes, index: int) -> tuple[int, bool]:
        """Where the string that we are in stops in this piece, and whether it is closed there."""
        if self._escaped:
            self._escaped = False
            index += 1
        found = _STRING_REST.match(data, index)
        end = found.end() if found else index
        if end < len(data) and data[end] == _QUOTE:
            return end + 1, True
        self._escaped = end < len(data)  # it stopped at a backslash, the last byte
        return len(data), False

    def _comma_unless(self, opener: int) -> None:
        if self._kept[-1] != opener:
            self._kept.append(_COMMA)

    def _emit(self, piece: bytes) -> None:
        if self._copy:
            self._kept += piece

    def _fail(self, fault: str) -> int:
        self._fault = fault
        return 0


def _skip_space(data: bytes, index: int) -> int:
    found = _SPACE.match(data, index)
    return found.end() if found else index
