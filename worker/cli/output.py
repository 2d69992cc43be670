"""Standard output is data, standard error is talk."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, TextIO, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

# What moves a cursor, rings a bell or renames a window; newline and tab may stay.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def json_option(function: Function) -> Function:
    """Add `--json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="For programs: JSON, one object a line."
    )(function)


def data(text: str, *, newline: bool = True) -> None:
    """Write a result."""
    click.echo(text, nl=newline)


def talk(text: str) -> None:
    """Say something to the person, not to the pipe."""
    click.echo(f"spool: {visible(text, sys.stderr)}", err=True)


def json_line(value: Any) -> None:
    """Write one object on one line."""
    click.echo(json.dumps(value, ensure_ascii=False, default=_jsonable))


def for_terminal(text: str) -> str:
    """What others wrote, as it may be shown: see `visible`."""
    return visible(text, sys.stdout)


def visible(text: str, stream: TextIO) -> str:
    """On a terminal, without what would control it; files and pipes get every character."""
    return _CONTROLS.sub("", text) if stream.isatty() else text


def moment(value: datetime | None) -> str | None:
    """A time as JSON has it: UTC, with a Z."""
    if value is None:
        return None
    from worker.clock import iso

    return iso(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment(value)
    return str(value)
