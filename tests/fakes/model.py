"""A model that always gives one answer, at a server that goes on with it well or badly."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from tests.fakes.clock import FakeClock
from tests.fakes.scripted_stream import END, ScriptedReader, ScriptedStream, Step, event
from worker.errors import Broken, Refused, SpoolError
from worker.records import Endpoint, Request
from worker.wire.events import Dialect

ANSWER = " ".join(f"word{n} of the answer, which is long;" for n in range(60))


class Model(ScriptedStream):
    """Implements worker.endpoints.canary.ProbingStream; speaks chat and raw completions.

    Attributes:
        cuts: after how many characters of its own the next answers break off; None: never.
        begins: what it makes of a request that ends in a part of the answer: the text that it
            sends, given that part; or an error.  Unless a test says otherwise, it goes on.
        on_cut: called before it breaks off.
        renders: what `/apply-template` answers, given the messages; None: there is no such place.
        generated: characters of all answers.
    """

    def __init__(self, *cuts: int | None, answer: str = ANSWER) -> None:
        super().__init__(FakeClock(autojump_seconds=0))
        self.answer = answer
        self.cuts = deque(cuts)
        self.begins: Callable[[str], str | SpoolError | list[Step]] = self._rest
        self.renders: Callable[[list[Any]], str] | None = None
        self.on_cut: Callable[[], object] = lambda: None
        self.bodies: list[dict[str, Any]] = []
        self.rendered = 0
        self.generated = 0

    def _rest(self, part: str) -> str:
        assert self.answer.startswith(part)
        return self.answer[len(part) :]

    @asynccontextmanager
    async def open(
        self, request: Request, endpoint: Endpoint, dialect: Dialect
    ) -> AsyncIterator[ScriptedReader]:
        if b'"content":"Hi"' in request.body:
            async with super().open(request, endpoint, dialect) as reader:
                yield reader
            return
        body = json.loads(request.body)
        if "/chat/completions" in request.url or "/completions" in request.url:
            self.bodies.append(body)
            yield ScriptedReader([*self._steps(body), END], self.clock)
        else:
            yield ScriptedReader([self._render(request, body), END], self.clock)

    def _render(self, request: Request, body: dict[str, Any]) -> bytes:
        if self.renders is None or not request.url.endswith("/apply-template"):
            raise Refused("HTTP 404: no such place", http_status=404)
        self.rendered += 1
        return json.dumps({"prompt": self.renders(body["messages"])}).encode()

    def _steps(self, body: dict[str, Any]) -> Iterator[Step]:
        is_chat = "messages" in body
        asked = body["messages"][-1] if is_chat else {"content": body["prompt"]}
        part = asked["content"].removeprefix("Why? ") if asked.get("role") != "user" else ""
        text = self.begins(part) if part else self.answer
        if isinstance(text, SpoolError):
            raise text
        if isinstance(text, list):
            return iter(text)
        return self._spoken(text, is_chat=is_chat)

    def _spoken(self, text: str, *, is_chat: bool) -> Iterator[Step]:
        cut = self.cuts.popleft() if self.cuts else None
        sent = text if cut is None else text[:cut]
        for at in range(0, len(sent), 7):
            piece = sent[at : at + 7]
            self.generated += len(piece)
            said = {"delta": {"content": piece}} if is_chat else {"text": piece}
            yield event({"choices": [{"index": 0, **said}]})
        if cut is not None:
            self.on_cut()
            yield Broken("the connection was lost")
        said = {"delta": {}} if is_chat else {"text": ""}
        yield event({"choices": [{"index": 0, **said, "finish_reason": "stop"}]})
        yield b"data: [DONE]\n\n"


def rendered(messages: list[Any]) -> str:
    """A template that leaves the last message open."""
    return "".join(f"<|{m['role']}|>{m['content']}" for m in messages)
