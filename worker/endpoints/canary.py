"""The canary: one streamed generation of a token, sent to learn whether an endpoint answers at all.

It is sent as runs are: with the endpoint's own key, headers and options, and with the model of the
prompt that is in question.  What it is answered tells a request that is wrong from an endpoint
that is: whatever the wording, who refuses one token refuses everybody.

The canary may be wrong itself: a thinking budget needs more than one token, a format needs a
schema, some models know the limit under another name.  Then it is spelled simpler.  Where a
generation is unwanted, `canary = "GET"` asks for the base URL instead, which shows only that
somebody is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from math import inf
from types import MappingProxyType
from typing import Protocol

from worker.clock import Clock
from worker.errors import ErrorCode, Refused, SpoolError
from worker.records import Endpoint, Json, Request, Run
from worker.run.attribution import Nature, nature_of
from worker.run.context import ReaderPort, StreamPort, as_ended, read_in_time
from worker.run.deadlines import Deadlines
from worker.wire.events import Decoder, Dialect, Done, Fault

PLAIN_GET = "GET"
READ_SECONDS = 10.0  # after its first frame: a server may not care how many tokens are wanted
FRAME_BYTES_MAX = 1024 * 1024
_SIMPLE_TOKENS = 16

# How each dialect limits an answer: the key, the fewest tokens, and the key of the simpler form.
_LIMITS: Mapping[str, tuple[str, int, str]] = MappingProxyType(
    {
        "ollama-generate": ("num_predict", 1, "num_predict"),
        "ollama-chat": ("num_predict", 1, "num_predict"),
        "openai-chat": ("max_tokens", 1, "max_completion_tokens"),
        "openai-completions": ("max_tokens", 1, "max_tokens"),
        "openai-responses": ("max_output_tokens", 16, "max_output_tokens"),
        "anthropic-messages": ("max_tokens", 1, "max_tokens"),
        "llamacpp-completion": ("n_predict", 1, "n_predict"),
    }
)
_OTHER_LIMITS = frozenset({"max_completion_tokens", "max_tokens", "max_output_tokens"})
# What a canary can do without, and what may be the reason why it is refused.
_LEFT_OUT = frozenset(
    {
        *("thinking", "think", "reasoning", "reasoning_effort", "enable_thinking"),
        *("response_format", "format", "text", "json_schema", "grammar", "output_config"),
        *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"),
        *("stop", "stop_sequences", "logprobs", "top_logprobs", "modalities", "audio"),
        *("chat_template_kwargs", "verbosity"),
    }
)


class ProbingStream(StreamPort, Protocol):
    """A stream that can also ask whether anybody is there."""

    async def probe(self, endpoint: Endpoint, dialect: Dialect) -> None:
        """One plain GET; raises the error that says why nobody is."""
        ...


class Kind(Enum):
    """What became of a canary."""

    ANSWERED = "a frame of an answer came"
    REFUSED = "the server said no, or what is no answer"
    UNANSWERED = "nobody said anything in time"
    BUSY = "the server asks for patience"


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a canary.

    Attributes:
        error: why it was not answered, or why its answer did not end as it should.
        is_generation: False for a plain GET.
        sent_at: monotonic seconds.
    """

    kind: Kind
    error: SpoolError | None = None
    is_generation: bool = True
    sent_at: float = 0.0

    @property
    def cost_tokens(self) -> bool:
        """Whether the server may have generated something for it."""
        arrived = self.error is None or self.error.code is not ErrorCode.UNREACHABLE
        return self.is_generation and arrived and self.kind in (Kind.ANSWERED, Kind.UNANSWERED)


def request(endpoint: Endpoint, dialect: Dialect, model: str, *, simple: bool = False) -> Request:
    """The canary's request; raises Refused if the endpoint's options cannot be sent at all."""
    options = dict(endpoint.options)
    key, tokens, other_key = _LIMITS.get(dialect.name, ("max_tokens", 1, "max_tokens"))
    known = _OTHER_LIMITS & options.keys()
    if simple:
        options = {name: value for name, value in options.items() if name not in _LEFT_OUT}
        key, tokens = other_key, max(tokens, _SIMPLE_TOKENS)
    elif known and key in _OTHER_LIMITS:
        key = min(known)
    options = {name: value for name, value in options.items() if name not in _OTHER_LIMITS}
    nested: Json = options.get("options")
    if isinstance(nested, Mapping):  # Ollama's own place for it
        options["options"] = {**nested, key: tokens}
    else:
        options[key] = tokens
    ping = Run(
        id=0,
        prompt_id=0,
        attempt=1,
        attempts=1,
        max_attempts=1,
        endpoint=endpoint.name,
        model=model,
        prompt=endpoint.canary,
    )
    return dialect.request(replace(endpoint, options=options), ping)


async def send(
    stream: ProbingStream,
    endpoint: Endpoint,
    dialect: Dialect,
    model: str,
    clock: Clock,
    *,
    simple: bool = False,
) -> Reply:
    """Ask for one token, and wait for it as long as for the first frame of a run."""
    sent_at = clock.monotonic()
    reply = await _reply(stream, endpoint, dialect, model, clock, simple=simple)
    return replace(reply, sent_at=sent_at)


async def _reply(
    stream: ProbingStream,
    endpoint: Endpoint,
    dialect: Dialect,
    model: str,
    clock: Clock,
    *,
    simple: bool,
) -> Reply:
    try:
        if endpoint.canary == PLAIN_GET:
            await stream.probe(endpoint, dialect)
            return Reply(Kind.ANSWERED, is_generation=False)
        asked = request(endpoint, dialect, model, simple=simple)
        try:
            return await _generation(stream, asked, endpoint, dialect, clock)
        except Refused as error:
            simpler = dialect.simpler(asked, error)
            if simpler is None:
                raise
            return await _generation(stream, simpler, endpoint, dialect, clock)
    except SpoolError as error:
        return Reply(_kind(error), error, is_generation=endpoint.canary != PLAIN_GET)


async def _generation(
    stream: ProbingStream, asked: Request, endpoint: Endpoint, dialect: Dialect, clock: Clock
) -> Reply:
    async with stream.open(asked, endpoint, dialect) as reader:
        decoder = dialect.decoder(
            endpoint, max_frame_bytes=FRAME_BYTES_MAX, content_type=reader.content_type
        )
        try:
            await _read(reader, decoder, endpoint, clock)
        except SpoolError as error:
            if not decoder.frames:
                raise error.but(message=reader.redact(error.message)) from None
            return Reply(Kind.ANSWERED, as_ended(error, decoder))
    return Reply(Kind.ANSWERED)


async def _read(reader: ReaderPort, decoder: Decoder, endpoint: Endpoint, clock: Clock) -> None:
    """Until the answer ends, or goes on for longer than a token can take."""
    deadlines = Deadlines(endpoint, started_at=clock.monotonic())
    enough_at = inf
    while (now := clock.monotonic()) < enough_at:
        wait_seconds = min(deadlines.next_at, enough_at) - now
        data = await read_in_time(
            reader, None if wait_seconds == inf else max(0.0, wait_seconds), deadlines, clock
        )
        for event in decoder.close() if data is None else decoder.feed(data):
            if isinstance(event, Fault):
                raise event.error
            if isinstance(event, Done):
                return
        now = clock.monotonic()
        if decoder.frames and enough_at == inf:
            enough_at = now + READ_SECONDS
        deadlines.progressed(decoder.progress, at=now)
        deadlines.check(at=now)


def _kind(error: SpoolError) -> Kind:
    match nature_of(error, begun=False):
        case Nature.PATIENCE:
            return Kind.BUSY
        case Nature.EVENT | Nature.UNREACHABLE:
            return Kind.UNANSWERED
        case _:
            return Kind.REFUSED
