"""OpenAI Responses: server-sent events with a `type` each.

Done is `response.completed` or `response.incomplete`; everything else, also
`[DONE]` and the `.done` events of single items, is not.  Text comes as deltas;
each `.done` event and the terminal one repeat it and are not appended.  Only
when no delta came at all (an upstream that does not stream) is the text taken
from the terminal event.  Those events are as long as the answer, so of a long
one only what is needed is kept.  A terminal event whose own response failed or
was cancelled (vLLM, when its engine gave up) is no completion.

Proxies may drop the `event:` lines, so `type` decides and the name stands in
for a missing type.  `response.error` is null in normal events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from worker.errors import ErrorCode, ServerFailed
from worker.records import Json, Kind, Run
from worker.wire.answer import Answer, Reported
from worker.wire.asking import Options, chat_messages
from worker.wire.decoder import EVENTS
from worker.wire.dialect import WireFormat
from worker.wire.framing import PINGS
from worker.wire.shape import Shape
from worker.wire.skim import Keep

_TEXT = "response.output_text.delta"
_REFUSAL = "response.refusal.delta"
_THINKING = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})
_ARGUMENTS = frozenset(
    {"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"}
)
_ITEMS = frozenset({"response.output_item.added", "response.output_item.done"})
_TERMINAL = {"response.completed": "completed", "response.incomplete": "incomplete"}
_FAILED = frozenset({"error", "response.failed"})
_GAVE_UP = "cancelled"
_TOOLS = frozenset({"function_call", "custom_tool_call"})


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Details(msgspec.Struct, gc=False):
    reason: str | None = None


class _Part(msgspec.Struct, gc=False):
    type: str | None = None
    text: Any = None
    refusal: Any = None


class _Call(msgspec.Struct, gc=False):
    type: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Any = None
    input: Any = None


class _Item(_Call, gc=False):
    content: list[_Part] | None = None
    summary: list[_Part] | None = None


class _Response(msgspec.Struct, gc=False):
    status: str | None = None
    error: Any = None
    usage: _Usage | None = None
    incomplete_details: _Details | None = None
    output: list[_Item] | None = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: Any = None
    error: Any = None
    code: Any = None
    message: Any = None
    output_index: int | None = None
    item: _Call | None = None
    response: _Response | None = None


_SHAPE = Shape(_Event)


def _without_text(keep: Mapping[str, Keep]) -> dict[str, Keep]:
    """What to keep of a long event once the text has come as deltas."""
    item = {name: below for name, below in Shape(_Item).keep.items() if name != "content"}
    return {**keep, "response": {**Shape(_Response).keep, "output": item}}


class ResponsesAnswer(Answer[_Event]):
    """Reads `/responses`."""

    shape: ClassVar[Shape[Any]] = _SHAPE
    done_frame = "response.completed or response.incomplete"
    frames_are_states = True
    _keep_less: ClassVar[Mapping[str, Keep]] = _without_text(_SHAPE.keep)

    def __init__(self, *, accept_finish_without_done: bool = False) -> None:
        super().__init__(accept_finish_without_done=accept_finish_without_done)
        self._named: set[int] = set()  # tool calls whose name has come ...
        self._argued: set[int] = set()  # ... and whose arguments have
        self._indexes: dict[str, int] = {}  # of calls, by id: the last event may count otherwise

    @property
    def keep(self) -> Mapping[str, Keep]:
        """Repeated text is kept only as long as it may be the first."""
        return self._keep_less if self.output.has(Kind.TEXT) else self.shape.keep

    def take(self, frame: _Event, event: str) -> None:
        """Understand one event."""
        kind = frame.type or event
        if frame.error or kind in _FAILED or (kind in _TERMINAL and _has_failed(frame.response)):
            self._count(frame.response)
            raise Reported(frame)
        if kind in PINGS:
            return
        self.frames += 1
        if kind == _TEXT:
            self.add_text(frame.delta)
        elif kind == _REFUSAL:
            self.refused = True
            self.add_text(frame.delta)
        elif kind in _THINKING:
            self.add_text(frame.delta, Kind.THINKING)
        elif kind in _ARGUMENTS:
            self._add_arguments(frame.output_index or 0, frame.delta)
        elif kind in _ITEMS and frame.item is not None:
            self._take_call(frame.output_index or 0, frame.item)
        elif kind in _TERMINAL:
            self._take_response(frame.response or _Response(), _TERMINAL[kind])
            self.finish()

    def take_all(self, frames: Sequence[_Event]) -> bool:
        """Understand many events; those that hold only text are joined at once."""
        for event in frames:
            if event.type != _TEXT or event.error or type(event.delta) is not str:
                return self._all_have_types(frames) and super().take_all(frames)
        self.take_text(len(frames), "".join([event.delta for event in frames]))
        return True

    def take_whole(self, said: Mapping[str, Json]) -> bool:
        """A `response` object that is not a stream."""
        response = self.shape.read({"response": said}).response
        if response is None or response.status not in _TERMINAL.values():
            return False
        self._take_response(response, response.status)
        return True

    def _all_have_types(self, frames: Sequence[_Event]) -> bool:
        return all(event.type for event in frames)

    def _count(self, response: _Response | None) -> None:
        if response is not None and response.usage is not None:
            self.count(response.usage.input_tokens, response.usage.output_tokens)

    def _take_response(self, response: _Response, outcome: str) -> None:
        self._count(response)
        had_text, had_thinking = self.output.has(Kind.TEXT), self.output.has(Kind.THINKING)
        for index, item in enumerate(response.output or ()):
            if not had_thinking:
                self._take_thoughts(item, raw=not had_text)
            if not had_text and item.type == "message":
                self._take_parts(item.content or ())
            self._take_call(index, item)
        details = response.incomplete_details
        if response.status == "incomplete":  # vLLM calls this completed as well
            outcome = response.status
        self.note_finish((details and details.reason) or outcome)
        if response.status == _GAVE_UP:
            self.fail(
                ServerFailed(
                    f"the server gave up: response status {_GAVE_UP}",
                    code=ErrorCode.GENERATION_ABORTED,
                )
            )

    def _take_thoughts(self, item: _Item, *, raw: bool) -> None:
        """Thinking that did not come as deltas: its summary, else itself."""
        parts = item.summary or (item.content if raw and item.type == "reasoning" else None)
        for part in parts or ():
            self.add_text(part.text, Kind.THINKING)

    def _take_parts(self, parts: Sequence[_Part]) -> None:
        for part in parts:
            if part.type == "refusal":
                self.refused = True
                self.add_text(part.refusal)
            elif part.type == "output_text":
                self.add_text(part.text)

    def _take_call(self, index: int, item: _Call) -> None:
        """An item that may be a tool call; what has come before is not said again."""
        if item.type not in _TOOLS:
            return
        if item.call_id:
            index = self._indexes.setdefault(item.call_id, index)
        arguments = item.input if item.arguments is None else item.arguments
        named = index in self._named
        self._named.add(index)
        if arguments and index not in self._argued:
            self._argued.add(index)
        elif named:
            return
        else:
            arguments = None
        call_id = None if named else item.call_id or item.id
        name = None if named else item.name
        self.output.add_tool(index, call_id=call_id, name=name, arguments=arguments)

    def _add_arguments(self, index: int, delta: Json) -> None:
        self._argued.add(index)
        self.output.add_tool(index, arguments=delta)


def _has_failed(response: _Response | None) -> bool:
    return response is not None and bool(response.error or response.status == "failed")


def _body(run: Run, options: Options) -> Options:
    messages = chat_messages(run)
    if run.system:
        del messages[0]
        options["instructions"] = run.system
    return {"input": run.prompt if not run.messages else messages, **options}


DIALECTS = (
    WireFormat(
        "openai-responses",
        "/responses",
        EVENTS,
        _body,
        ResponsesAnswer,
        reserved=("input", "messages"),
    ),
)
