"""Whether a run goes on where an earlier one of its prompt was cut, and how it is asked to.

A run whose prompt has text to speak of looks once for an earlier run to go on with (`splice`), and
for the proof that the server will: the prompt that it renders has to end in that text.  Whatever
is missing, the run begins again, and `runs.not_continued` says why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from worker import retry
from worker.clock import Clock
from worker.errors import Busy, ErrorCode, NotContinued, Refused, StreamError, WireError
from worker.records import Beginning, Earlier, Endpoint, Json, Kind, Request, Run
from worker.run.splice import Choice, Cut, Seam, choose, cut, seam
from worker.wire.dialects import continuing
from worker.wire.dialects.continuing import By, Render
from worker.wire.events import Dialect

T = TypeVar("T")

SLICE_CHARS = 1_000_000  # of a copy, in one transaction
RENDER_SECONDS = 60.0
RENDER_BYTES_MAX = 256 * 1024 * 1024
_NO_SUCH_PLACE = frozenset({400, 404, 405, 422, 501})
_NOT_TAKEN = frozenset({400, 404, 422})


class Reader(Protocol):
    """The body of a response."""

    async def read(self, wait_seconds: float | None) -> bytes | None:
        """What arrived; `b""` if nothing did in time; None at the end of the body."""
        ...


class Stream(Protocol):
    """The way to the server."""

    def open(
        self, request: Request, endpoint: Endpoint, dialect: Dialect
    ) -> AbstractAsyncContextManager[Reader]:
        """Send the request; the response is closed when the context is left."""
        ...


class EarlierStore(Protocol):
    """What is known of earlier runs."""

    def earlier_runs(self, prompt_id: int, run_id: int) -> Sequence[Earlier]:
        """The runs of a prompt before this one, that answer what it asks now."""
        ...

    def pieces(self, run_id: int) -> tuple[Sequence[tuple[int, Kind, str]], bool]:
        """The chunks of a run, and whether it has more than chunks."""
        ...


class InStore(Protocol):
    """Does work in the thread of the store."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """Do it, and wait for an absent database."""
        ...


@dataclass(slots=True)
class Plan:
    """How one run is asked for, and how it begins.

    Attributes:
        asked: the run whose request is sent.
        seam: what the new text is compared with; None: it begins at the beginning.
        seconds: that the earlier runs of the chain took.
        refused: told why the server is not asked to go on again.
        ended_by: the word with which the server had ended the text already, which is the whole
            answer then: nothing is asked for.
        is_longer: the text had ended at its length limit, and is whole without what comes.
    """

    run: Run
    asked: Run
    beginning: Beginning | None = None
    seam: Seam | None = None
    seconds: float = 0.0
    refused: Callable[[str], None] = lambda _: None
    ended_by: str | None = None
    is_longer: bool = False

    def begin_again(self, why: str) -> None:
        """The run begins at the beginning after all."""
        self.asked, self.seam, self.seconds = self.run, None, 0.0
        self.beginning = Beginning(self.run.id, not_continued=why)

    def is_refused(self, error: Refused) -> bool:
        """Whether the server refuses to go on; the run is asked for from the beginning, then."""
        if self.seam is None or error.http_status not in _NOT_TAKEN:
            return False
        why = f"the server refused to go on: {error.message}"
        if error.code is not ErrorCode.CONTEXT_EXCEEDED:
            self.refused(why)
        if self.is_longer:
            raise NotContinued(why, charged=False) from error
        self.begin_again(why)
        return True


def from_the_beginning(run: Run) -> Plan:
    """The plan of a run that nothing came before."""
    return Plan(run, run)


class _NoProof(Exception):  # a signal within this file
    """Why the server is not asked to go on."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a request has to end in."""

    text: str
    tokens: int | None
    format: str | None

    def check_format(self) -> None:
        """A format is begun anew by servers that are not known to go on inside it."""
        if self.format:
            raise _NoProof(f"the server would begin the {self.format} anew")


class Continuations:
    """Makes the plans of all runs of a worker, and remembers what servers do."""

    def __init__(
        self, store: EarlierStore, in_store: InStore, stream: Stream, *, clock: Clock
    ) -> None:
        self._store = store
        self._in_store = in_store
        self._stream = stream
        self._clock = clock
        self._refused: dict[tuple[str, str], str] = {}
        self._taken: dict[tuple[str, str], By] = {}  # how each was seen to go on
        self._silent: set[tuple[str, str]] = set()  # by URL and way: cannot be asked so
        self._broke_off: set[tuple[str, str]] = set()  # was asked so once, without an answer

    async def plan(self, run: Run, endpoint: Endpoint, dialect: Dialect) -> Plan:
        """How a claimed run begins.

        Raises:
            StreamError: the server cannot be asked now.
            Busy: it asks for patience.
            StoreError: the database is away, and the worker stops.
        """
        plan = from_the_beginning(run)
        if endpoint.continue_interrupted == "off" or run.attempt == 1:
            return plan
        if run.best_chars < endpoint.continue_min_chars:
            return plan
        runs = await self._in_store(partial(self._store.earlier_runs, run.prompt_id, run.id))
        choice = choose(
            runs,
            request_hash=run.request_hash(),
            endpoint=endpoint.name,
            dialect=dialect.name,
            min_chars=endpoint.continue_min_chars,
        )
        source, why_not = choice.source, choice.why_not
        if source is not None and why_not is None:
            try:
                await self._go_on(plan, choice, source, endpoint, dialect)
            except _NoProof as why:
                why_not = str(why)
        if why_not is not None:
            if source is not None and source.is_whole:
                await self._is_whole(plan, choice, source)
            else:
                plan.begin_again(why_not)
        return plan

    async def _is_whole(self, plan: Plan, choice: Choice, source: Earlier) -> None:
        """The answer had ended at its length limit, and that is how it stays."""
        rows, _ = await self._in_store(partial(self._store.pieces, source.run_id))
        pieces = [text for _, _, text in rows]
        kept = Cut("".join(pieces), "", len(pieces), pieces[-1], (len(pieces),))
        plan.beginning = _beginning(plan.run, source, kept, choice.tokens)
        plan.ended_by = source.finish_reason

    async def _go_on(
        self, plan: Plan, choice: Choice, source: Earlier, endpoint: Endpoint, dialect: Dialect
    ) -> None:
        run = plan.run
        key = (endpoint.name, run.model)
        if key in self._refused:
            raise _NoProof(self._refused[key])
        options = continuing.options_of(endpoint, run)
        if name := continuing.forbids(options, run):
            raise _NoProof(f"an answer with {name} cannot be put together")
        rows, has_more = await self._in_store(partial(self._store.pieces, source.run_id))
        pieces = _texts(rows, has_more=has_more)
        kept = cut(pieces, continuing.stops_of(options), slice_chars=SLICE_CHARS)
        _check(kept, choice, endpoint)
        wanted = _Wanted(kept.text, choice.tokens, continuing.formatted(options))
        asked, is_proved = await self._asked(run, endpoint, dialect, wanted)
        joint = seam(kept, is_proved=is_proved)
        if not is_proved and kept.text.count(joint.beginning) > 1:
            raise _NoProof("the earlier text repeats its beginning: an echo could not be told")
        plan.asked = asked
        plan.seconds = choice.seconds
        plan.seam = joint
        if not is_proved:
            plan.refused = partial(self._refused.__setitem__, key)
        plan.beginning = _beginning(run, source, kept, choice.tokens)
        plan.is_longer = source.is_whole

    async def _asked(
        self, run: Run, endpoint: Endpoint, dialect: Dialect, wanted: _Wanted
    ) -> tuple[Run, bool]:
        """The run to ask for, and whether its request was seen to end in the text."""
        key = (endpoint.name, run.model)
        ways = continuing.ways_to_ask(endpoint)
        if not ways:
            raise _NoProof(f"{dialect.name} knows no way to go on with a text")
        for by in sorted(ways, key=lambda by: by is not self._taken.get(key)):
            asked = continuing.going_on(run, endpoint, wanted.text, by, tokens=wanted.tokens)
            if by is By.COMPLETION or endpoint.continue_interrupted == "prefill":
                wanted.check_format()
                return asked, by is By.COMPLETION
            request = dialect.request(endpoint, asked)
            render = await self._proof(request, endpoint, dialect, wanted.text)
            if render is not None:
                if not render.takes_formats:
                    wanted.check_format()
                self._taken[key] = by
                return asked, True
        raise _NoProof(
            "the server was not seen to go on: the prompt that it makes of the request does not end"
            " in the earlier text, or cannot be asked for"
        )

    async def _proof(
        self, request: Request, endpoint: Endpoint, dialect: Dialect, text: str
    ) -> Render | None:
        """The way in which the server shows a prompt that ends in the text; None: there is none."""
        for render in continuing.renders(endpoint, request):
            place = (endpoint.base_url, render.way)
            if place in self._silent:
                continue
            try:
                prompt = await self._rendered(render, endpoint, dialect)
            except Refused as error:
                if error.http_status in _NO_SUCH_PLACE:
                    self._silent.add(place)
                continue
            except (StreamError, Busy):
                if place in self._broke_off:  # twice: it is the place, not the moment
                    self._silent.add(place)
                    continue
                self._broke_off.add(place)
                raise
            except WireError:
                continue
            self._broke_off.discard(place)
            if prompt is None:
                self._silent.add(place)
            elif prompt.endswith(text):
                return render
        return None

    async def _rendered(self, render: Render, endpoint: Endpoint, dialect: Dialect) -> str | None:
        answer = await self._answer(render.request, endpoint, dialect)
        tokens = render.tokens_in(answer)
        if tokens is None or render.spelled is None:
            return render.prompt_in(answer)
        spelled = await self._answer(render.spelled(tokens), endpoint, dialect)
        return continuing.prompt_of_tokens(spelled)

    async def _answer(self, request: Request, endpoint: Endpoint, dialect: Dialect) -> Json:
        """The JSON that a server answers; None if it is none, or too long."""

        async def once() -> bytes:
            body = bytearray()
            until = self._clock.monotonic() + RENDER_SECONDS
            async with self._stream.open(request, endpoint, dialect) as reader:
                while (left := until - self._clock.monotonic()) > 0:
                    data = await reader.read(left)
                    if data is None or len(body) > RENDER_BYTES_MAX:
                        break
                    body += data
            return bytes(body)

        try:
            return json.loads(await retry.connecting(once, self._clock))
        except (ValueError, RecursionError):
            return None


def _texts(rows: Sequence[tuple[int, Kind, str]], *, has_more: bool) -> list[str]:
    """The texts of a run that is whole, and nothing but text."""
    kinds = {kind for _, kind, _ in rows}
    if has_more or kinds != {Kind.TEXT}:
        raise _NoProof(
            "the earlier run has more than text: thoughts, tool calls or log probabilities"
        )
    if [seq for seq, _, _ in rows] != list(range(len(rows))):
        raise _NoProof("the text of the earlier run is not whole")
    return [text for _, _, text in rows]


def _beginning(run: Run, source: Earlier, kept: Cut, tokens: int | None) -> Beginning:
    return Beginning(
        run.id,
        source.run_id,
        continued_by="length" if source.is_whole else "prefill",
        chunks=kept.chunks,
        last_text=kept.last,
        bounds=kept.bounds,
        chars=len(kept.text),
        size_bytes=_size_bytes(kept.text),
        tokens=tokens,
        dropped_chars=len(kept.dropped),
    )


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _check(kept: Cut, choice: Choice, endpoint: Endpoint) -> None:
    if len(kept.text) < endpoint.continue_min_chars:
        raise _NoProof("too little of the earlier text is left in front of its last white space")
    if _size_bytes(kept.text) >= endpoint.max_output_bytes:
        raise _NoProof("the earlier text is as long as max_output_bytes allows")
    total = endpoint.total_timeout_seconds
    if total and choice.seconds >= total:
        raise _NoProof("the earlier runs took as long as total_timeout_seconds allows")
