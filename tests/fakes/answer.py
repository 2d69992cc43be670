"""One answer of the fake server, as a sequence of steps that its connection carries out."""

from __future__ import annotations

import json
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from tests.fakes.frames import Count, Speech, prompt_of
from tests.fakes.going_on import tokens_of
from tests.fakes.plan import Behaviour
from tests.fakes.words import spoken, words

REASONS = {200: "OK", 307: "Temporary Redirect", 429: "Too Many Requests", 503: "Unavailable"}


class End(Enum):
    """How an answer ends."""

    KEEP = "complete"  # the connection waits for the next request
    CLOSE = "closed"
    RESET = "reset"
    HANG = "silent"  # nothing more, until the client leaves
    DOWN = "down"  # reset, and the server accepts nobody for a while


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Bytes:
    """Bytes for the socket, and what of the answer they carry."""

    data: bytes
    tokens: int = 0
    chars: int = 0
    done: bool = False


@dataclass(frozen=True)
class Raw:
    """Bytes that go out as they are: no chunk, no compression, nothing of the answer."""

    data: bytes


Step = Bytes | Raw | Pause | End


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    request_id: str = ""

    @property
    def json(self) -> dict[str, Any]:
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass
class Script:
    """Raw bytes to answer with, in the framing that a test wants."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    framing: Literal["chunked", "length", "close"] = "chunked"
    split: int = 0
    end: Literal["clean", "cut", "reset", "hang"] = "clean"
    pause: float = 0.0  # seconds between the body and its end
    before: bytes = b""  # sent before the status line: 1xx responses
    trailers: bytes = b""  # after the last chunk


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def plain(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Iterator[Step]:
    """A short answer with a length."""
    fields = {"content-type": "application/json", "content-length": str(len(body))}
    yield Bytes(head(status, {**fields, **(headers or {})}) + body)
    yield End.KEEP


def scripted(script: Script, method: str) -> Iterator[Step]:
    """A raw transcript."""
    fields = dict(script.headers)
    if script.framing == "length":
        more = 10 if script.end == "cut" else 0
        fields["content-length"] = str(len(script.body) + more)
    elif script.framing == "chunked":
        fields["transfer-encoding"] = "chunked"
    yield Bytes(script.before + head(script.status, fields))
    if method != "HEAD":
        size = script.split or max(1, len(script.body))
        for start in range(0, len(script.body), size):
            yield Bytes(framed(script.body[start : start + size], script.framing))
    if script.pause:
        yield Pause(script.pause)
    if script.end == "reset":
        yield Pause(0.02)  # what came before should have been read
        yield End.RESET
    elif script.end == "hang":
        yield End.HANG
    elif script.end == "cut":
        yield Bytes(b"64\r\nhalf of it" if script.framing == "chunked" else b"")
        yield End.CLOSE
    elif script.framing == "chunked" and method != "HEAD":
        yield Bytes(b"0\r\n" + script.trailers + b"\r\n")
    yield End.CLOSE if script.framing == "close" else End.KEEP


def framed(data: bytes, framing: str) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data and framing == "chunked" else data


def answer(asked: Asked, speech: Speech, behaviour: Behaviour, carried: str = "") -> Iterator[Step]:
    """The answer of a model server, good or bad; what is left of it behind the text `carried`."""
    if behaviour.delay:
        yield Pause(behaviour.delay)
    early = {
        "disconnect": End.CLOSE,
        "reset-early": End.RESET,
        "silent": End.HANG,
        "down": End.DOWN,
    }
    if behaviour.fault in early:
        yield early[behaviour.fault]
    elif behaviour.fault == "redirect":
        yield from plain(307, b"", {"location": "https://elsewhere.example/api?token=secret"})
    elif behaviour.fault.isdigit():
        yield from refused(asked, speech, behaviour)
    elif asked.json.get("stream", speech.dialect.startswith("ollama")):
        yield from streamed(asked, speech, behaviour, carried)
    else:
        count, reason = counted(asked, speech, behaviour)
        text = "".join(words(behaviour.voice + prompt_of(asked.json), count.text))
        body = json.dumps(speech.whole(text, reason, count)).encode()
        yield Bytes(b"", tokens=count.text, chars=len(text), done=True)
        yield from plain(200, body)


def refused(asked: Asked, speech: Speech, behaviour: Behaviour) -> Iterator[Step]:
    """An error status."""
    status = int(behaviour.fault)
    message = f"the fake server answers {status}"
    error: Any = {"message": message, "type": "server_error"}
    body = json.dumps({"error": message if speech.dialect.startswith("ollama") else error})
    headers = {"x-request-id": asked.request_id, "content-type": "application/json"}
    if behaviour.retry_after:
        headers["retry-after"] = behaviour.retry_after
    yield from plain(status, body.encode(), headers)


def counted(asked: Asked, speech: Speech, behaviour: Behaviour) -> tuple[Count, str]:
    """How many tokens the answer has, and why it ends."""
    limit = speech.limit(asked.json)
    cut = isinstance(limit, int) and 0 <= limit < behaviour.tokens
    tokens = limit if cut and limit is not None else behaviour.tokens
    return Count(len(prompt_of(asked.json).split()), tokens), "length" if cut else "stop"


def streamed(
    asked: Asked, speech: Speech, behaviour: Behaviour, carried: str = ""
) -> Iterator[Step]:
    """The head and the frames of a stream, in their framing."""
    steps: Iterable[Step] = frames(asked, speech, behaviour, carried)
    fields = {"content-type": speech.content_type, "x-request-id": asked.request_id}
    if behaviour.gzip:
        fields["content-encoding"] = "gzip"
        steps = gzipped(steps, behaviour.gzip)
    if behaviour.framing == "length":
        steps = list(steps)
        length = sum(len(step.data) for step in steps if isinstance(step, Bytes))
        fields["content-length"] = str(length + (100 if behaviour.fault == "cut" else 0))
    elif behaviour.framing == "chunked":
        fields["transfer-encoding"] = "chunked"
    if not behaviour.keep:
        fields["connection"] = "close"
    yield Bytes(head(200, fields))
    for step in steps:
        if isinstance(step, Bytes):
            yield from pieces(step, behaviour)
        else:
            yield step
    if behaviour.framing == "chunked":
        yield Bytes(b"0\r\n\r\n")
    keep = behaviour.keep and behaviour.framing != "close"
    yield End.KEEP if keep else End.CLOSE


def pieces(step: Bytes, behaviour: Behaviour) -> Iterator[Step]:
    """A frame in the framing of the body, perhaps in several chunks."""
    if not behaviour.split:
        data = framed(step.data, behaviour.framing)
        yield Bytes(data, step.tokens, step.chars, step.done)
        return
    for start in range(0, len(step.data), behaviour.split):
        part = step.data[start : start + behaviour.split]
        last = start + behaviour.split >= len(step.data)
        data = framed(part, behaviour.framing)
        yield Bytes(data, step.tokens, step.chars, step.done) if last else Bytes(data)


def frames(asked: Asked, speech: Speech, behaviour: Behaviour, carried: str = "") -> Iterator[Step]:
    """The frames of an answer with the fault in its place."""
    prompt = behaviour.voice + prompt_of(asked.json)
    count, reason = counted(asked, speech, behaviour)
    tokens: Iterable[str] = spoken(prompt, count.text)
    if carried:
        tokens = list(tokens_of(behaviour, prompt_of(asked.json), carried, behaviour.tokens))
        count = Count(count.prompt, len(tokens))
    pause = [Pause(1 / behaviour.rate)] if behaviour.rate else []
    yield Bytes(speech.opening())
    for thought in words(prompt, behaviour.thinking, kind="thinking"):
        yield from pause
        yield Bytes(speech.thinking(thought))
    for number, token in enumerate(tokens):
        if number == behaviour.after and (yield from fault(speech, behaviour, count)):
            return
        yield from pause
        yield Bytes(speech.token(token), tokens=1, chars=len(token))
    over = behaviour.after >= count.text and (yield from fault(speech, behaviour, count))
    if over or behaviour.fault == "no-done":
        return
    if closing := speech.closing(reason, count):
        yield Bytes(closing)
    yield Bytes(speech.done(reason, count), done=True)
    if behaviour.fault == "double-done":
        yield Bytes(speech.done(reason, count), done=True)
    elif behaviour.fault == "text-after-done":
        yield Bytes(speech.token("after the end"))


def fault(speech: Speech, behaviour: Behaviour, count: Count) -> Generator[Step, None, bool]:
    """What goes wrong in the middle; True if nothing more is to be said after it."""
    chunked = behaviour.framing == "chunked"
    match behaviour.fault:
        case "cut":
            yield Raw(b"64\r\nhalf of it" if chunked else b"")
            yield End.CLOSE
        case "bad-chunk":
            yield Raw(b"no number\r\n")
            yield End.HANG
        case "reset":
            yield Pause(0.02)  # what came before should have been read
            yield End.RESET
        case "stall":
            yield End.HANG
        case "error":
            yield Bytes(speech.error("the fake model broke down"))
            return True
        case "error-done":
            yield Bytes(speech.error("the fake model broke down"))
            yield Bytes(speech.done("stop", count))
            return True
        case "garbage":
            yield Bytes(b'{"oops\n' if "ndjson" in speech.content_type else b'data: {"oops\n\n')
        case "huge":
            yield Bytes(speech.token("x" * behaviour.size), chars=behaviour.size)
        case "pings":
            while True:
                yield Bytes(speech.ping)
                yield Pause(0.01)
    return False


def gzipped(steps: Iterable[Step], how: str) -> Iterator[Step]:
    """Compressed, each frame flushed so that it can be read at once."""
    packer = zlib.compressobj(wbits=31)
    for number, step in enumerate(steps):
        if not isinstance(step, Bytes):
            yield step
            continue
        data = packer.compress(step.data) + packer.flush(zlib.Z_SYNC_FLUSH)
        if how == "corrupt" and number > 3:
            data = b"\xff" * len(data)
        yield Bytes(data, step.tokens, step.chars, step.done)
    if how == "yes":
        yield Bytes(packer.flush())
