"""What was streamed of a text, remembered in a few hundred bytes.

Some servers say a text twice: in pieces, and whole at the end.  ``Streamed``
compares the two without holding the text.  It keeps the length, the first and
the last characters; a piece that got lost moves everything behind it, so the
last characters show it.
"""

from __future__ import annotations

_EDGE_CHARS = 64
_PIECES_MAX = 32


class Streamed:
    """A text that arrived in pieces.

    Attributes:
        length: characters so far.
    """

    __slots__ = ("_edges", "_pieces", "length")

    def __init__(self) -> None:
        self.length = 0
        self._edges = ("", "")
        self._pieces: list[str] = []  # not yet looked at: many pieces are joined at once

    def add(self, text: str) -> None:
        """Append the next piece."""
        self.length += len(text)
        self._pieces.append(text)
        if len(self._pieces) >= _PIECES_MAX:
            self._fold()

    @property
    def _head(self) -> str:
        return self._fold()[0]

    @property
    def _tail(self) -> str:
        return self._fold()[1]

    def _fold(self) -> tuple[str, str]:
        if self._pieces:
            head, tail = self._edges
            text = "".join(self._pieces)
            self._pieces.clear()
            if len(head) < _EDGE_CHARS:
                head = (head + text)[:_EDGE_CHARS]
            self._edges = head, (tail + text[-_EDGE_CHARS:])[-_EDGE_CHARS:]
        return self._edges

    def rest(self, whole: str) -> str | None:
        """What a repetition of the whole text adds to it; None if it says something else.

        White space at both ends may differ, because servers strip it from what they repeat.
        """
        if (
            whole.startswith(self._head)
            and self.length <= len(whole)
            and whole.endswith(self._tail, 0, self.length)
        ):
            return whole[self.length :]
        return "" if self._is_but_for_space(whole.strip()) else None

    def rest_of_end(self, end: str, dropped: int) -> str | None:
        """The same, for a repetition of which only the last characters are known.

        Args:
            end: those characters.
            dropped: how many characters stood before them.
        """
        tail = self._tail.rstrip()
        at = self.length - (len(self._tail) - len(tail)) - dropped
        if at < 0 or not end.endswith(tail[-at:] if at else "", 0, at):
            return None
        rest, spaces = end[at:], self._tail[len(tail) :]
        return rest.removeprefix(spaces) if rest.strip() or rest.startswith(spaces) else ""

    def begins_with(self, start: str) -> bool:
        """Whether the text begins with this one, as far as its first characters show."""
        return self.length >= len(start) and self._head.startswith(start[:_EDGE_CHARS])

    def _is_but_for_space(self, bare: str) -> bool:
        if self.length <= _EDGE_CHARS:
            return self._head.strip() == bare
        head, tail = self._head.lstrip(), self._tail.rstrip()
        length = self.length - (len(self._head) - len(head)) - (len(self._tail) - len(tail))
        return len(bare) == length and bare.startswith(head) and bare.endswith(tail)
