"""Where a decoder puts what it reads: deltas coalesced by kind, order kept.

One ``Delta`` is made for each run of one kind within a read, with one join,
instead of one object per token.  Text that went in is storable when it comes
out (see text.py).
"""

from __future__ import annotations

from worker.records import Json, Kind
from worker.wire.events import Delta
from worker.wire.text import Channel
from worker.wire.tools import ToolLines


class Output:
    """Collects the output of one response.

    Attributes:
        seen: the kinds that have had output so far.
    """

    __slots__ = ("_channels", "_deltas", "_kind", "_parts", "_tools", "seen")

    def __init__(self) -> None:
        self.seen: set[Kind] = set()
        self._channels = {Kind.TEXT: Channel(), Kind.THINKING: Channel()}
        self._tools = ToolLines()
        self._deltas: list[Delta] = []
        self._kind = Kind.TEXT
        self._parts: list[str] = []

    def add(self, kind: Kind, text: str) -> None:
        """Append to one kind; the empty text is allowed and says nothing."""
        if not text:
            return
        if kind is not self._kind:
            self._close_run()
            self._kind = kind
        self._parts.append(text)

    def add_tool(
        self, index: int, *, call_id: Json = None, name: Json = None, arguments: Json = None
    ) -> None:
        """Append one piece of a tool call."""
        self.add(
            Kind.TOOL_CALLS,
            self._tools.line(index, call_id=call_id, name=name, arguments=arguments),
        )

    def has_any(self) -> bool:
        """Whether any output at all has come."""
        return bool(self.seen or self._parts)

    def has(self, kind: Kind) -> bool:
        """Whether output of one kind has come."""
        return kind in self.seen or bool(self._parts and self._kind is kind)

    def take(self, *, final: bool = False) -> list[Delta]:
        """The deltas since the last call; the final call also lets go of held-back halves."""
        self._close_run()
        if final:
            for kind, channel in self._channels.items():
                self._append(kind, channel.end())
            self._append(Kind.TOOL_CALLS, self._tools.end())
        deltas, self._deltas = self._deltas, []
        return deltas

    def _close_run(self) -> None:
        if not self._parts:
            return
        text = "".join(self._parts)
        self._parts.clear()
        self.seen.add(self._kind)
        if self._kind is not Kind.TOOL_CALLS:
            text = self._channels[self._kind].join(text)
        self._append(self._kind, text)

    def _append(self, kind: Kind, text: str) -> None:
        if not text:
            return
        if self._deltas and self._deltas[-1].kind is kind:  # what was between them held nothing
            text = self._deltas.pop().text + text
        self._deltas.append(Delta(kind, text))
