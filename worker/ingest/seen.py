"""Which ids a source has named already, in memory that does not grow with it.

Eight bytes an id, in a table of a fixed size: a Python set of a hundred thousand
hashes takes ten times as much.  What is kept is the hash, in 64 bits: that two ids
of one file share it happens once in billions of files.
"""

from __future__ import annotations

from array import array

_LOAD = 2  # slots for each id, at least: then a look takes hardly more than one


class Seen:
    """The first `most` different ids."""

    def __init__(self, most: int) -> None:
        slots = 1 << (most * _LOAD - 1).bit_length()
        self._table = array("q", (0,)) * slots
        self._mask = slots - 1
        self._left = most

    def repeats(self, custom_id: str) -> bool:
        """Whether this id was here before; a new one is remembered while there is room."""
        key = hash(custom_id) or 1  # 0 is a free slot
        table, mask = self._table, self._mask
        at = key & mask
        while held := table[at]:
            if held == key:
                return True
            at = (at + 1) & mask
        if self._left:
            self._left -= 1
            table[at] = key
        return False
