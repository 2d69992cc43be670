"""Rows with columns of any name: CSV, Parquet, JSON objects that are not Spool's own, templates.

`fields` says what each key is taken for; every other key goes into the metadata and comes out again
with the answer, except for what a template has already put into the prompt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from worker.errors import InputError
from worker.ingest import anthropic_batch, openai_batch
from worker.ingest.fields import fields_of
from worker.ingest.intake import BadLine, Intake, RequestLine, decoding_fault, unstorable
from worker.ingest.keys import OPTION_KINDS, USES, Use, known_as
from worker.records import NewPrompt
from worker.suggest import did_you_mean

_JSON_COLUMNS = ("messages", "options", "metadata", "conversations", "conversation")
_NUMBER_COLUMNS = ("priority", "max_attempts")
_ASKING = (Use.PROMPT, Use.CONVERSATION)


def check_columns(columns: Collection[str], intake: Intake) -> None:
    """Fail for the whole file, once, when its columns can give no prompt."""
    there = f"(there is: {', '.join(columns) or 'none'})"
    wanted = sorted(intake.template.columns) if intake.template else []
    if intake.id_column is not None:
        wanted.append(intake.id_column)
    for name in wanted:
        if name not in columns:
            raise InputError(f"has no column {name!r}{did_you_mean(name, columns)} {there}")
    if not intake.template and not any(_asks(name) for name in columns):
        raise InputError(
            f"has no column called prompt {there}: rename one, or say how to make prompts with"
            " --template 'Summarise: {{ column }}'"
        )


def _asks(column: str) -> bool:
    known = known_as(column)
    return known in ("prompt", "messages") or USES.get(known) in _ASKING


def from_row(
    number: int,
    row: Mapping[str, Any],
    raw: bytes,
    intake: Intake,
    *,
    unit: str = "line",
    checked: bool = False,
    storable: bool = False,
) -> NewPrompt | BadLine:
    """The prompt of a row whose values are what JSON can hold; see `fields_of` for `checked`.

    With `storable`, the caller knows that no text of the row holds what databases cannot store.
    """
    try:
        fields = fields_of(row, intake, checked=checked)
    except InputError as error:
        return BadLine(number, error.message, unit)
    if not storable and (reason := unstorable(fields)):
        return BadLine(number, reason, unit)
    try:
        line = msgspec.convert(fields, RequestLine)
    except msgspec.ValidationError as error:
        return BadLine(number, decoding_fault(error), unit)
    return from_line(number, line, raw, intake, unit)


def from_line(
    number: int, line: RequestLine, raw: bytes, intake: Intake, unit: str = "line"
) -> NewPrompt | BadLine:
    """A line whose keys have been read: Spool's own, OpenAI's or Anthropic's."""
    if line.body is None and line.params is None:
        if line.prompt is None and line.messages is None and line.url is not None:
            return openai_batch.prompt(number, line, raw, intake, unit)
        beside = {name: getattr(line, name) for name in ("url", "method") if getattr(line, name)}
        if beside:  # where a text was found, in a file that is no batch
            line.metadata = {**(line.metadata or {}), **beside}
            for name in beside:
                intake.taken.kept(name)
        return intake.finished(number, line, raw, unit=unit, check_text=False)
    if line.body is not None or line.url is not None:
        return openai_batch.prompt(number, line, raw, intake, unit)
    return anthropic_batch.prompt(number, line, raw, intake, unit)


def from_cells(
    number: int, cells: Mapping[str, str], raw: bytes, intake: Intake
) -> NewPrompt | BadLine:
    """The prompt of a row of texts: an empty cell is an absent one."""
    row: dict[str, Any] = {}
    columns = intake.template.columns if intake.template else frozenset[str]()
    data = intake.taken.data
    for name, cell in cells.items():
        used = name in columns
        if cell == "" and not used:
            continue
        row[name] = cell
        if used or name in data or name == intake.id_column:
            continue
        known = known_as(name)
        try:
            if known in _JSON_COLUMNS:
                row[name] = msgspec.json.decode(cell)
            elif known in _NUMBER_COLUMNS:
                row[name] = int(cell)
            elif known in OPTION_KINDS:
                row[name] = _option(known, cell)
        except (ValueError, RecursionError):
            what = "JSON" if known in _JSON_COLUMNS else "a whole number"
            return BadLine(number, f"has something other than {what} in its column {name}")
    # A row of UTF-8 can hold nothing else that is unstorable, and JSON in a cell needs an escape.
    storable = b"\x00" not in raw and b"\\u" not in raw
    return from_row(number, row, raw, intake, storable=storable)


def _option(known: str, cell: str) -> Any:
    """The value that a cell of text stands for; what does not fit is told by the option's kind."""
    if str in OPTION_KINDS[known].types and not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        return msgspec.json.decode(cell.strip().lower() if len(cell) <= len("false ") else cell)
    except (ValueError, RecursionError):
        return cell
