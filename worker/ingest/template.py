"""Rows of any shape into prompts: a sandboxed Jinja2 template.

A column that the template names and a row lacks is an error of that row, not an
empty string in the middle of a prompt.  Columns that the template does not use
go into the prompt's metadata, so that they come out again with the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from worker.errors import InputError


class Template:
    """A compiled template.

    Attributes:
        columns: the names that it refers to.
    """

    def __init__(self, source: str) -> None:
        """Raises InputError when the text is not a template."""
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined,
            autoescape=False,  # prompts are text for a model, not HTML
            keep_trailing_newline=True,
        )
        try:
            self.columns = frozenset(meta.find_undeclared_variables(environment.parse(source)))
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise InputError(f"the template is not valid Jinja2: {error}") from error
        if not self.columns:
            raise InputError("the template names no column: write them as {{ column }}")

    def render(self, row: Mapping[str, Any]) -> str:
        """The prompt of a row; raises InputError saying what the row lacks."""
        missing = sorted(self.columns - row.keys())
        if missing:
            there = ", ".join(row) or "none"
            raise InputError(f"has no column {missing[0]!r} for the template (there is: {there})")
        try:
            return self._template.render(row)
        except SecurityError as error:
            raise InputError(f"asks the template for something unsafe: {error}") from error
        # A template is a small program of the user's: whatever it raises is about this row.
        except Exception as error:
            raise InputError(f"does not fit the template: {error}") from error
