"""Reads bytes as `add` would read a file of them."""

from __future__ import annotations

import io

from worker.errors import InputError
from worker.ingest import BadLine, Format, Intake, detect, prompts, readable
from worker.records import Endpoint

ENDPOINTS = {
    "default": Endpoint("default", "ollama-chat", "http://localhost:11434", "llama3.2"),
    "gpt": Endpoint("gpt", "openai-chat", "http://host/v1", "gpt"),
    "old": Endpoint("old", "openai-completions", "http://host/v1", "old"),
    "new": Endpoint("new", "openai-responses", "http://host/v1", "new"),
    "claude": Endpoint("claude", "anthropic-messages", "http://host", "claude"),
}


class Drip(io.RawIOBase):
    """A pipe that gives a byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        piece = self._data[self._at : self._at + 1]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def intake(**options):
    given = {"endpoints": ENDPOINTS, "name": "f", "batch": "b", "max_line_bytes": 1 << 20}
    return Intake(**given | options)


def read(data, name="f.jsonl", file_format=None, source=None, **options):
    """Every prompt and every bad line, in order."""
    data = data.encode() if isinstance(data, str) else data
    file = source or io.BufferedReader(io.BytesIO(data))
    file = readable(file)
    found = Format(file_format) if file_format else detect(name, file)
    return list(prompts(file, found, intake(name=name, **options)))


def broken(data, file_format, **options):
    """The prompts before a fault that ends the file, and the fault."""
    found = []
    try:
        found.extend(prompts(io.BytesIO(data), file_format, intake(**options)))
    except InputError as error:
        return texts(found), str(error)
    raise AssertionError("nothing was wrong")


def texts(items):
    """The prompts of the good ones."""
    return [item.prompt for item in items if not isinstance(item, BadLine)]


def reasons(items):
    """What was wrong with the others, as it is told."""
    return [str(item) for item in items if isinstance(item, BadLine)]


def only(items):
    """The single item."""
    (item,) = items
    return item
