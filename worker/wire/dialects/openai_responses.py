"""OpenAI Responses: server-sent events with a `type` each.

Done is `response.completed` or `response.incomplete`; everything else, also
`[DONE]` and the `.done` events of single items, is not.  Text comes as deltas;
each `.done` event and the terminal one repeat it.  Repetitions are compared with
what was streamed: what is missing of it is appended, and what contradicts it is
an error.  Those events are as long as the answer, so of a long one only the end
of a text is held.  A terminal event whose own response failed or was cancelled
(vLLM, when its engine gave up) is no completion.

Some servers leave the indexes out, some change the ids of an item from event to
event, and some count otherwise at the end; see ``_slot``.  Proxies may drop the
`event:` lines, so `type` decides and the name stands in for a missing type.
`response.error` is null in normal events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from worker.errors import ErrorCode, Malformed, ServerFailed
from worker.records import Json, Kind, Run
from worker.wire.decoder import EVENTS
from worker.wire.dialects.openai_responses_frames import (
    KEEP_LESS,
    SHAPE,
    TEXTS,
    Event,
    Item,
    Part,
    Response,
    TextEvent,
)
from worker.wire.dialects.request import NOTHING_ASKED, Asked, Options, chat_messages
from worker.wire.dialects.wire_format import WireFormat
from worker.wire.frame_schema import FrameSchema
from worker.wire.framing.frames import PINGS
from worker.wire.framing.json_filter import DROPPED_FIELD, END_FIELD, Keep
from worker.wire.response import ErrorFrame, ResponseParser
from worker.wire.streamed import Streamed
from worker.wire.thoughts import text_of

_TEXT = "response.output_text.delta"
_ARGUMENTS = frozenset({"response.function_call_arguments", "response.custom_tool_call_input"})
_ANNOTATION = "response.output_text.annotation.added"
_TERMINAL = {"response.completed": "completed", "response.incomplete": "incomplete"}
_FAILED = frozenset({"error", "response.failed"})
_GAVE_UP = "cancelled"
_TRANSCRIPTS = frozenset({"response.audio.transcript", "response.output_audio_transcript"})
_AUDIO = frozenset({"response.audio", "response.output_audio"})
_REPEATED_BY_THEIR_ITEM = frozenset(
    {"response.code_interpreter_call_code", "response.mcp_call_arguments", "response.mcp_call"}
)
_TOOLS = frozenset({"function_call", "custom_tool_call"})
_UNDERSTOOD = _TOOLS | {"message", "reasoning"}
_REFUSAL_PART = "refusal"
_TEXT_PARTS = frozenset({_REFUSAL_PART, "output_text", "text"})
PARTS_MAX = 10_000  # texts of one answer; each takes some hundred bytes while the stream is open


class ResponsesParser(ResponseParser[Event]):
    """Reads `/responses`."""

    shape: ClassVar[FrameSchema[Any]] = SHAPE
    narrow: ClassVar[msgspec.json.Decoder[Any] | None] = TEXTS
    done_frame = "response.completed or response.incomplete"
    frames_are_states = True

    def __init__(
        self, *, accept_finish_without_done: bool = False, asked: Asked = NOTHING_ASKED
    ) -> None:
        super().__init__(accept_finish_without_done=accept_finish_without_done, asked=asked)
        self._slots: dict[str, int] = {}  # of items, by the id that announced them
        self._slot = 0  # of the item that spoke last
        self._parts: dict[tuple[int, int], Streamed] = {}  # texts, by item and part
        self._part: tuple[int, int] | None = None  # that spoke last
        self._has_logprobs = False  # they came with the deltas

    @property
    def keep(self) -> Mapping[str, Keep]:
        """Repeated text is kept whole only as long as it may be the first."""
        return KEEP_LESS if self.output.has(Kind.TEXT) else self.shape.keep

    def take(self, frame: Event, event: str) -> None:
        """Understand one event."""
        kind = frame.type or event
        if frame.error or kind in _FAILED or (kind in _TERMINAL and _has_failed(frame.response)):
            self._count(frame.response)
            raise ErrorFrame(frame)
        if kind in PINGS:
            return
        self.frames += 1
        if kind in _TERMINAL:
            self._take_response(frame.response or Response(), _TERMINAL[kind])
            self.finish()
            return
        name, _, step = kind.rpartition(".")
        if frame.item is not None:
            self._take_item(frame, is_whole=step == "done")
        elif step == "delta":
            self._take_delta(name, frame)
        elif step == "done":
            self._take_done(name, frame)
        elif kind == _ANNOTATION and frame.annotation:
            self.output.add_extra("annotations", frame.annotation, once=True)

    def take_all(self, frames: Sequence[Event]) -> bool:
        """Understand many events; those that hold only text are joined at once."""
        if any(event.item is not None or event.response is not None for event in frames):
            return False  # some of them have to be kept as they came
        return self._all_have_types(frames) and super().take_all(frames)

    def take_narrow(self, frames: Sequence[TextEvent]) -> bool:
        """Understand many pieces of one text."""
        if not frames:
            return False
        first = frames[0]
        index, number, item_id = first.output_index, first.content_index, first.item_id
        for event in frames:
            if (
                event.item_id != item_id
                or event.output_index != index
                or event.content_index != number
            ):
                return False
        self.frames += len(frames)
        self._say(first, "".join([event.delta for event in frames]))
        return True

    def take_whole(self, said: Mapping[str, Json]) -> bool:
        """A `response` object that is not a stream."""
        response = self.shape.read({"response": said}).response
        if response is None or response.status not in _TERMINAL.values():
            return False
        self._take_response(response, response.status)
        return True

    def _all_have_types(self, frames: Sequence[Event]) -> bool:
        return all(event.type for event in frames)

    def _count(self, response: Response | None) -> None:
        if response is not None and response.usage is not None:
            self.count(response.usage.input_tokens, response.usage.output_tokens)

    # --- pieces

    def _take_delta(self, name: str, frame: Event) -> None:
        if name == "response.output_text":
            if type(frame.delta) is str:
                self._say(frame, frame.delta)
            else:
                self.add_text(frame.delta)
            if frame.logprobs:
                self._has_logprobs = True
                self.output.add_extra("logprobs", frame.logprobs)
        elif name == "response.refusal":
            self.refused = True
            self._say(frame, frame.delta) if type(frame.delta) is str else self.add_text(
                frame.delta
            )
        elif name in _ARGUMENTS:
            self.output.calls.more(frame.delta, index=frame.output_index, ids=[frame.item_id])
        elif name.startswith("response.reasoning"):
            thought = text_of(frame.delta)
            self.add_text(thought if thought or not frame.delta else frame.delta, Kind.THINKING)
        elif name in _TRANSCRIPTS:
            self.add_text(frame.delta)
        elif frame.delta and name not in _REPEATED_BY_THEIR_ITEM:
            kind = "audio" if name in _AUDIO else "unknown"
            self.output.add_extra(kind, {"type": f"{name}.delta", "delta": frame.delta})

    def _say(self, frame: Event | TextEvent, text: str) -> None:
        self._part = (self._slot_of(frame.output_index, frame.item_id), frame.content_index or 0)
        self._parts.setdefault(self._part, Streamed()).add(text)
        if len(self._parts) > PARTS_MAX:
            raise Malformed(f"more than {PARTS_MAX} parts of text in one answer")
        self.add_text(text)

    def _slot_of(self, index: int | None, item_id: str | None) -> int:
        """Which item is meant: its index, which stays the same where ids change, else its id."""
        if index is None and item_id is not None:
            index = self._slots.get(item_id, len(self._slots))
        elif index is None:
            index = self._slot
        if item_id is not None:
            self._slots.setdefault(item_id, index)
        self._slot = index
        return index

    # --- repetitions

    def _take_done(self, name: str, frame: Event) -> None:
        if name == "response.output_text":
            self._repeat_part(frame.output_index, frame.item_id, frame.content_index, frame.text)
        elif name == "response.refusal":
            self.refused = True
            self._repeat_part(frame.output_index, frame.item_id, frame.content_index, frame.refusal)
        elif name == "response.content_part" and frame.part is not None:
            self._take_part(frame.output_index, frame.item_id, frame.content_index, frame.part)
        elif name in _ARGUMENTS:
            arguments = frame.input if frame.arguments is None else frame.arguments
            self.output.calls.whole(
                arguments, index=frame.output_index, ids=[frame.item_id], turn=-1
            )
        elif name.startswith("response.reasoning") and not self.output.has(Kind.THINKING):
            self.add_text(text_of(frame.text) or None, Kind.THINKING)

    def _take_part(
        self, index: int | None, item_id: str | None, number: int | None, part: Part
    ) -> None:
        if part.type == _REFUSAL_PART:
            self.refused = True
        text = part.refusal if part.type == _REFUSAL_PART else part.text
        if part.type in _TEXT_PARTS:
            self._repeat_part(index, item_id, number, text)
            self._keep(part)

    def _keep(self, part: Part) -> None:
        """What stands beside a text, unless it came with its pieces."""
        for annotation in part.annotations if type(part.annotations) is list else ():
            self.output.add_extra("annotations", annotation, once=True)
        if part.logprobs and not self._has_logprobs:
            self.output.add_extra("logprobs", part.logprobs, once=True)

    def _repeat_part(
        self, index: int | None, item_id: str | None, number: int | None, whole: Json
    ) -> None:
        """A text part once more, and whole: append what is missing."""
        if not whole:
            return
        key = (self._slot_of(index, item_id), number or 0)
        part = self._parts.get(key)
        if part is None:
            if self._part is not None and self._rest(self.output.streamed(Kind.TEXT), whole) == "":
                return  # all text so far under another name
            part = self._parts[key] = Streamed()
            self._part = key
        rest = self._rest(part, whole)
        if rest is None or (rest and key != self._part):
            raise Malformed("a text is repeated with other words than it was streamed with")
        part.add(rest)
        self.add_text(rest)

    def _rest(self, streamed: Streamed, whole: Json) -> str | None:
        """What a repetition adds; of a long one only the end may be known (json_filter.py)."""
        if type(whole) is dict and type(whole.get(END_FIELD)) is str:
            return streamed.rest_of_end(whole[END_FIELD], whole.get(DROPPED_FIELD) or 0)
        if type(whole) is not str:
            self.add_text(whole)
            return ""
        rest = streamed.rest(whole)
        prefix = self.asked.prefix
        if prefix and whole.startswith(prefix) and (rest is None or not streamed.length):
            return streamed.rest(whole.removeprefix(prefix))
        return rest

    def _take_item(self, frame: Event, *, is_whole: bool) -> None:
        item = frame.item or Item()
        index, ids = frame.output_index, [item.call_id, item.id]
        arguments = item.input if item.arguments is None else item.arguments
        if item.type in _TOOLS and not is_whole:
            self.output.calls.begin(index=index, ids=ids, name=item.name, arguments=arguments)
        elif item.type in _TOOLS:
            self.output.calls.whole(arguments, index=index, ids=ids, name=item.name)
        elif item.type == "message" and is_whole:
            for number, part in enumerate(item.content or ()):
                self._take_part(index, item.id, number, part)
        elif item.type == "reasoning" and is_whole and not self.output.has(Kind.THINKING):
            self._take_thoughts(item)
        elif item.type != "reasoning" and is_whole:
            self.output.add_extra("items", (self.raw or {}).get("item"), once=True)

    def _take_response(self, response: Response, outcome: str) -> None:
        self._count(response)
        items = response.output or ()
        if not self.output.has(Kind.THINKING):
            for item in items:
                self._take_thoughts(item)
        self._repeat_text([item for item in items if item.type == "message"])
        for item, raw in zip(items, self._raw_items(), strict=False):
            if item.type not in _UNDERSTOOD:
                self.output.add_extra("items", raw, once=True)
        calls = [(place, item) for place, item in enumerate(items) if item.type in _TOOLS]
        for turn, (place, item) in enumerate(calls):
            self.output.calls.whole(
                item.input if item.arguments is None else item.arguments,
                index=None,
                ids=[item.call_id, item.id],
                name=item.name,
                turn=turn,
                place=place,
            )
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

    def _raw_items(self) -> list[Json]:
        """The items of the terminal event as they came."""
        raw: Json = self.raw or {}
        response = raw.get("response") or raw
        return [item for item in response.get("output") or () if type(item) is dict]

    def _repeat_text(self, items: Sequence[Item]) -> None:
        """All text once more, in the terminal event."""
        parts = [part for item in items for part in item.content or () if part.type in _TEXT_PARTS]
        for part in parts:
            self._keep(part)
        self.refused = self.refused or any(part.type == _REFUSAL_PART for part in parts)
        texts = [part.refusal if part.type == _REFUSAL_PART else part.text for part in parts]
        texts = [text for text in texts if text]
        ends = [n for n, text in enumerate(texts) if type(text) is dict and END_FIELD in text]
        for text in texts:
            if type(text) is not str and not ends:
                self.add_text(text)
        if not texts:
            return
        whole: Json = "".join(text for text in texts[ends[-1] + 1 if ends else 0 :])
        if ends:
            dropped = sum(map(_length, texts[: ends[-1]]))
            last = texts[ends[-1]]
            dropped += last[DROPPED_FIELD]
            whole = {END_FIELD: last[END_FIELD] + whole, DROPPED_FIELD: dropped}
        rest = self._rest(self.output.streamed(Kind.TEXT), whole)
        if rest is None:
            raise Malformed("the text is repeated with other words than it was streamed with")
        self.add_text(rest)

    def _take_thoughts(self, item: Item) -> None:
        """Thinking that did not come as deltas: its summary, else itself."""
        if item.type != "reasoning":
            return
        if summary := text_of(item.summary):
            self.add_text(summary, Kind.THINKING)
            return
        for part in item.content or ():
            self.add_text(part.text, Kind.THINKING)


def _length(text: Json) -> int:
    """The characters of a text of which perhaps only the end is known."""
    return len(text[END_FIELD]) + int(text[DROPPED_FIELD]) if type(text) is dict else len(text)


def _has_failed(response: Response | None) -> bool:
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
        ResponsesParser,
        reserved=("input", "messages"),
    ),
)
