"""Servers that send the whole text so far in each frame, instead of what is new.

Appended, such snapshots would make a long text of repetitions that looks whole.
The first pieces of a stream show it: each begins with all of the one before.
"""

from __future__ import annotations

from worker.errors import Malformed

PIECES = 8  # of text are looked at; then it is clear what the server sends
_IN_A_ROW = 2
_WORDS_MIN = 2  # in a piece that is repeated: a row of ever longer signs is no snapshot
_SHORT_MIN = 3  # pieces of an answer that is over before enough was seen
_SENTENCE = (
    "each frame repeats the whole text so far; let the server send only what is new"
    " (incremental output)"
)


class SnapshotGuard:
    """Watches the first pieces of a text."""

    __slots__ = ("_all_longer", "_left", "_piece", "_row")

    def __init__(self) -> None:
        self._left = PIECES
        self._all_longer = True
        self._piece = ""
        self._row = 0

    def saw(self, piece: str) -> bool:
        """Whether enough was seen, and each piece was new.

        Raises:
            Malformed: the pieces are snapshots.
        """
        if not piece:
            return False
        before, self._piece = self._piece, piece
        longer = len(piece) > len(before) and piece.startswith(before)
        self._row = self._row + 1 if longer and len(before.split()) >= _WORDS_MIN else 0
        self._all_longer = self._all_longer and longer
        if self._row >= _IN_A_ROW:
            raise Malformed(_SENTENCE)
        self._left -= 1
        return self._left <= 0

    def settle(self) -> None:
        """The answer is over, and it was short.

        Raises:
            Malformed: each piece repeated the one before.
        """
        many = PIECES - self._left >= _SHORT_MIN
        if many and self._all_longer and len(self._piece.split()) > _WORDS_MIN:
            raise Malformed(_SENTENCE)
