"""The lines of an input file become prompts, or a list of what is wrong with them.

The file is read twice: once to check every line, once to queue them.  So a file with one bad line
queues nothing, and a server that dies between two pages loses nothing: the next one reads the file
again, and what is queued already is recognised by its `custom_id`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from worker.ingest.intake import BadLine, Intake, RequestLine, decoding_fault, unstorable
from worker.ingest.lines import read_lines
from worker.ingest.openai_batch import known_url, prompt
from worker.records import Endpoint, NewPrompt
from worker.server.context import Context
from worker.states import PromptState
from worker.store import Selection
from worker.store.client_batches import AskedBatch

LINES_MAX = 50_000
ERRORS_MAX = 100  # that a batch names
_LINE = msgspec.json.Decoder(RequestLine)

Item = NewPrompt | dict[str, Any]


def endpoint_for(model: Any, endpoints: Mapping[str, Endpoint]) -> str | None:
    """Return the endpoint of that name, else the first that serves the model; None for neither."""
    if isinstance(model, str) and model in endpoints:
        return model
    return next((name for name, each in endpoints.items() if each.model == model), None)


def validate(context: Context, batch_id: str, owner: str) -> None:
    """Check the file of a batch and queue its prompts, or say what is wrong; safe to repeat."""
    store = context.store
    batch = store.asked_batch(batch_id, owner=owner)
    if batch is None or batch.validated_at or batch.failed_at or batch.expired_at:
        return
    if store.file(batch.input_file_id, owner=owner) is None:
        store.fail_batch(batch_id, [_error("invalid_file", "the input file is gone", None)])
        return
    if errors := _errors(context, batch):
        store.fail_batch(batch_id, errors)
        return
    found = (each for each in _items(context, batch) if isinstance(each, NewPrompt))
    store.add(found, batch=batch_id, source=batch.input_file_id)
    store.mark_validated(batch_id)
    after = store.asked_batch(batch_id, owner=owner)
    if after is not None and (after.cancel_requested_at or after.expired_at):
        cancel(context, batch_id)


def cancel(context: Context, batch_id: str) -> None:
    """Cancel what is open of a batch; what is done stays."""
    open_states = (PromptState.QUEUED, PromptState.RUNNING)
    context.store.cancel(Selection(batch=batch_id, states=open_states))


def _errors(context: Context, batch: AskedBatch) -> list[dict[str, Any]]:
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    count = 0
    for count, item in enumerate(_items(context, batch), 1):
        if count > LINES_MAX:
            message = f"the file has more than {LINES_MAX:,} lines: split it"
            return [_error("too_many_tasks", message, None)]
        if not isinstance(item, NewPrompt):
            errors.append(item)
        elif (custom_id := item.custom_id or "") in seen:
            message = f"the custom_id {custom_id[:80]!r} is that of an earlier line"
            errors.append(_error("duplicate_custom_id", message, count))
        else:
            seen.add(custom_id)
        if len(errors) == ERRORS_MAX:
            break
    return errors if count else [_error("empty_file", "the file has no line", None)]


def _items(context: Context, batch: AskedBatch) -> Iterator[Item]:
    intake = Intake(
        endpoints=context.endpoints,
        name=batch.input_file_id,
        batch=None,
        max_line_bytes=context.max_line_bytes,
    )
    with context.store.open_file(batch.input_file_id) as source:
        for item in read_lines(source, intake.max_line_bytes):
            if isinstance(item, BadLine):
                yield _error("invalid_line", f"the line {item.reason}", item.number)
            elif item[1] and not item[1].isspace():
                yield _item(*item, intake, batch.endpoint)


def _item(number: int, raw: bytes, intake: Intake, url: str) -> Item:
    try:
        line = _LINE.decode(raw)
    except msgspec.ValidationError as error:
        return _error("invalid_request", f"the line {decoding_fault(error)}", number)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _error("invalid_json_line", "This line is not parseable as valid JSON.", number)
    if (fault := _fault(line, url)) is not None:
        return _error(*fault, number)
    body = line.body or {}
    line.endpoint = endpoint_for(body.get("model"), intake.endpoints)
    if line.endpoint is not None and body.get("model") == line.endpoint:
        line.body = {**body, "model": intake.endpoints[line.endpoint].model}
    made = prompt(number, line, raw, intake, "line")
    if isinstance(made, BadLine):
        return _error("invalid_request", f"the line {made.reason}", number)
    return made


def _fault(line: RequestLine, url: str) -> tuple[str, str] | None:
    if line.custom_id is None:
        return "missing_custom_id", "the line has no custom_id"
    if known_url(line.url) != url:
        return "url_mismatch", f"the line does not ask for {url}"
    if reason := unstorable(msgspec.structs.asdict(line)):
        return "invalid_request", f"the line {reason}"
    if (line.body or {}).get("stream"):
        return "streaming_unsupported", "remove `stream`: answers of a batch come whole"
    return None


def _error(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": line}
