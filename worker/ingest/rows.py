"""Rows with columns of any name: CSV, Parquet, and JSON Lines under a template.

Columns with the names of Spool's own fields are those fields; every other column
goes into the metadata and comes out again with the answer, except for what the
template has already put into the prompt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from worker.errors import InputError
from worker.ingest.intake import (
    OWN_FIELDS,
    BadLine,
    Intake,
    Line,
    decoding_fault,
    unstorable,
)
from worker.records import NewPrompt
from worker.spelling import did_you_mean

_JSON_COLUMNS = ("messages", "options", "metadata")
_NUMBER_COLUMNS = ("priority", "max_attempts")
_ASKED = ("prompt", "messages")


def check_columns(columns: Collection[str], intake: Intake) -> None:
    """Fail for the whole file, once, when its columns can give no prompt."""
    there = f"(there is: {', '.join(columns) or 'none'})"
    wanted = sorted(intake.template.columns) if intake.template else []
    if intake.id_column is not None:
        wanted.append(intake.id_column)
    for name in wanted:
        if name not in columns:
            raise InputError(f"has no column {name!r}{did_you_mean(name, columns)} {there}")
    if not intake.template and not any(name in columns for name in _ASKED):
        raise InputError(
            f"has no column called prompt {there}: rename one, or say how to make prompts with"
            " --template 'Summarise: {{ column }}'"
        )


def from_row(
    number: int, row: Mapping[str, Any], raw: bytes, intake: Intake, *, unit: str = "line"
) -> NewPrompt | BadLine:
    """The prompt of a row whose values are what JSON can hold."""
    try:
        fields = _fields(row, intake)
    except InputError as error:
        return BadLine(number, error.message, unit)
    if reason := unstorable(fields):
        return BadLine(number, reason, unit)
    try:
        line = msgspec.convert(fields, Line)
    except msgspec.ValidationError as error:
        return BadLine(number, decoding_fault(error), unit)
    return intake.finished(number, line, raw, unit=unit, check_text=False)


def from_cells(
    number: int, cells: Mapping[str, str], raw: bytes, intake: Intake
) -> NewPrompt | BadLine:
    """The prompt of a row of texts: an empty cell is an absent one."""
    row: dict[str, Any] = {}
    for name, cell in cells.items():
        used = intake.template is not None and name in intake.template.columns
        if cell == "" and not used:
            continue
        row[name] = cell
        if used or name == intake.id_column:
            continue
        try:
            if name in _JSON_COLUMNS:
                row[name] = msgspec.json.decode(cell)
            elif name in _NUMBER_COLUMNS:
                row[name] = int(cell)
        except (ValueError, RecursionError):
            what = "JSON" if name in _JSON_COLUMNS else "a whole number"
            return BadLine(number, f"has something other than {what} in its column {name}")
    return from_row(number, row, raw, intake)


def _fields(row: Mapping[str, Any], intake: Intake) -> dict[str, Any]:
    """The row sorted into Spool's fields and metadata."""
    template, id_column = intake.template, intake.id_column
    used = template.columns if template else frozenset[str]()
    own = [name for name in OWN_FIELDS if not (template and name in (*_ASKED, *used))]
    fields = {name: row[name] for name in own if row.get(name) is not None}
    if template:
        fields["prompt"] = template.render(row)
    if id_column is not None:
        if (custom_id := row.get(id_column)) is None:
            raise InputError(f"has nothing in its column {id_column!r}, which --id-column names")
        fields["custom_id"] = str(custom_id)
    others = {
        name: value
        for name, value in row.items()
        if name not in own and name not in used and name != id_column and value is not None
    }
    if others:
        given = fields.get("metadata")
        fields["metadata"] = {**(given if isinstance(given, dict) else {}), **others}
    return fields
