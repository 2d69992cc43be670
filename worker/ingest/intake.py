"""What every prompt of a file has in common, and the last checks before the queue.

A format hands over a ``RequestLine``: the fields that its line, row or request named.
``Intake`` fills in what the command line said (what is typed wins over what the
file says, because it was typed for this file), derives the `custom_id` that
makes adding twice harmless, and refuses what no worker could ever send or no
database store.

A derived `custom_id` is `line-NUMBER-DIGEST`, the digest of the file's name and
the line's bytes.  The number keeps two equal lines apart (asking the same thing
ten times is a use), the digest notices that a file was edited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from worker.ingest import several_answers
from worker.ingest.keys import OWN_FIELDS
from worker.ingest.seen import Seen
from worker.ingest.taken_keys import Taken
from worker.ingest.trial import refusal
from worker.records import Endpoint, NewPrompt
from worker.suggest import did_you_mean

if TYPE_CHECKING:
    from worker.ingest.template import Template  # Jinja2 is imported by those who use it

DEFAULT_ENDPOINT = "default"

_REMEMBERED_IDS = 100_000  # ids of one file in which repetitions are found and named
_INT32 = 2**31 - 1
_SHOWN_CHARACTERS = 60

Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]  # fits into an index


@dataclass(slots=True)
class BadLine:
    """A line, row or request that cannot be queued; `reason` reads on after its number.

    The number 0 stands for a file as a whole.  `file` is its path below a folder that was added.
    """

    number: int
    reason: str
    unit: str = "line"
    file: str = ""

    def __str__(self) -> str:
        return f"{self.unit} {self.number} {self.reason}" if self.number else self.reason


class RequestLine(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What one line may say; which fields are set tells the format."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    custom_id: Identifier | int | None = None
    endpoint: str | None = None
    model: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    system: str | None = None
    options: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    priority: Annotated[int, msgspec.Meta(ge=-_INT32, le=_INT32)] | None = None
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=_INT32)] | None = None
    # OpenAI Batch
    method: str | None = None
    url: str | None = None
    body: dict[str, Any] | None = None
    # Anthropic Message Batches
    params: dict[str, Any] | None = None


@dataclass(slots=True)
class Intake:
    """What applies to every prompt of one source.

    Attributes:
        endpoints: the configured ones; a prompt for any other would wait for ever.
        name: of the file, without folders; part of derived ids.
        batch: its name, or None: then ids need not be unique, and none are derived.
        endpoint, model, system, options, priority, max_attempts, metadata: from the command line.
        template: turns rows of any shape into prompts.
        id_column: the column whose value is the `custom_id`.
        max_line_bytes: what is longer is reported without being loaded.
        taken: what the keys of the source were taken for, as far as it has been read.
    """

    endpoints: Mapping[str, Endpoint]
    name: str
    batch: str | None
    max_line_bytes: int
    endpoint: str | None = None
    model: str | None = None
    system: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = None
    max_attempts: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    template: Template | None = None
    id_column: str | None = None
    taken: Taken = field(default_factory=Taken)
    _seen: Seen | None = None

    def from_text(self, number: int, text: str, raw: bytes) -> NewPrompt | BadLine:
        """A prompt that is nothing but text."""
        return self.finished(number, RequestLine(prompt=text), raw, check_text=True)

    def finished(
        self,
        number: int,
        line: RequestLine,
        raw: bytes | None,
        *,
        unit: str = "line",
        check_text: bool,
    ) -> NewPrompt | BadLine:
        """The prompt that a line stands for, or what is wrong with it.

        `raw` is what the derived id is made of, None for none.  `check_text` asks whether U+0000
        or lone surrogates are inside; the readers of JSON know better from the bytes.
        """
        endpoint = self.endpoint or line.endpoint or DEFAULT_ENDPOINT
        reason = self._unknown(endpoint) or _shape_fault(line)
        if not reason and check_text:
            reason = unstorable([getattr(line, name) for name in OWN_FIELDS])
        custom_id = None if line.custom_id is None else str(line.custom_id)
        if not reason and custom_id is not None and self.batch is not None:
            reason = self._repeated(custom_id)
        if reason:
            return BadLine(number, reason, unit)
        if custom_id is None and self.batch is not None and raw is not None:
            digest = blake2b(raw, digest_size=8, key=self.name.encode()[:64]).hexdigest()
            custom_id = f"{unit}-{number}-{digest}"
        prompt = self._prompt(line, endpoint, custom_id)
        if not (answers := several_answers.number_of(prompt)):
            return BadLine(number, several_answers.REFUSED, unit)
        one = several_answers.single(prompt) if answers > 1 else prompt
        if reason := refusal(one, self.endpoints[endpoint]):
            return BadLine(number, reason, unit)
        if answers > 1:
            self.taken.count(several_answers.SAID)
        return prompt

    def _prompt(self, line: RequestLine, endpoint: str, custom_id: str | None) -> NewPrompt:
        return NewPrompt(
            prompt=line.prompt,
            messages=line.messages,
            custom_id=custom_id,
            endpoint=endpoint,
            model=self.model or line.model,
            system=self.system if self.system is not None else line.system,
            options=_joined(line.options, self.options),
            priority=self.priority if self.priority is not None else line.priority or 0,
            metadata=_joined(line.metadata, self.metadata),
            max_attempts=self.max_attempts or line.max_attempts,
        )

    def route(self, asks_for: str, dialect: str, named: str | None) -> tuple[str, str]:
        """The endpoint for a request that is written in a dialect, and why there is none.

        Typed, named by the line, the default one, or the only one that speaks the dialect: else
        its owner has to say which.
        """
        if (chosen := self.endpoint or named) is not None:
            return chosen, self._unknown(chosen) or self._unspoken(asks_for, dialect, chosen)
        able = [name for name, each in self.endpoints.items() if each.dialect == dialect]
        if DEFAULT_ENDPOINT in able:
            return DEFAULT_ENDPOINT, ""
        if len(able) == 1:
            self.taken.note(asks_for, f"endpoint {able[0]}")
            return able[0], ""
        if able:
            return "", f"asks for {asks_for}, and several endpoints speak it: {_choice(able)}"
        return "", (
            f"asks for {asks_for}, and no endpoint speaks it: add one with"
            f' dialect = "{dialect}" to spool.toml'
        )

    def _unspoken(self, asks_for: str, dialect: str, endpoint: str) -> str:
        spoken = self.endpoints[endpoint].dialect
        if spoken == dialect:
            return ""
        able = [name for name, each in self.endpoints.items() if each.dialect == dialect]
        cure = (
            _choice(able)
            if able
            else f'configure an endpoint with dialect = "{dialect}" and name it with --endpoint'
        )
        return f"asks for {asks_for}, but endpoint {endpoint!r} speaks {spoken}: {cure}"

    def _unknown(self, endpoint: str) -> str:
        if endpoint in self.endpoints:
            return ""
        if endpoint == DEFAULT_ENDPOINT:
            cure = _choice(sorted(self.endpoints))
            return f"names no endpoint, and there is none called {endpoint}: {cure}"
        names = ", ".join(sorted(self.endpoints))
        meant = did_you_mean(endpoint, self.endpoints)
        return (
            f"names the endpoint {shortened(endpoint)}, which is not configured{meant}"
            f" (there is: {names})"
        )

    def _repeated(self, custom_id: str) -> str:
        """Bounded on purpose: past the bound the store keeps the first and counts the others."""
        if self._seen is None:
            self._seen = Seen(_REMEMBERED_IDS)
        if self._seen.repeats(custom_id):
            return (
                f"repeats the custom_id {shortened(custom_id)} of an earlier one: give it its own"
            )
        return ""


def _choice(endpoints: Sequence[str]) -> str:
    return f"use --endpoint {' or --endpoint '.join(endpoints)}"


def _joined(below: Mapping[str, Any] | None, above: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return {**(below or {}), **above} if above else below


def _shape_fault(line: RequestLine) -> str:
    if line.prompt is not None and line.messages is not None:
        return "has both a prompt and messages: keep one of them"
    if line.prompt is None and line.messages is None:
        return 'has no prompt: write it as "prompt", or as "messages"'
    if line.prompt is not None and not line.prompt.strip():
        return "has an empty prompt"
    if line.messages is not None:
        if not line.messages:
            return "has no messages"
        for index, message in enumerate(line.messages):
            # OpenAI's Responses take items without a role, such as tool outputs.
            if not isinstance(message.get("role", message.get("type")), str):
                return f'has a message without "role" (messages[{index}])'
    return ""


def unstorable(value: Any) -> str:
    """Why no database can store a text somewhere inside the value, or nothing."""
    for text in _texts(value):
        if "\x00" in text:
            return "holds the character U+0000, which databases cannot store: remove it"
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return "holds half of a surrogate pair, which is not text: remove it"
    return ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def decoding_fault(error: Exception) -> str:
    """What msgspec found wrong with the values of a line, in words."""
    message = str(error)
    what, _, where = message.partition(" - at ")
    path = where.strip("`").removeprefix("$").lstrip(".")
    words = (what[:1].lower() + what[1:]).replace("`", "").replace(" | null", "")
    return f"is wrong in {path}: {words}" if path else f"is not a JSON object: {words}"


def shortened(text: str) -> str:
    """A text of the file, quoted, made visible and cut for a message."""
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    return ascii(shown) if not shown.isprintable() else f'"{shown}"'
