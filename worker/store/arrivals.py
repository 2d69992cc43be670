"""New prompts on their way into the queue: checked one by one, inserted by the page.

What a database would refuse is refused here, with the name of the prompt, so that one
bad prompt does not take its page with it unexplained, and both databases refuse the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from worker.errors import InputError
from worker.records import Added, NewPrompt
from worker.store import claims
from worker.store.constructs import dumps, parameters
from worker.store.engine import Database

PAGE = 1000  # prompts in one transaction
PAGE_CHARACTERS = 1 << 20  # or as many as hold so much text: a page of long ones must fit too
_MAY_BE_LONG = ("prompt", "system", "messages", "options", "metadata")
_LONG = [list(claims.NEW_PROMPT).index(each) for each in _MAY_BE_LONG]
LARGEST_INTEGER = 2**31 - 1  # of an integer column in PostgreSQL


def add(
    database: Database, prompts: Iterable[NewPrompt], *, batch: str | None, source: str | None
) -> Added:
    """Insert prompts page by page; those that the batch has already are counted and left alone."""
    added = existing = 0
    batch_id = None
    for page in _pages(prompts):
        with database.writing() as connection:
            if batch is not None and batch_id is None:
                batch_id = _batch_id(connection, batch, source, is_sqlite=database.is_sqlite)
            new = _insert(database, connection, batch_id, page)
        added += new
        existing += len(page) - new
    return Added(added, existing)


def _pages(prompts: Iterable[NewPrompt]) -> Iterator[list[tuple[Any, ...]]]:
    page: list[tuple[Any, ...]] = []
    characters = 0
    for row in map(_row, prompts):
        page.append(row)
        characters += sum(len(row[place]) for place in _LONG if row[place] is not None)
        if len(page) == PAGE or characters >= PAGE_CHARACTERS:
            yield page
            page, characters = [], 0
    if page:
        yield page


def _batch_id(connection: Connection, name: str, source: str | None, *, is_sqlite: bool) -> int:
    _check_text("the name of the batch", name)
    connection.execute(claims.add_batch(is_sqlite=is_sqlite), {"b_name": name, "b_source": source})
    return connection.execute(claims.batch_id(), {"name": name}).scalar_one()


def _insert(
    database: Database,
    connection: Connection,
    batch_id: int | None,
    page: Sequence[tuple[Any, ...]],
) -> int:
    prepared = database.prepared(claims.add_prompts(is_sqlite=database.is_sqlite))
    insert = prepared.count_each if database.is_sqlite else prepared.count_arrays
    return insert(connection, parameters(claims.NEW_PROMPT), page, batch=batch_id)


def _row(new: NewPrompt) -> tuple[Any, ...]:
    name = "a prompt" if new.custom_id is None else f"prompt {new.custom_id!r}"
    if (new.prompt is None) == (new.messages is None):
        raise InputError(f"{name}: exactly one of prompt and messages is needed")
    if not new.endpoint:
        raise InputError(f"{name}: the endpoint has no name")
    if not -LARGEST_INTEGER <= new.priority <= LARGEST_INTEGER:
        raise InputError(f"{name}: priority {new.priority} is out of range")
    if new.max_attempts is not None and not 1 <= new.max_attempts <= LARGEST_INTEGER:
        raise InputError(f"{name}: max_attempts {new.max_attempts} is out of range")
    row = (
        new.custom_id,
        new.endpoint,
        new.model,
        new.prompt,
        new.system,
        _json(name, "messages", new.messages),
        _json(name, "options", new.options),
        new.priority,
        _json(name, "metadata", new.metadata),
        new.max_attempts,
    )
    for text in row:
        if isinstance(text, str) and ("\0" in text or not text.isascii()):
            _check_text(name, text)
    return row


def _json(name: str, field: str, value: Sequence[Any] | Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    try:
        dumped = dumps(list(value) if field == "messages" else dict(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{name}: {field} cannot be written as JSON: {error}") from error
    if "\\u0000" in dumped and _holds_nul(value):
        raise InputError(f"{name}: {field} holds the character U+0000, which no database stores")
    return dumped


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and any(map(_holds_nul, value))


def _check_text(name: str, text: str) -> None:
    if "\0" in text:
        raise InputError(f"{name} holds the character U+0000, which no database stores")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = f"{name} holds half a surrogate pair, which no database stores"
            raise InputError(message) from error
