"""A claim: through the priorities of a queue until enough is taken, and past what cannot be.

A row that the database refuses to move (a counter that was set by hand, a number that is
taken) must not stop the claims of all others: it is failed by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from worker.errors import StoreBroken, StoreBusy, StoreError
from worker.states import SUSPECT_RUNS
from worker.store.database.engine import Database
from worker.store.database.prepared import Borrowed
from worker.store.statements import claim as claims
from worker.store.statements import priority_levels
from worker.store.statements.priority_levels import Share

Row = tuple[Any, ...]
_IN_VAIN = 13  # where a claimed row has its runs without progress


def claim(database: Database, given: Mapping[str, Any]) -> list[Row]:
    """Start runs of up to `limit` prompts; what cannot be claimed is failed, and not in the way."""
    rows: list[Row] = []
    try:
        with database.single() as connection:
            _through_levels(database, connection, given, rows)
    except (StoreBusy, StoreBroken):
        raise
    except StoreError:
        if database.is_sqlite:  # all of it was taken back; on PostgreSQL each statement stands
            rows.clear()
        _one_by_one(database, given, rows)
    return rows


def _through_levels(
    database: Database, connection: Borrowed, given: Mapping[str, Any], rows: list[Row]
) -> None:
    below = priority_levels.ABOVE_ALL
    look = database.prepared(priority_levels.next_level())
    while len(rows) < given["limit"]:
        found = look.run(connection, {**given, "below": below})
        if not found:
            return
        below, has_places = found[0]
        for share in (Share.PLACED, Share.NEXT) if has_places else (Share.NEXT,):
            left = given["limit"] - len(rows)
            if left:
                # Those that broke off twice are counted over all statements of one claim.
                suspects = max(0, given["suspects"] - sum(map(_is_suspect, rows)))
                wanted = {**given, "limit": left, "priority": below, "suspects": suspects}
                rows += _take(database, connection, share, wanted)


def _is_suspect(row: Row) -> bool:
    return bool(row[_IN_VAIN] >= SUSPECT_RUNS)


def _one_by_one(database: Database, given: Mapping[str, Any], rows: list[Row]) -> None:
    with database.reading() as connection:
        find = database.prepared(priority_levels.candidates())
        ids = [prompt_id for (prompt_id,) in find.run(connection, given)]
    for prompt_id in ids[: given["limit"] - len(rows)]:
        alone = {**given, "only": prompt_id, "limit": 1}
        try:
            with database.single() as connection:
                rows += _take(database, connection, Share.ALONE, alone)
        except (StoreBusy, StoreBroken):
            raise
        except StoreError as error:
            words = f"the database refuses to start it: {error.message}"
            # What cannot even be failed is passed over at each claim.
            with suppress(StoreError), database.single() as connection:
                give_up = database.prepared(claims.give_up())
                give_up.count(connection, {"only": prompt_id, "words": words})


def _take(
    database: Database, connection: Borrowed, share: Share, given: Mapping[str, Any]
) -> list[Row]:
    prepared, held = database.prepared, "without" in given
    if not database.is_sqlite:
        return prepared(claims.claim_postgresql(share, held=held)).run(connection, given)
    started = prepared(claims.start_runs(share, held=held)).run(connection, given)
    if not started:
        return []
    attempts = {run_id: attempt for run_id, _, attempt in started}
    taken = {**given, "started": list(attempts)}
    rows = prepared(claims.take_prompts_sqlite()).run(connection, taken)
    return [(run_id, prompt, attempts[run_id], *rest) for run_id, prompt, _, *rest in rows]
