"""What a decoder says about the bytes it was fed.

A decoder answers in coalesced pieces: one ``Delta`` for everything of one kind
that a network read carried, not one per token.  ``Done`` and ``Fault`` are
terminal: the first of them wins and nothing follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from worker.errors import Refused, SpoolError
from worker.records import Endpoint, Kind, Request, Run, Usage


class Delta(msgspec.Struct, frozen=True, gc=False):
    """Output of one kind; never empty, always storable."""

    kind: Kind
    text: str


class Extra(msgspec.Struct, frozen=True, gc=False):
    """What belongs to an answer and is no text: log probabilities, audio, annotations.

    Attributes:
        kind: what it is; docs/dialects.md lists the kinds.
        data: JSON, storable, as the server sent it.
    """

    kind: str
    data: str


@dataclass(frozen=True, slots=True)
class Done:
    """The protocol's done frame arrived.

    Attributes:
        finish_reason: the server's own word, raw, or None if it gave none.
        usage: the last non-null counts of the stream.
        done_frame: False where the endpoint takes a finish reason for it
            (`accept_finish_without_done`).
    """

    finish_reason: str | None
    usage: Usage
    done_frame: bool = True


@dataclass(frozen=True, slots=True)
class Fault:
    """The stream is over without a done frame that counts; the error says why."""

    error: SpoolError


Event = Delta | Extra | Done | Fault


class Decoder(Protocol):
    """Bytes in, events out; no socket, no clock.  One decoder serves one response.

    Attributes:
        frames: protocol frames so far; pings, comments and keep-alives are none.
        usage: the last counts seen, also when the stream never ends properly.
        finish_reason: the last raw finish reason seen, done or not.
        progress: grows with output, counts, a finish reason or a change of state: what the idle
            deadline watches.
        held_bytes: bytes in memory between two calls.
    """

    @property
    def progress(self) -> int:
        """How often what is known of the answer has changed."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes in memory between two calls."""
        ...

    @property
    def frames(self) -> int:
        """Frames that carried progress so far."""
        ...

    @property
    def usage(self) -> Usage:
        """The last counts seen."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """The last raw finish reason seen."""
        ...

    def feed(self, data: bytes) -> Sequence[Event]:
        """Take one network read; `b""` is legal and quiet.  After a terminal event: nothing."""
        ...

    def close(self) -> Sequence[Event]:
        """The body ended.  Returns what the tail still held and, last, Done or Fault
        (``Truncated`` when no done frame came), unless a terminal event was already given.
        """
        ...


class Dialect(Protocol):
    """A wire format: how to ask, and how to read the answer."""

    @property
    def name(self) -> str:
        """As settings name it."""
        ...

    def request(self, endpoint: Endpoint, run: Run) -> Request:
        """The request for a run, without credentials; raises Refused if the prompt cannot be
        expressed in this dialect.
        """
        ...

    def simpler(self, request: Request, error: SpoolError) -> Request | None:
        """The same request without what the server just rejected (`stream_options`), or None."""
        ...

    def explained(self, request: Request, error: Refused) -> Refused:
        """The error for a request, with the cure as far as this dialect knows one."""
        ...

    def authorization(self, api_key: str) -> dict[str, str]:
        """The headers that carry the key in this dialect."""
        ...

    def decoder(
        self,
        endpoint: Endpoint,
        *,
        max_frame_bytes: int,
        content_type: str | None = None,
        run: Run | None = None,
    ) -> Decoder:
        """A fresh decoder for one 200 response, the answer to a run."""
        ...
