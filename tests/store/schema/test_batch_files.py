"""The tables of uploaded files: what batches of the command line do not have is NULL."""

from __future__ import annotations

from worker.records import NewPrompt
from worker.store.schema.batch_files import asked_columns


def test_a_batch_of_the_command_line_has_none_of_these_columns(store, sql):
    """So no client of the server sees it, and an older program can add one."""
    store.add([NewPrompt(prompt="x")], batch="by hand")
    names = ", ".join(column.name for column in asked_columns())
    ((*values,),) = sql(f"SELECT {names} FROM batches")
    assert values == [None] * len(values)
