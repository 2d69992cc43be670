"""Wire formats: bytes in, events out; and how to ask for them.

No sockets, no clock.  ``DIALECTS`` maps the seven names to their dialects,
``failure`` turns a response that is no success into an error of ours.  What holds
for every dialect stands in docs/dialects.md, each rule with its test.  To add a
dialect: one file with its body and its ``Answer``, one line here, its name in
``settings/endpoints.py``, and transcripts under tests/wire/.
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.wire.dialects import anthropic, llamacpp, ollama, openai_chat, openai_responses
from worker.wire.errors.classify import failure, request_id
from worker.wire.events import Dialect
from worker.wire.finish_reason import FinishGroup, finish_group
from worker.wire.tool_calls import assemble_tool_calls

__all__ = [
    "DIALECTS",
    "FinishGroup",
    "assemble_tool_calls",
    "failure",
    "finish_group",
    "request_id",
]

_FAMILIES = (ollama, openai_chat, openai_responses, anthropic, llamacpp)

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for family in _FAMILIES for dialect in family.DIALECTS
}
