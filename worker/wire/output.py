"""Where a decoder puts what it reads: deltas coalesced by kind, order kept.

One ``Delta`` is made for each run of one kind within a read, with one join,
instead of one object per token.  Text that went in is storable when it comes
out (see unicode.py).
"""

from __future__ import annotations

from worker.errors import Malformed
from worker.records import Json, Kind
from worker.wire.calls import ToolCalls
from worker.wire.events import Delta, Event, Extra
from worker.wire.streamed import Streamed
from worker.wire.tolerant_json import compact
from worker.wire.unicode import Channel, storable


class Output:
    """Collects the output of one response.

    Attributes:
        seen: the kinds that have had output so far.
        calls: the tool calls.
    """

    __slots__ = (
        "_channels",
        "_deltas",
        "_extras",
        "_kept",
        "_kind",
        "_parts",
        "_streamed",
        "calls",
        "seen",
    )

    def __init__(self) -> None:
        self.seen: set[Kind] = set()
        self.calls = ToolCalls()
        self._streamed = {Kind.TEXT: Streamed(), Kind.THINKING: Streamed()}
        self._extras: list[Extra] = []
        self._kept: set[int] = set()  # digests of extras that may come again
        self._channels = {Kind.TEXT: Channel(), Kind.THINKING: Channel()}
        self._deltas: list[Delta] = []
        self._kind = Kind.TEXT
        self._parts: list[str] = []

    def add(self, kind: Kind, text: str) -> None:
        """Append to one kind; the empty text is allowed and says nothing."""
        if not text:
            return
        if self.calls.written:
            self._take_calls()
        if kind is not self._kind:
            self._close_run()
            self._kind = kind
        self._parts.append(text)

    def add_extra(self, kind: str, value: Json, *, once: bool = False) -> None:
        """Keep what is no text: it is stored as the server sent it, beside the text.

        Args:
            kind: docs/dialects.md lists the kinds.
            value: what a server sent, any JSON.
            once: it may be a repetition, which is not kept again.
        """
        extra = Extra(kind, storable(compact(value)))
        if once:
            digest = hash(extra)
            if digest in self._kept:
                return
            self._kept.add(digest)
        self._extras.append(extra)

    def streamed(self, kind: Kind) -> Streamed:
        """What came of one kind so far."""
        self._close_run()
        return self._streamed[kind]

    def repeat(self, kind: Kind, whole: str) -> None:
        """Take a repetition of all text of one kind: append what is missing of it.

        Raises:
            Malformed: it says something else than what was streamed.
        """
        rest = self.streamed(kind).rest(whole)
        if rest is None:
            raise Malformed(f"the {kind} is repeated with other words than it was streamed with")
        self.add(kind, rest)

    def has_any(self) -> bool:
        """Whether any output at all has come."""
        return bool(self.seen or self._parts or self.calls.written or self._extras)

    def has(self, kind: Kind) -> bool:
        """Whether output of one kind has come."""
        return kind in self.seen or bool(self._parts and self._kind is kind)

    def take(self, *, final: bool = False) -> list[Event]:
        """What is new since the last call; the final call also lets go of what was held back."""
        if final:
            self.calls.let_go()
        if self.calls.written:
            self._take_calls()
        self._close_run()
        if final:
            for kind, channel in self._channels.items():
                self._append(kind, channel.end())
        events: list[Event] = [*self._deltas, *self._extras]
        self._deltas.clear()
        self._extras.clear()
        return events

    def _take_calls(self) -> None:
        if self._kind is not Kind.TOOL_CALLS:
            self._close_run()
            self._kind = Kind.TOOL_CALLS
        self._parts += self.calls.written
        self.calls.written.clear()

    def _close_run(self) -> None:
        if not self._parts:
            return
        text = "".join(self._parts)
        self._parts.clear()
        self.seen.add(self._kind)
        if self._kind is not Kind.TOOL_CALLS:
            self._streamed[self._kind].add(text)
            text = self._channels[self._kind].join(text)
        self._append(self._kind, text)

    def _append(self, kind: Kind, text: str) -> None:
        if not text:
            return
        if self._deltas and self._deltas[-1].kind is kind:  # what was between them held nothing
            text = self._deltas.pop().text + text
        self._deltas.append(Delta(kind, text))
