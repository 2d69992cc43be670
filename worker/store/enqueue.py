"""New prompts on their way into the queue: checked one by one, inserted by the page.

What a database would refuse is refused here, with the name of the prompt, so that one
bad prompt does not take its page with it unexplained, and both databases refuse the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection

from worker.errors import InputError, StoreBroken
from worker.records import Added, NewPrompt
from worker.request_hash import request_hash
from worker.store.database.column_types import dumps
from worker.store.database.engine import Database
from worker.store.database.sql_expressions import parameters
from worker.store.statements import claim

PAGE = 1000  # prompts in one transaction
PAGE_CHARACTERS = 1 << 20  # or as many as hold so much text: a page of long ones must fit too
_MAY_BE_LONG = ("prompt", "system", "messages", "options", "metadata")
_LONG = [list(claim.NEW_PROMPT).index(each) for each in _MAY_BE_LONG]
_CUSTOM_ID = list(claim.NEW_PROMPT).index("custom_id")
_HASH = list(claim.NEW_PROMPT).index("request_hash")
_Row: TypeAlias = tuple[Any, ...]  # in the order of `claims.NEW_PROMPT`
LARGEST_INTEGER = 2**31 - 1  # of an integer column in PostgreSQL


def add(
    database: Database,
    prompts: Iterable[NewPrompt],
    *,
    batch: str | None,
    source: str | None,
    replace: bool = False,
) -> Added:
    """Insert prompts page by page; those that the batch has already are counted.

    One that the batch has with another request is left alone, or, with `replace`, queued anew.
    """
    counts: Counter[str] = Counter()
    found: _Batch | None = None
    for page in _pages(prompts):
        with database.writing() as connection:
            if batch is not None and found is None:
                found = _batch(connection, batch, source, is_sqlite=database.is_sqlite)
            new = _insert(database, connection, None if found is None else found.id, page)
            counts["added"] += new
            if found is None or new == len(page):
                continue
            known = _known(connection, found.id, page)
        changed = _changed(database, known)
        if changed and replace:
            with database.writing() as connection:
                connection.execute(claim.replace_prompt(), list(map(_replacement, changed)))
        counts["replaced" if replace else "changed"] += len(changed)
        counts["existing"] += len(page) - new - len(changed)
    other = None if found is None else _other(found.source, source)
    return Added(**counts, other_source=other)


def compare(
    database: Database, prompts: Iterable[NewPrompt], *, batch: str | None, source: str | None
) -> Added:
    """What `add` would find, page by page; nothing is written."""
    counts: Counter[str] = Counter()
    found: _Batch | None = None
    for number, page in enumerate(_pages(prompts)):
        counts["added"] += len(page)
        with database.reading() as connection:
            if batch is not None and not number:
                found = _find(connection, batch)
            if found is None:
                continue
            known = _known(connection, found.id, page)
        changed = len(_changed(database, known))
        counts["added"] -= len(known)
        counts["changed"] += changed
        counts["existing"] += len(known) - changed
    other = None if found is None else _other(found.source, source)
    return Added(**counts, other_source=other)


class _Batch(NamedTuple):
    id: int
    source: str | None


class _Known(NamedTuple):
    """A prompt that the batch has, and the one that was given with its name."""

    id: int
    request_hash: str | None
    given: _Row


def _known(connection: Connection, batch_id: int, page: Sequence[_Row]) -> list[_Known]:
    given = {row[_CUSTOM_ID]: row for row in page if row[_CUSTOM_ID] is not None}
    asked = {"batch": batch_id, "custom_ids": list(given)}
    return [
        _Known(prompt_id, stored, given[custom_id])
        for prompt_id, custom_id, stored in connection.execute(claim.known(), asked)
    ]


def _changed(database: Database, known: Iterable[_Known]) -> list[_Known]:
    """Those that ask something else than what is stored."""
    return [each for each in known if _is_another(database, each)]


def _is_another(database: Database, known: _Known) -> bool:
    stored = known.request_hash
    if stored is None:  # of an older version, or inserted in SQL
        try:
            with database.reading() as connection:
                row = connection.execute(claim.asked(), {"id": known.id}).mappings().first()
        except StoreBroken:
            return False  # whoever may only add prompts may not read them
        stored = None if row is None else request_hash(**row)
    return bool(stored != known.given[_HASH])


def _replacement(known: _Known) -> dict[str, Any]:
    given = dict(zip(claim.NEW_PROMPT, known.given, strict=True))
    return {f"p_{name}": value for name, value in {"id": known.id, **given}.items()}


def _other(stored: str | None, given: str | None) -> str | None:
    """Where the batch was first added from, unless it was here."""
    if stored is None or given is None or stored == given:
        return None
    # Earlier versions kept a path as it was typed.
    return None if given.endswith(f"/{stored.removeprefix('./')}") else stored


def _pages(prompts: Iterable[NewPrompt]) -> Iterator[list[_Row]]:
    page: list[_Row] = []
    characters = 0
    for row in map(_row, prompts):
        page.append(row)
        characters += sum(len(row[place]) for place in _LONG if row[place] is not None)
        if len(page) == PAGE or characters >= PAGE_CHARACTERS:
            yield page
            page, characters = [], 0
    if page:
        yield page


def _batch(connection: Connection, name: str, source: str | None, *, is_sqlite: bool) -> _Batch:
    _check_text("the name of the batch", name)
    given = {"b_name": name, "b_source": source}
    connection.execute(claim.add_batch(is_sqlite=is_sqlite), given)
    return _Batch(*connection.execute(claim.batch(), {"name": name}).one())


def _find(connection: Connection, name: str) -> _Batch | None:
    row = connection.execute(claim.batch(), {"name": name}).first()
    return None if row is None else _Batch(*row)


def _insert(
    database: Database,
    connection: Connection,
    batch_id: int | None,
    page: Sequence[_Row],
) -> int:
    prepared = database.prepared(claim.add_prompts(is_sqlite=database.is_sqlite))
    insert = prepared.count_each if database.is_sqlite else prepared.count_arrays
    return insert(connection, parameters(claim.NEW_PROMPT), page, batch=batch_id)


def _row(new: NewPrompt) -> _Row:
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
        None if new.custom_id is None else _hash(new),
    )
    for text in row:
        if isinstance(text, str) and ("\0" in text or not text.isascii()):
            _check_text(name, text)
    return row


def _hash(new: NewPrompt) -> str:
    return request_hash(
        model=new.model,
        prompt=new.prompt,
        system=new.system,
        messages=new.messages,
        options=new.options,
    )


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
