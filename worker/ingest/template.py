"""Rows of any shape into prompts: a sandboxed Jinja2 template.

A template is one text, or a JSON array of messages whose contents are templates each.  A column
that the template names and a row lacks is an error of that row, not an empty string in the middle
of a prompt.  Columns that the template does not use go into the prompt's metadata, so that they
come out again with the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, meta
from jinja2 import Template as Compiled
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from worker.errors import InputError

_ROLES = ("system", "developer", "user", "assistant")


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
        messages = _messages(source)
        texts = [source] if messages is None else [text for _, text in messages]
        try:
            names = [meta.find_undeclared_variables(environment.parse(text)) for text in texts]
            self._templates = [environment.from_string(text) for text in texts]
        except TemplateError as error:
            raise InputError(f"the template is not valid Jinja2: {error}") from error
        self.columns = frozenset[str]().union(*names)
        self._roles = None if messages is None else [role for role, _ in messages]
        if not self.columns:
            raise InputError("the template names no column: write them as {{ column }}")

    def fields(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The prompt or the messages of a row; raises InputError saying what the row lacks."""
        missing = sorted(self.columns - row.keys())
        if missing:
            there = ", ".join(row) or "none"
            raise InputError(f"has no column {missing[0]!r} for the template (there is: {there})")
        texts = [_rendered(template, row) for template in self._templates]
        if self._roles is None:
            return {"prompt": texts[0]}
        pairs = zip(self._roles, texts, strict=True)
        return {"messages": [{"role": role, "content": text} for role, text in pairs]}


def _rendered(template: Compiled, row: Mapping[str, Any]) -> str:
    try:
        return template.render(row)
    except SecurityError as error:
        raise InputError(f"asks the template for something unsafe: {error}") from error
    # A template is a small program of the user's: whatever it raises is about this row.
    except Exception as error:
        raise InputError(f"does not fit the template: {error}") from error


def _messages(source: str) -> list[tuple[str, str]] | None:
    """The roles and texts of a template that is a JSON array of messages; None if it is a text."""
    if not source.lstrip().startswith("[") or '"role"' not in source:
        return None
    try:
        found = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the template begins like a JSON array of messages, but is not valid JSON: {error}"
        ) from error
    pairs = [(each.get("role"), each.get("content")) for each in found if isinstance(each, dict)]
    messages = [(role, text) for role, text in pairs if role in _ROLES and isinstance(text, str)]
    if len(messages) < len(found):
        raise InputError(
            "the template's messages each need a role (system, user or assistant) and a text as"
            ' content: [{"role": "user", "content": "{{ column }}"}]'
        )
    return messages
