"""Which of the choices in a stream is the answer: the only one, whatever its index.

A run stores one answer.  Its index may be any number, and some servers (Text
Generation Inference) count the frames with it.  Two answers in one stream are an
error, because only one of them could be stored.
"""

from __future__ import annotations

from worker.errors import Malformed

_TWO = "two choices in one stream, and a run stores one answer; ask for one choice"


class SoleChoice:
    """Holds a stream to one answer.

    Attributes:
        is_first: the answer is the choice 0 and stays it, so nothing but its text is to be read.
    """

    __slots__ = ("_counts", "_has_ended", "_last", "_now", "is_first")

    def __init__(self) -> None:
        self.is_first = False
        self._last: int | None = None  # index of the choice that spoke last
        self._now: int | None = None  # index of the choice that spoke in the frame at hand
        self._counts = False  # the index counts the frames
        self._has_ended = False  # a finish reason came

    def begin_frame(self) -> None:
        """What comes now stands in another frame."""
        self._now = None

    def spoke(self, index: int | None) -> None:
        """Note output of the choice with this index.

        Raises:
            Malformed: another choice has spoken before.
        """
        if self._now is not None and index not in {None, self._now}:
            raise Malformed(_TWO)
        self._now = index
        if self._last is None:
            self._last = index or 0
        elif index is None or index == self._last:
            if self._counts:
                raise Malformed(_TWO)
            self.is_first = self._last == 0
        elif self.is_first or self._has_ended or not self._may_count(index):
            raise Malformed(_TWO)
        else:
            self._last, self._counts = index, True

    def ended(self, index: int | None) -> bool:
        """Note a finish reason; False if it belongs to a choice that says nothing.

        Raises:
            Malformed: the index seemed to count the frames, and does not.
        """
        if index not in {None, self._last} and self._last is not None:
            if self._counts and not self._may_count(index):
                raise Malformed(_TWO)
            if not self._may_count(index) or self.is_first:
                return False
        self._has_ended = True
        return True

    def settle(self) -> None:
        """The stream is over.

        Raises:
            Malformed: the last of several choices had no end, so they were not one answer.
        """
        if self._counts and not self._has_ended:
            raise Malformed(_TWO)

    def _may_count(self, index: int | None) -> bool:
        return self._last is not None and index == self._last + 1
