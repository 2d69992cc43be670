"""Feeding a decoder, and what came out of it, in a form that tests can compare."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from worker.errors import ErrorCode, Refused, SpoolError, Truncated, Verdict
from worker.records import Endpoint, Kind, Run, Usage
from worker.wire import DIALECTS
from worker.wire.decoder import StreamDecoder
from worker.wire.events import Delta, Done, Event, Extra, Fault

MAX_FRAME_BYTES = 16 * 1024 * 1024


def endpoint(dialect: str, **settings: object) -> Endpoint:
    return Endpoint(
        **{"name": "e", "dialect": dialect, "base_url": "http://x", "model": "m"} | settings
    )


def decoder(
    dialect: str,
    *,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    content_type: str | None = None,
    accept_finish_without_done: bool = False,
    options: Mapping[str, object] | None = None,
    messages: Sequence[object] | None = None,
) -> StreamDecoder:
    """A fresh one; with options or messages, that of a run that asked with them."""
    where = endpoint(dialect, accept_finish_without_done=accept_finish_without_done)
    run = Run(1, 1, 1, 1, 1, "e", "m", prompt="p", messages=messages, options=options or {})
    made = DIALECTS[dialect].decoder(
        where, max_frame_bytes=max_frame_bytes, content_type=content_type, run=run
    )
    assert isinstance(made, StreamDecoder)
    return made


def careful(dialect: str, **settings: Any) -> StreamDecoder:
    """A decoder that never takes a fast lane: the meaning that the others have to meet."""
    source = decoder(dialect, **settings)
    source._take_block = lambda _: False  # type: ignore[method-assign]
    return source


@dataclass(frozen=True)
class Reading:
    """Everything that a decoder said about one body.

    `runs` are the deltas with neighbours of one kind joined, so they do not depend on the reads.
    """

    runs: tuple[tuple[Kind, str], ...]
    end: Done | Fault
    usage: Usage
    finish_reason: str | None
    frames: int
    extras: tuple[tuple[str, str], ...] = ()

    def of(self, kind: Kind) -> str:
        return "".join(text for each, text in self.runs if each is kind)

    @property
    def text(self) -> str:
        return self.of(Kind.TEXT)

    @property
    def thinking(self) -> str:
        return self.of(Kind.THINKING)

    @property
    def tool_calls(self) -> str:
        return self.of(Kind.TOOL_CALLS)

    @property
    def is_done(self) -> bool:
        return isinstance(self.end, Done)

    @property
    def error(self) -> SpoolError:
        assert isinstance(self.end, Fault), self.end
        return self.end.error

    @property
    def outcome(self) -> str:
        """In the words of the transcripts' expectations."""
        return "completed" if isinstance(self.end, Done) else outcome(self.end.error)

    def sameness(self) -> object:
        """What must not depend on how the body was cut; messages may name sizes, and may differ.

        The order of kinds is compared without the halves that one channel may hold back
        while another goes on.
        """
        end: object = self.end
        if isinstance(self.end, Fault):
            error = self.end.error
            end = (type(error), error.code, error.verdict, error.charged)
        texts = {kind: self.of(kind) for kind in Kind}
        return texts, end, self.usage, self.finish_reason, self.frames, self.extras


def outcome(error: SpoolError) -> str:
    if isinstance(error, Truncated):
        return "incomplete"
    is_refused = isinstance(error, Refused) and error.code is not ErrorCode.QUOTA_EXHAUSTED
    return "bad_request" if is_refused else "error"


def is_retryable(error: SpoolError) -> bool:
    return error.verdict in {Verdict.RETRY_LATER, Verdict.RETRY_HERE}


def read(source: StreamDecoder, pieces: Iterable[bytes]) -> Reading:
    """Feed the pieces, close, and check what holds for every decoder and every body."""
    events: list[Event] = []
    for piece in pieces:
        said = source.feed(piece)
        assert not (events and isinstance(events[-1], Done | Fault) and said), "after the end"
        check_storable(said)
        events += said
    events += source.close()
    assert source.feed(b"x") == source.close() == (), "after the end"
    extras = tuple((each.kind, each.data) for each in events if isinstance(each, Extra))
    *deltas, end = [each for each in events if not isinstance(each, Extra)]
    assert isinstance(end, Done | Fault)
    assert all(isinstance(delta, Delta) for delta in deltas)
    runs = tuple(
        (kind, "".join(delta.text for delta in same))
        for kind, same in groupby(deltas, key=lambda delta: delta.kind)
    )
    return Reading(runs, end, source.usage, source.finish_reason, source.frames, extras)


def check_storable(events: Sequence[Event]) -> None:
    deltas = [event for event in events if isinstance(event, Delta)]
    assert all(isinstance(event, Delta | Extra) for event in events[:-1]), "only the last ends"
    for event in events:
        if isinstance(event, Extra):
            assert "\x00" not in event.data
            json.loads(event.data.encode())
    assert all(a.kind is not b.kind for a, b in pairwise(deltas)), "not coalesced"
    for delta in deltas:
        assert delta.text
        assert "\x00" not in delta.text
        delta.text.encode()  # a lone surrogate would raise


def body(dialect: str, *pieces: bytes, **settings: object) -> Reading:
    """Read pieces with a fresh decoder."""
    return read(decoder(dialect, **settings), pieces)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    edges = [0, *sorted({min(max(place, 0), len(data)) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]
