"""Frozen values that pass between rooms.

The two that are made for every prompt are structs: to make a frozen dataclass of as many
fields takes six times as long (2 microseconds).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec

from worker.errors import ErrorCode
from worker.request_hash import request_hash
from worker.states import PromptEvent, PromptState, RunEvent

Json = Any  # what json.loads returns

# The metadata key under which `add` keeps the url of an OpenAI Batch request, for `export`.
BATCH_URL = "openai_batch_url"

SPLICED_BY = ("prefill", "length")  # ways to go on that generate an answer in more than one piece


class Kind(StrEnum):
    """What a chunk holds; kinds are never mixed within one chunk."""

    TEXT = "text"
    THINKING = "thinking"
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class Certificates:
    """The TLS files of one endpoint, in PEM; None where there is none.

    Attributes:
        ca_file: authorities that are trusted beside the usual ones.
        client_cert_file: the certificate, with its chain, that is shown to servers that ask.
        client_key_file: its key; None if the same file holds it.
    """

    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None


NO_CERTIFICATES = Certificates()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A configured place to send prompts; see config/spool.toml for each field."""

    name: str
    dialect: str
    base_url: str
    model: str
    concurrency: int = 4
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, Json] = field(default_factory=dict)
    connect_timeout_seconds: float = 10.0
    first_frame_timeout_seconds: float = 600.0
    idle_timeout_seconds: float = 120.0
    total_timeout_seconds: float = 0.0
    accept_finish_without_done: bool = False
    anthropic_version: str = "2023-06-01"
    canary: str = "Hi"
    max_output_bytes: int = 64 * 1024 * 1024
    continue_interrupted: str = "auto"
    continue_by: str | None = None
    continue_min_chars: int = 500
    continue_at_length_tokens: int = 0
    certificates: Certificates = NO_CERTIFICATES
    embedded: bool = False
    embedded_context_tokens: int = 4096

    @property
    def shown_url(self) -> str:
        """The base URL as it may be shown, with `***` for each value in its query."""
        place, question, query = self.base_url.partition("?")
        names = (pair.partition("=") for pair in query.split("&"))
        hidden = "&".join(f"{name}=***" if value else name for name, _, value in names)
        return f"{place}{question}{hidden}"

    @property
    def secrets(self) -> Iterator[str]:
        """What no message, log or row may repeat: key, values of headers and of the query."""
        yield from filter(None, (self.api_key, *self.headers.values()))
        with suppress(ValueError):  # not a URL: the request will say so
            parts = urlsplit(self.base_url)
            yield from filter(None, (parts.password, *(v for _, v in parse_qsl(parts.query))))
            # As it is written, too: a server echoes what it was sent.
            yield from filter(None, (pair.partition("=")[2] for pair in parts.query.split("&")))


@dataclass(frozen=True, slots=True)
class NewPrompt:
    """A prompt as `add` takes it; exactly one of `prompt` and `messages` is set."""

    prompt: str | None = None
    messages: Sequence[Json] | None = None
    custom_id: str | None = None
    endpoint: str = "default"
    model: str | None = None
    system: str | None = None
    options: Mapping[str, Json] | None = None
    priority: int = 0
    metadata: Mapping[str, Json] | None = None
    max_attempts: int | None = None


class Run(msgspec.Struct, frozen=True):
    """One claimed attempt, with what is needed to carry it.

    Attributes:
        id: the fence of everything that this run writes.
        attempt: 1 for the first run of the prompt, then 2, ...; never reused.
        attempts: attempts charged to the prompt so far, this one included.
        max_attempts: attempts that the prompt may be charged for.
        batch_id: of its prompt; 0 for a prompt without a batch.
        runs_without_progress: earlier runs in a row that ended without evidence and progress.
        last_code, last_error: how the run before ended; None if there was none.
        best_chars: characters of the longest text of an earlier run.
        nonce: of the claim that started it.  A database that went back gives ids out again: only
            both together say that a row is this run's.
    """

    id: int
    prompt_id: int
    attempt: int
    attempts: int
    max_attempts: int
    endpoint: str
    model: str
    custom_id: str | None = None
    prompt: str | None = None
    system: str | None = None
    messages: Sequence[Json] | None = None
    options: Mapping[str, Json] = msgspec.field(default_factory=dict)
    batch_id: int = 0
    runs_without_progress: int = 0
    last_code: str | None = None
    last_error: str | None = None
    best_chars: int = 0
    nonce: int | None = None

    def request_hash(self) -> str:
        """What it asks, as one short text."""
        return request_hash(
            model=self.model,
            prompt=self.prompt,
            system=self.system,
            messages=self.messages,
            options=self.options,
        )


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, ready to send; headers hold no secret (stream.py adds the key)."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the server reports them; None where it does not."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ExtraPiece:
    """A piece of what a run has besides its text; `(run_id, seq)` is its key.

    Attributes:
        kind: docs/dialects.md lists the kinds.
        data: JSON, as the server sent it.
    """

    run_id: int
    seq: int
    kind: str
    data: str


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a run begins whose prompt has text already; stored with its first chunk.

    Attributes:
        run_id: of the run that begins.
        continues_run_id: the earlier run that it was asked to go on with; None: it was not.
        continued_by: how it went on; None: it began again, and `not_continued` says why.
        chunks: the first ones of the earlier run, which are copied; of the last one `last_text`.
        bounds: where a long copy is interrupted: numbers of chunks, the last is `chunks`.
        chars, size_bytes: of the text that is copied.
        tokens: generated for it, as far as known.
        dropped_chars: at the end of the earlier text, and not copied.
    """

    run_id: int
    continues_run_id: int | None = None
    continued_by: str | None = None
    not_continued: str | None = None
    chunks: int = 0
    last_text: str = ""
    bounds: tuple[int, ...] = ()
    chars: int = 0
    size_bytes: int = 0
    tokens: int | None = None
    dropped_chars: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A flushed piece of a run's output; `(run_id, seq)` is its key, `nonce` its run's.

    Attributes:
        request_hash: of the request that its run sent; with the first piece of a run only.
        extras: what came with it and is no text; the text may be empty then.
        beginning: with the first piece of a run whose prompt has text already.
    """

    run_id: int
    seq: int
    kind: Kind
    text: str
    nonce: int | None = None
    request_hash: str | None = None
    extras: tuple[ExtraPiece, ...] = ()
    beginning: Beginning | None = None


class Ending(msgspec.Struct, frozen=True):
    """How a run ended and what becomes of its prompt; applied in one transaction.

    Attributes:
        run_event, prompt_event: what the state table is asked to apply.
        done_frame: True only if the protocol's done frame was received.
        charged: False gives the attempt back to the prompt.
        delay_seconds: with REQUEUE, how long the prompt waits before it may be claimed.
        first_text_seconds_ago: age of the first output at the ending; None if there was none.
        chars: characters of kind text that the run produced; None: whoever ends it does not know,
            and what is stored is measured instead, for `chunks` and the first text as well.
        chunks: chunks of every kind that the run produced; those that are not stored with the
            ending have to be there already.
        frames: that came of an answer; None where the server counted its tokens.
        nonce: that of the run.
        request_hash: of the request that the run sent; None: a hash that is stored stays.
        calls_tools: it produced pieces of tool calls, which are put together when it ends.
        runs_without_progress: what the prompt's counter becomes; None: it stays.
        cut_id: names the runs that broke off together with this one.
    """

    run_id: int
    prompt_id: int
    run_event: RunEvent
    prompt_event: PromptEvent
    done_frame: bool = False
    finish_reason: str | None = None
    usage: Usage = Usage()
    error_code: str | None = None
    error: str | None = None
    http_status: int | None = None
    request_id: str | None = None
    charged: bool = True
    delay_seconds: float = 0.0
    first_text_seconds_ago: float | None = None
    chars: int | None = 0
    chunks: int = 0
    request_hash: str | None = None
    calls_tools: bool = False
    runs_without_progress: int | None = None
    cut_id: int | None = None
    frames: int | None = None
    nonce: int | None = None


class Owned(NamedTuple):
    """A run that is under way, as the database has it."""

    prompt_id: int
    nonce: int | None


class Refusals(frozenset[int]):
    """The runs of a commit that are not the worker's any more; nothing of them was written.

    Attributes:
        forgotten: those among them of which the database has less than it had acknowledged; the
            store has ended them, and queued their prompts again.
        blocked: run -> prompt; still the worker's, but another transaction holds their rows.
            Nothing of them was written, and it may be sent again.
    """

    forgotten: frozenset[int] = frozenset()
    blocked: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Who carries runs; `id` is new for every process start.

    Attributes:
        process: how others on the same host recognise the process; None where that
            cannot be told.
    """

    id: str
    host: str
    pid: int
    version: str
    process: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another worker on this host that holds a lease; `process` is what its row says."""

    id: str
    pid: int
    process: Json


@dataclass(frozen=True, slots=True)
class Rescued:
    """One run taken back from a worker whose lease ran out."""

    run_id: int
    prompt_id: int
    worker_id: str
    prompt_state: PromptState


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` did with the prompts that it was given.

    Attributes:
        added: prompts that were new.
        existing: prompts that the batch has already, with the same request.
        changed: prompts that the batch has with another request, and that were left as they are.
        replaced: the same, but queued anew with the request that was given.
        other_source: where the batch was first added from, if that was another place.
    """

    added: int = 0
    existing: int = 0
    changed: int = 0
    replaced: int = 0
    other_source: str | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier run of the same prompt, as far as its text may be gone on with.

    Attributes:
        chars: of its text, those that it carried over included.
        tokens: that it generated itself, as far as known.
        seconds: that it took.
    """

    run_id: int
    attempt: int
    endpoint: str
    dialect: str
    request_hash: str | None
    code: str | None
    finish_reason: str | None
    chars: int
    tokens: int | None = None
    seconds: float = 0.0
    continues_run_id: int | None = None
    carried_chars: int | None = None
    carried_tokens: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it had ended at its length limit, and is an answer as it is."""
        return self.code == ErrorCode.LENGTH_CONTINUED
