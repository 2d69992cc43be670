"""Every statement of the store as SQL, for people who review SQL: `docs/statements/`.

`python -m tests.house.golden_sql` writes the files anew.
"""

import importlib
import inspect
import itertools
import pkgutil
import re
import textwrap
from enum import Enum

from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.sql.elements import CompilerElement

from tests.house.tree import ROOT
from worker.states import PromptState
from worker.store import statements
from worker.store.rows import Selection

FOLDER = ROOT / "docs" / "statements"
DIALECTS = {"sqlite": sqlite.dialect(), "postgresql": psycopg.dialect()}
CLAUSES = re.compile(
    r" (FROM|WHERE|AND|OR|SET|VALUES|SELECT|ORDER BY|LIMIT|RETURNING|ON CONFLICT|FOR NO KEY|JOIN) "
)
SELECTION = Selection(batch="evening", states=(PromptState.FAILED,))


def every_statement(database):
    """Name and statement of each statement that `database` runs, module by module."""
    for found in pkgutil.iter_modules(statements.__path__):
        module = importlib.import_module(f"{statements.__name__}.{found.name}")
        for name, function in vars(module).items():
            if name.startswith("_") or getattr(function, "__module__", "") != module.__name__:
                continue
            if not callable(function) or name.endswith(others(database)):
                continue
            for label, given in calls(function, database):
                statement = function(**given)
                if isinstance(statement, CompilerElement) and is_whole(statement):
                    yield f"{found.name}.{name}{label}", statement


def others(database):
    return tuple(f"_{each}" for each in DIALECTS if each != database)


def is_whole(statement):
    """A statement that can be run, not a part of one."""
    return getattr(statement, "is_dml", False) or getattr(statement, "is_select", False)


def calls(function, database):
    """The ways in which a statement is asked for; none if it wants what only the store has."""
    ways = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind = str(parameter.annotation)
        if name == "is_sqlite":
            ways.append([(name, database == "sqlite", "")])
        elif kind == "bool":
            ways.append([(name, False, ""), (name, True, f" {name}")])
        elif kind == "Selection":
            ways.append([(name, SELECTION, "")])
        elif kind == "Sequence[str]":
            ways.append([(name, ("endpoint",), "")])
        else:
            share = inspect.getmodule(function).__dict__.get(kind)
            if not (isinstance(share, type) and issubclass(share, Enum)):
                return
            ways.append([(name, each, f" {each.name.lower()}") for each in share])
    for way in itertools.product(*ways):
        yield "".join(label for _, _, label in way), {name: value for name, value, _ in way}


def laid_out(sql):
    """One clause or condition a line, so that a change of one shows as a change of one line."""
    lines = CLAUSES.sub(r"\n\1 ", " ".join(sql.split())).splitlines()
    return "\n".join(
        textwrap.fill(line, 100, subsequent_indent="    ", break_long_words=False) for line in lines
    )


def page(database):
    """The whole file: a comment with the name before each statement."""
    dialect = DIALECTS[database]
    blocks = []
    for name, statement in every_statement(database):
        blocks.append(f"-- {name}\n{laid_out(str(statement.compile(dialect=dialect)))};\n")
    return "\n".join(blocks)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in DIALECTS:
        (FOLDER / f"{each}.sql").write_text(page(each), encoding="utf-8")
