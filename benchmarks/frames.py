"""What a model server sends: frames with the fields that the real ones carry, and the text in them."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from zlib import crc32

# Tokens as models make them: short, with line breaks, quotes and letters beyond ASCII among them.
WORDS = (
    " the of and to in stream is token that it for you was on are as with they be at one have"
    " this from or had by hot but some what there we can out other were all your when up use"
    " word how said an each she which do their time if will way about many then them would"
).split(" ")[1:]
TOKENS = [f" {word}" for word in WORDS] + [
    "\n\n",
    ' "quoted"',
    "é",
    " 東京",
    ".",
    ",",
    " naïve",
    "\t",
]


@cache
def prose(size: int) -> str:
    """Real English prose of that many characters: the language reference of Python, repeated."""
    from pydoc_data.topics import topics

    whole = "".join(topics[name] for name in sorted(topics))
    return "".join(itertools.islice(itertools.cycle(whole), size))


def pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


_OLLAMA = {"model": "llama3.2", "created_at": "2026-11-01T10:00:00Z"}


def _made_at(text: str) -> str:
    """A time that is new for each token, and as Go writes it: without zeros at its end."""
    nanoseconds = f"{crc32(text.encode()) % 10**9:09}".rstrip("0")
    return f"2026-11-01T10:00:00.{nanoseconds}Z"


def ollama_generate(text: str) -> bytes:
    return _line({**_OLLAMA, "created_at": _made_at(text), "response": text, "done": False})


def ollama_chat(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    return _line({**_OLLAMA, "created_at": _made_at(text), "message": message, "done": False})


def _line(said: dict[str, object]) -> bytes:
    # As Go writes JSON: no blanks, and letters as they are.
    return (json.dumps(said, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


def openai_chat(text: str) -> bytes:
    said = {
        "id": "chatcmpl-9fQxS1vYyT5uJm4Wb7pKc2Ra",
        "object": "chat.completion.chunk",
        "created": 1793520000,
        "model": "m-2026-11-01",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [
            {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
        ],
    }
    return b"data: " + json.dumps(said, separators=(",", ":")).encode() + b"\n\n"


_COUNTS = {"prompt_eval_count": 9, "eval_count": 100, "total_duration": 1}
_OLLAMA_DONE = {**_OLLAMA, "done": True, "done_reason": "stop", **_COUNTS}
FRAMES: dict[str, Callable[[str], bytes]] = {
    "ollama-generate": ollama_generate,
    "ollama-chat": ollama_chat,
    "openai-chat": openai_chat,
}
TAILS = {
    "ollama-generate": _line({**_OLLAMA_DONE, "response": ""}),
    "ollama-chat": _line({**_OLLAMA_DONE, "message": {"role": "assistant", "content": ""}}),
    "openai-chat": openai_chat("").replace(b'"finish_reason":null', b'"finish_reason":"stop"')
    + b"data: [DONE]\n\n",
}
PATHS = {
    "ollama-generate": "/api/generate",
    "ollama-chat": "/api/chat",
    "openai-chat": "/v1/chat/completions",
}


def base_url(dialect: str, url: str) -> str:
    """What `base_url` of an endpoint has to be for this dialect."""
    return f"{url}/v1" if dialect.startswith("openai") else url


def write(path: Path, frames: Iterable[bytes]) -> None:
    """Frames as server.c takes them."""
    path.write_bytes(b"".join(map(_with_length, frames)))


def _with_length(frame: bytes) -> bytes:
    return struct.pack("<I", len(frame)) + frame


def of(dialect: str, texts: Iterable[str]) -> Iterator[bytes]:
    return map(FRAMES[dialect], texts)
