"""Which tool call a piece belongs to, and whether a repetition of a call says the same.

Servers disagree about what names a call: an index, an id, both, or neither.
Some count every call as 0, some repeat the id on each piece, some make a new id
for each piece.  The rules:

* a known id goes on with its call, whatever the index says;
* a new id with a name begins a call; without a name it goes on with an open one;
* without an id the index decides; without both, a name begins a call;
* a name after whole arguments begins a call, under any index.

What stays ambiguous is an error, because a piece in the wrong call would be
stored as if it were right.  The arguments are followed far enough to see where
their JSON ends.  What repeats them whole is not appended, and what contradicts
them is an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.errors import Malformed
from worker.records import Json
from worker.wire.call import Call
from worker.wire.tool_calls import ToolLines, as_string

CALLS_MAX = 10_000  # of one answer; each takes about a kilobyte while the stream is open

_EMPTY = "{}"  # some servers begin every call with it; then it means nothing


class ToolCalls:
    """The tool calls of one response.

    Attributes:
        written: lines (see tool_calls.py) that the output has not taken yet.
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_lines", "_shared", "written")

    def __init__(self) -> None:
        self.written: list[str] = []
        self._lines = ToolLines()
        self._calls: list[Call] = []
        self._by_id: dict[str, Call] = {}
        self._by_index: dict[int, Call] = {}
        self._shared: set[int] = set()  # indexes under which calls took turns unfinished

    def piece(
        self, arguments: Json, *, index: Json = None, call_id: Json = None, name: Json = None
    ) -> None:
        """Take a piece that names its call by any of its parts.

        Raises:
            Malformed: it is not clear which call is meant, or it contradicts the call.
        """
        place, known_as, named = _number(index), _word(call_id), _word(name)
        text = as_string(arguments)
        call = self._call_of(place, known_as, named, text)
        self._name(call, known_as, named)
        if arguments is None or isinstance(arguments, str):
            self._append(call, text)
        else:  # an object is never a piece
            self._complete(call, text)

    def add(self, arguments: Json, *, call_id: Json = None, name: Json = None) -> None:
        """Take a whole call, unless it is one that came before, with the same id and words.

        Raises:
            Malformed: the id belongs to a call with other words.
        """
        known = self._by_id.get(_word(call_id) or "")
        call = self._new(None) if known is None or known.is_over(_word(name)) else known
        if known is not None and known.name == _word(name) and not known.rest(as_string(arguments)):
            call = known
        self._name(call, _word(call_id), _word(name))
        self._complete(call, as_string(arguments))

    def begin(
        self, *, index: int | None, ids: Sequence[Json], name: Json, arguments: Json = None
    ) -> None:
        """Take the announcement of a call; its arguments count unless pieces of them come.

        Raises:
            Malformed: it contradicts the call that has its place.
        """
        words = _words(ids)
        call = self._known(index, words)
        if call is None or (words and call.id not in {None, *words} and call.is_over(_word(name))):
            call = self._new(index)
        self._announce(call, words, _word(name))
        if arguments is not None and arguments != "" and not call.arguments.length:
            call.held = as_string(arguments)

    def more(self, arguments: Json, *, index: int | None, ids: Sequence[Json] = ()) -> None:
        """Take a piece of the arguments of an announced call.

        Raises:
            Malformed: it contradicts what came before.
        """
        words = _words(ids)
        call = self._known(index, words)
        if call is None:
            nameless = index is None and not words and self._calls
            call = self._calls[-1] if nameless else self._new(index)
        self._by_id.update((word, call) for word in words)
        self._append(call, as_string(arguments))

    def whole(
        self,
        arguments: Json,
        *,
        index: int | None,
        ids: Sequence[Json],
        name: Json = None,
        turn: int | None = None,
        place: int | None = None,
    ) -> None:
        """Take a repetition of a whole call: append what is missing.

        Args:
            arguments: all of them, or None if they are not repeated.
            index: as in the stream; None if the repetition may count otherwise.
            ids: of the call, the surest first.
            name: of its function, or None if it is not repeated.
            turn: which call it is by its order, for the case that neither is known.
            place: its number, if it is new.

        Raises:
            Malformed: it contradicts what was streamed.
        """
        words, named = _words(ids), _word(name)
        call = self._known(index, words)
        if call is None and turn is not None and -1 <= turn < len(self._calls) and self._calls:
            candidate = self._calls[turn]
            fits = named is None or candidate.name in {None, named}
            call = candidate if fits else None
        if call is None:
            call = self._new(index, place)
        self._announce(call, words, named)
        if arguments is not None:
            self._complete(call, as_string(arguments))

    def end(self, index: int | None) -> None:
        """The call at this index is whole.

        Raises:
            Malformed: what it began with and the pieces after it differ.
        """
        if (call := self._known(index, ())) is not None:
            self._settle(call)

    def settle(self) -> None:
        """Every call is whole.

        Raises:
            Malformed: what one began with and the pieces after it differ.
        """
        for call in self._calls:
            self._settle(call)

    def let_go(self) -> None:
        """The stream is over, however it ended: write what was held back."""
        for call in self._calls:
            if call.held and not call.arguments.length:
                self._put(call, call.held)
            call.held = None
        if rest := self._lines.end():
            self.written.append(rest)

    # --- which call

    def _call_of(
        self, index: int | None, call_id: str | None, name: str | None, arguments: str
    ) -> Call:
        here = self._calls[-1] if index is None and self._calls else None
        here = self._by_index.get(index) if index is not None else here
        known = self._by_id.get(call_id) if call_id else None
        if known is not None:
            return self._known_again(known, here, index, name)
        if here is None or (not call_id and index is None and self._begins(here, name, arguments)):
            return self._new(index)
        if call_id:
            adopts = here.id is None and not (name and (index is None or here.is_over(name)))
            goes_on = index is not None and not name and not here.is_whole
            return here if adopts or goes_on else self._new(index)
        if index in self._shared:
            raise Malformed("a piece of a tool call without an id, where several calls take turns")
        if here.is_over(name):
            again = here.id is not None and here.rest(arguments) == ""
            repeats = name == here.name and (again or not arguments.strip())
            return here if repeats else self._new(index)
        if name and here.name and name != here.name:
            raise Malformed("a tool call that changes its name")
        return here

    def _begins(self, here: Call, name: str | None, arguments: str) -> bool:
        """Whether a piece that only has a name begins a call after this one."""
        begun = bool(here.arguments.length or here.held)
        if name == here.name and (not arguments.strip() if begun else bool(arguments)):
            return False
        if name == here.name and begun and not here.is_whole and here.arguments.length:
            return False
        if name == here.name and not begun:
            raise Malformed("a tool call without an id that may begin, or go on with, another one")
        return bool(name)

    def _known_again(
        self, known: Call, here: Call | None, index: int | None, name: str | None
    ) -> Call:
        if index is not None and here is None and known.is_over(name):
            return self._new(index)  # one id for all calls
        if name and known.name and name != known.name:
            raise Malformed("two names for one tool call")
        if index is not None and here is not known:
            if here is not None:
                self._shared.add(index)
            self._by_index[index] = known
        return known

    def _known(self, index: int | None, ids: Sequence[str]) -> Call | None:
        """An announced call: by its index, which stays the same where ids change, else by an id."""
        if index is not None and (call := self._by_index.get(index)) is not None:
            return call
        found = (self._by_id.get(word) for word in ids)
        return next((call for call in found if call is not None), None)

    def _new(self, index: int | None, place: int | None = None) -> Call:
        if len(self._calls) >= CALLS_MAX:
            raise Malformed(f"more than {CALLS_MAX} tool calls in one answer")
        before = None if index is None else self._by_index.get(index)
        if index is not None and before is not None and not before.is_whole:
            self._shared.add(index)
        taken = {call.number for call in self._calls}
        number = max(taken, default=-1) + 1
        wanted = place if index is None else index
        if wanted is not None and wanted >= 0 and wanted not in taken:
            number = wanted
        call = Call(number)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    # --- what it says

    def _name(self, call: Call, call_id: str | None, name: str | None) -> None:
        if call_id:
            self._by_id[call_id] = call
        call_id, name = call_id if call.id is None else None, name if call.name is None else None
        call.id, call.name = call.id or call_id, call.name or name
        if call_id or name:
            self._line(call, call_id=call_id, name=name)

    def _announce(self, call: Call, ids: Sequence[str], name: str | None) -> None:
        if name and call.name and name != call.name:
            raise Malformed("two names for one tool call")
        self._name(call, ids[0] if ids else None, name)
        self._by_id.update((word, call) for word in ids)

    def _append(self, call: Call, piece: str) -> None:
        if not piece:
            return
        if not call.arguments.length and piece.strip() == _EMPTY:
            call.held = call.held or piece
            return
        if call.held is not None and call.held.strip() == _EMPTY and piece.strip():
            call.held = None
        if call.is_whole and (piece.lstrip()[:1] in {"{", "["} or call.was_repeated):
            if piece.strip() and call.rest(piece) != "":
                raise Malformed("the arguments of a tool call begin again after their end")
            return
        self._put(call, piece)

    def _complete(self, call: Call, whole: str) -> None:
        rest = call.rest(whole)
        if rest is None:
            raise Malformed("the arguments of a tool call are repeated with other words")
        call.held = None
        call.was_repeated = True
        self._put(call, rest)

    def _settle(self, call: Call) -> None:
        held, call.held = call.held, None
        if held is None:
            return
        rest = call.rest(held)
        if rest is None and not call.arguments.begins_with(held):
            raise Malformed("the arguments of a tool call are repeated with other words")
        self._put(call, rest or "")

    def _put(self, call: Call, piece: str) -> None:
        if piece:
            call.add(piece)
            self._line(call, arguments=piece)

    def _line(
        self, call: Call, *, call_id: Json = None, name: Json = None, arguments: Json = None
    ) -> None:
        line = self._lines.line(call.number, call_id=call_id, name=name, arguments=arguments)
        if line:
            self.written.append(line)


def _number(index: Json) -> int | None:
    if isinstance(index, str) and index.isdecimal() and len(index) < len(str(CALLS_MAX)) + 2:
        return int(index)
    return index if type(index) is int else None


def _word(value: Json) -> str | None:
    """An id or a name; numbers are taken as they are written."""
    if type(value) is int:
        return str(value)
    return value if isinstance(value, str) and value else None


def _words(values: Sequence[Json]) -> list[str]:
    return [word for value in values if (word := _word(value))]
