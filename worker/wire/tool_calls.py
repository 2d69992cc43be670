r"""Tool calls as text: JSON Lines, one line for each piece that the server sent.

A tool call arrives in pieces (its id and name first, its arguments as string
pieces after that), and several calls may be interleaved.  Chunks hold text and
are appended in order, so each piece becomes one line

    {"index":0,"id":"call_1","name":"f","arguments":"{\"ci"}

with absent keys left out and `arguments` always a piece of a string.  The lines
do not depend on how the network cut the stream.  ``assemble_tool_calls`` merges
them back into whole calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from worker.records import Json
from worker.wire.unicode import Channel, storable


class ToolLines:
    """Turns the pieces of one response into lines; keeps arguments storable per call."""

    __slots__ = ("_channels",)

    def __init__(self) -> None:
        self._channels: dict[int, Channel] = {}

    def line(self, index: int, *, call_id: Json, name: Json, arguments: Json) -> str:
        """The line for one piece, with its newline, or "" if it says nothing."""
        channel = self._channels.pop(index, None) or Channel()
        said: dict[str, Json] = {"index": index}
        if isinstance(call_id, str) and call_id:
            said["id"] = storable(call_id)
        if isinstance(name, str) and name:
            said["name"] = storable(name)
        piece = channel.join(as_string(arguments))
        if channel.holds_half:  # only these are kept, so that memory does not grow with the calls
            self._channels[index] = channel
        if not piece and len(said) == 1:
            return ""
        said["arguments"] = piece
        return _dump(said) + "\n"

    def end(self) -> str:
        """Lines for halves of surrogate pairs that stayed alone."""
        return "".join(
            _dump({"index": index, "arguments": rest}) + "\n"
            for index, channel in self._channels.items()
            if (rest := channel.end())
        )


def as_string(arguments: Json) -> str:
    """Arguments as the string that carries them: objects (Ollama) are dumped, None is ""."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else _dump(arguments)


def assemble_tool_calls(text: str) -> list[dict[str, Json]]:
    """Merge the lines of a run's tool_calls chunks into whole calls, in order of first mention.

    Each call is `{"index", "id", "name", "arguments"}`: id and name are None if
    the server gave none, arguments is the joined string.  A last line that was
    cut off (an interrupted run) is left out.  A text that ``ToolLines`` did not write, as
    after a change by hand, is the arguments of a single call without a name, so that it is seen.
    """
    calls: dict[int, dict[str, Json]] = {}
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            piece = json.loads(line)
            call = calls.setdefault(piece["index"], _call(piece["index"]))
            _merge(call, piece)
        except (ValueError, LookupError, TypeError, RecursionError):
            if number == len(lines):
                break
            return [_call(0) | {"arguments": text}]
    return list(calls.values())


def _call(index: int) -> dict[str, Json]:
    return {"index": index, "id": None, "name": None, "arguments": ""}


def _merge(call: dict[str, Json], piece: Mapping[str, Json]) -> None:
    call["id"] = call["id"] or piece.get("id")
    call["name"] = call["name"] or piece.get("name")
    call["arguments"] += piece.get("arguments", "")


def _dump(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
