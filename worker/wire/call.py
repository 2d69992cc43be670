"""One tool call so far: what names it, and how far its arguments have come."""

from __future__ import annotations

import re

from worker.wire.streamed import Streamed

_MARKS = re.compile(r'["\\{}\[\]]')
_SPACE = re.compile(r"\s+")


class Call:
    """One call so far.

    Attributes:
        number: of ours; the server's index, unless another call has it.
        held: arguments that came whole before any piece of them.
        was_repeated: its arguments came as a whole, after or instead of pieces.
        is_whole: the JSON of the arguments has ended.
    """

    __slots__ = (
        "_json",
        "_solid",
        "arguments",
        "held",
        "id",
        "name",
        "number",
        "was_repeated",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.id: str | None = None
        self.name: str | None = None
        self.held: str | None = None
        self.was_repeated = False
        self.arguments = Streamed()
        self._solid = Streamed()  # the same without white space
        self._json = _JsonEnd()

    @property
    def is_whole(self) -> bool:
        """Whether the JSON of the arguments has ended."""
        return self._json.is_reached

    def is_over(self, name: str | None) -> bool:
        """Whether a piece with this name can only begin another call."""
        if not name or not self.name:
            return False
        return self.is_whole or (name != self.name and self.arguments.length > 0)

    def add(self, piece: str) -> None:
        """Append to the arguments."""
        self.arguments.add(piece)
        self._solid.add(_SPACE.sub("", piece))
        self._json.add(piece)

    def rest(self, whole: str) -> str | None:
        """What whole arguments add to those that came; None if they contradict them."""
        rest = self.arguments.rest(whole)
        if rest is None and self._solid.rest(_SPACE.sub("", whole)) == "":
            return ""
        return rest


class _JsonEnd:
    """Sees where the first object or array of a JSON text ends, piece by piece."""

    __slots__ = ("_depth", "_is_escaped", "_is_in_string", "is_reached")

    def __init__(self) -> None:
        self.is_reached = False
        self._depth = 0
        self._is_in_string = False
        self._is_escaped = False

    def add(self, piece: str) -> None:
        """Follow the next piece."""
        if self.is_reached or not piece:
            return
        skipped = 0 if self._is_escaped else -1  # the character that a backslash took
        self._is_escaped = False
        for mark in _MARKS.finditer(piece):
            if mark.start() == skipped:
                continue
            if mark.group() == "\\":
                skipped = mark.start() + 1
                self._is_escaped = skipped == len(piece)
            elif mark.group() == '"':
                self._is_in_string = not self._is_in_string
            elif not self._is_in_string:
                self._depth += 1 if mark.group() in "{[" else -1
                if self._depth <= 0:
                    self.is_reached = True
                    return
